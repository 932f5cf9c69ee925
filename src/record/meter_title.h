#pragma once
#include <string>

namespace trimeter {

// A meter of the record as a person calls it: "generation_tokens_per_s" is "generation tok/s".
std::string meter_title(const std::string& meter);

}  // namespace trimeter
