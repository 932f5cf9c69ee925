#include "lab/sizes.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>

#include "base/error.h"

namespace trimeter {
namespace {

struct Unit {
  std::string_view name;
  double bytes;
};
constexpr double kKi = 1024, kK = 1000;
constexpr Unit kUnits[] = {{"", 1},
                           {"b", 1},
                           {"k", kKi},
                           {"kib", kKi},
                           {"kb", kK},
                           {"m", kKi* kKi},
                           {"mib", kKi* kKi},
                           {"mb", kK* kK},
                           {"g", kKi* kKi* kKi},
                           {"gib", kKi* kKi* kKi},
                           {"gb", kK* kK* kK},
                           {"t", kKi* kKi* kKi* kKi},
                           {"tib", kKi* kKi* kKi* kKi},
                           {"tb", kK* kK* kK* kK}};

}  // namespace

int64_t parse_bytes(const std::string& what, std::string_view text) {
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
  std::string unit(end, text.data() + text.size());
  std::transform(unit.begin(), unit.end(), unit.begin(), [](unsigned char c) { return std::tolower(c); });
  const auto found = std::find_if(std::begin(kUnits), std::end(kUnits), [&](const Unit& u) { return u.name == unit; });
  const double bytes = found == std::end(kUnits) ? 0 : std::floor(number * found->bytes);
  if (error != std::errc() || !(bytes >= 1 && bytes < 0x1p63))
    throw Error(Errc::kBadArgument, "{}: wanted a size such as 64MiB, 2GiB or 512M, got '{}'", what, text);
  return static_cast<int64_t>(bytes);
}

}  // namespace trimeter
