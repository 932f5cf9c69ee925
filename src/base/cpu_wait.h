#pragma once
#include <optional>

namespace trimeter {

// Seconds in which threads of this process, those that are alive, were ready to run and waited for a CPU, all together
// (/proc/self/task/*/schedstat). Empty where the kernel does not count it. Only differences mean anything.
std::optional<double> cpu_wait_s();

}  // namespace trimeter
