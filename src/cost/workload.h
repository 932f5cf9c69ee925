// A closed workload: all requests are there at the start, each generates exactly max_tokens.
#pragma once
#include <cstdint>
#include <vector>

namespace trimeter {

struct Workload {
  std::vector<int64_t> prompt_tokens;  // of each request, in the order of submission
  int64_t max_tokens = 64;
};

}  // namespace trimeter
