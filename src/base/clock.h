#pragma once
#include <chrono>
#include <string>

namespace trimeter {

// Seconds on the monotonic clock; only differences mean anything.
inline double now_s() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// The wall clock in UTC, ISO 8601 to the second: "2026-11-23T15:48:02Z".
std::string utc_now();

}  // namespace trimeter
