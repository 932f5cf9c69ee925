#include "lab/sizes.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace trimeter {
namespace {

TEST(Sizes, UnitsOfBothKinds) {
  EXPECT_EQ(parse_bytes("x", "64MiB"), 64 << 20);
  EXPECT_EQ(parse_bytes("x", "2GiB"), int64_t{2} << 30);
  EXPECT_EQ(parse_bytes("x", "512M"), 512 << 20);
  EXPECT_EQ(parse_bytes("x", "512m"), 512 << 20);
  EXPECT_EQ(parse_bytes("x", "64MB"), 64'000'000);
  EXPECT_EQ(parse_bytes("x", "1.5k"), 1536);
  EXPECT_EQ(parse_bytes("x", "1tb"), 1'000'000'000'000);
  EXPECT_EQ(parse_bytes("x", "12345"), 12345);
  EXPECT_EQ(parse_bytes("x", "7B"), 7);
}

TEST(Sizes, NonsenseIsRefusedByName) {
  for (const char* text :
       {"", "MiB", "0", "-1M", "64 MiB", "64parsecs", "1e3M", "nan", "inf", "0.1", "99999999T", "1M2"}) {
    try {
      const int64_t bytes = parse_bytes("--device-memory", text);
      ADD_FAILURE() << text << " = " << bytes;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Errc::kBadArgument);
      EXPECT_EQ(error.what(),
                std::string("--device-memory: wanted a size such as 64MiB, 2GiB or 512M, got '") + text + "'");
    }
  }
}

}  // namespace
}  // namespace trimeter
