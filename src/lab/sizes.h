#pragma once
#include <cstdint>
#include <string>
#include <string_view>

namespace trimeter {

// "64MiB", "2GiB", "1.5G", "512M", "100000": K, M, G, T and KiB ... TiB count in 1024s, KB ... TB in 1000s; case does
// not matter. Throws Error(kBadArgument) naming `what`, wanted and got; zero and what is beyond 63 bits are refused.
int64_t parse_bytes(const std::string& what, std::string_view text);

}  // namespace trimeter
