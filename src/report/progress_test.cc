#include "report/progress.h"

#include <gtest/gtest.h>

#include <sstream>

namespace trimeter {
namespace {

TEST(Progress, OneRedrawnLineOnATerminal) {
  std::ostringstream out;
  double now = 100;
  {
    Progress progress(out, true, [&] { return now; });
    progress.update("throughput: round 1 of 9, fp8", 0, 27);
    now += 75;
    progress.update("throughput: round 5 of 9, fp8", 13, 27);
  }
  EXPECT_EQ(out.str(),
            "\r\x1b[K[........................] 0/27  0:00  throughput: round 1 of 9, fp8\r"
            "\r\x1b[K[###########.............] 13/27  1:15  throughput: round 5 of 9, fp8\r"
            "\r\x1b[K");
}

TEST(Progress, ATerminalLineIsCutAtItsEnd) {
  std::ostringstream out;
  Progress progress(out, true, [] { return 0.0; });
  progress.update(std::string(200, 'x'), 1, 2);
  EXPECT_EQ(out.str().size(), std::string("\r\x1b[K\r").size() + 79);
}

TEST(Progress, PlainLinesNowAndThenInALog) {
  std::ostringstream out;
  double now = 0;
  Progress progress(out, false, [&] { return now; });
  for (int i = 0; i <= 30; ++i, ++now) progress.update("quality", i, 30);
  progress.update("capacity", 0, 1);
  progress.finish();
  EXPECT_EQ(
      out.str(),
      "0/30  0:00  quality\n10/30  0:10  quality\n20/30  0:20  quality\n30/30  0:30  quality\n0/1  0:31  capacity\n");
}

TEST(Progress, NothingToDoIsNoDivision) {
  std::ostringstream out;
  Progress progress(out, true, [] { return 0.0; });
  progress.update("nothing", 0, 0);
  EXPECT_NE(out.str().find("0/0"), std::string::npos);
}

}  // namespace
}  // namespace trimeter
