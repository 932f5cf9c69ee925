// A sanity check, not a measure of quality: does a text look like the output of a broken model?
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace trimeter {

// Why it does, in words for a report; empty if it does not. Thresholds and their reasons stand with the rules.
std::string garbage_reason(std::string_view text, std::span<const int32_t> tokens);

}  // namespace trimeter
