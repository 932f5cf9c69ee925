#include "meters/garbage.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>

namespace trimeter {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

// A loop: a stretch in which every token equals the one `period` before it. Three copies, and at least 16 repeated
// tokens: a refrain, a row of dashes or "no, no, no" stays below, a model that is stuck does not. A period above 64
// would need 192 tokens to show itself; the share of distinct tokens catches most of those.
constexpr size_t kMaxPeriod = 64, kMinCopies = 3, kMinRepeated = 16;

// In prose the commonest token (the comma) has some 7%; in "1, 2, 3, 4" the comma has half.
constexpr size_t kMinTokensForShare = 16;
constexpr double kMaxShare = 0.6;

// Distinct tokens in any 64 in a row: prose has 40 and more, a chain of sums over single digits 10 to 15.
constexpr size_t kWindow = 64, kMinDistinct = 8;

std::string bad_characters(std::string_view text) {
  // The end may be a character that max_tokens cut in two: at most three bytes of it are there.
  for (int i = 0; i < 3 && text.ends_with(kReplacement); ++i) text.remove_suffix(kReplacement.size());
  if (text.find(kReplacement) != text.npos) return "bytes that are no UTF-8 (U+FFFD)";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte < 0x20 && c != '\n' && c != '\t' && c != '\r') || byte == 0x7f)
      return fmt::format("a control character (0x{:02x})", byte);
  }
  return "";
}

std::string loop(std::span<const int32_t> tokens) {
  for (size_t period = 1; period <= kMaxPeriod && period < tokens.size(); ++period) {
    size_t n_repeated = 0;
    for (size_t i = period; i < tokens.size(); ++i) {
      n_repeated = tokens[i] == tokens[i - period] ? n_repeated + 1 : 0;
      if (n_repeated >= std::max(kMinRepeated, (kMinCopies - 1) * period))
        return fmt::format("a loop of {} token{} from token {} on", period, period == 1 ? "" : "s",
                           i + 2 - n_repeated - period);  // counted from one, as a reader does
    }
  }
  return "";
}

std::string dominating(std::span<const int32_t> tokens) {
  if (tokens.size() < kMinTokensForShare) return "";
  std::unordered_map<int32_t, size_t> counts;
  size_t most = 0;
  for (const int32_t token : tokens) most = std::max(most, ++counts[token]);
  const double share = static_cast<double>(most) / static_cast<double>(tokens.size());
  return share > kMaxShare ? fmt::format("one token is {:.0f}% of the text", 100 * share) : "";
}

std::string few_distinct(std::span<const int32_t> tokens) {
  std::unordered_map<int32_t, size_t> counts;  // in the window that ends at i
  for (size_t i = 0; i < tokens.size(); ++i) {
    ++counts[tokens[i]];
    if (i >= kWindow)
      if (const auto gone = counts.find(tokens[i - kWindow]); --gone->second == 0) counts.erase(gone);
    if (i + 1 >= kWindow && counts.size() < kMinDistinct)
      return fmt::format("{} distinct tokens in {}", counts.size(), kWindow);
  }
  return "";
}

}  // namespace

std::string garbage_reason(std::string_view text, std::span<const int32_t> tokens) {
  if (text.find_first_not_of(" \n\t\r") == text.npos) return "empty";
  for (const std::string& reason : {bad_characters(text), loop(tokens), dominating(tokens), few_distinct(tokens)})
    if (!reason.empty()) return reason;
  return "";
}

}  // namespace trimeter
