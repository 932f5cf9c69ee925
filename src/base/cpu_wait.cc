#include "base/cpu_wait.h"

#include <filesystem>
#include <fstream>

namespace trimeter {

std::optional<double> cpu_wait_s() {
  std::error_code error;
  double total = 0;
  for (const auto& thread : std::filesystem::directory_iterator("/proc/self/task", error)) {
    double ran_ns = 0, waited_ns = 0;
    if (std::ifstream(thread.path() / "schedstat") >> ran_ns >> waited_ns) total += waited_ns * 1e-9;
  }
  return error || total == 0 ? std::optional<double>() : total;
}

}  // namespace trimeter
