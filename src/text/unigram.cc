#include "text/unigram.h"

#include <algorithm>
#include <limits>

#include "text/utf8.h"

namespace trimeter {
namespace {

constexpr double kUnkPenalty = 10;

}  // namespace

Unigram::Unigram(UnigramParts parts) : parts_(std::move(parts)) {
  double worst = std::numeric_limits<double>::infinity();
  for (const auto& [token, id] : parts_.vocab) {
    worst = std::min(worst, parts_.scores[static_cast<size_t>(id)]);
    if (!token.empty()) sorted_.emplace_back(token, id);
  }
  unk_score_ = worst - kUnkPenalty;
  std::sort(sorted_.begin(), sorted_.end());
  for (int byte = 0; byte <= 256; ++byte) {
    const auto begin = std::partition_point(
        sorted_.begin(), sorted_.end(), [&](const auto& entry) { return static_cast<uint8_t>(entry.first[0]) < byte; });
    first_byte_[static_cast<size_t>(byte)] = static_cast<int32_t>(begin - sorted_.begin());
  }
  for (int byte = 0; byte < 256; ++byte) {
    const auto found = parts_.vocab.find(byte_token(static_cast<uint8_t>(byte)));
    byte_ids_[static_cast<size_t>(byte)] = found == parts_.vocab.end() ? -1 : found->second;
  }
}

// Offers every token that begins at `begin` to the place where it ends. The range of sorted tokens that agree with the
// text so far narrows byte by byte.
int64_t Unigram::extend(std::string_view word, size_t begin, std::vector<Node>& best) const {
  const auto offer = [&](size_t end, double score, int32_t id) {
    Node& node = best[end];
    if (node.begin < 0 || score > node.score) node = {score, static_cast<int32_t>(begin), id};
  };
  const double here = best[begin].score;
  const auto n_character = static_cast<size_t>(utf8_step(word, begin).length);
  const auto first = static_cast<uint8_t>(word[begin]);
  auto low = sorted_.begin() + first_byte_[first], high = sorted_.begin() + first_byte_[first + 1u];
  bool has_character = false;
  int64_t n_steps = 1;
  for (size_t n = 1; low != high; ++n, ++n_steps) {
    if (low->first.size() == n) {
      offer(begin + n, here + parts_.scores[static_cast<size_t>(low->second)], low->second);
      has_character |= n == n_character;
      ++low;
    }
    if (begin + n == word.size()) break;
    const auto byte = static_cast<uint8_t>(word[begin + n]);
    const auto below = [&](int limit) {
      return [n, limit](const auto& entry) { return static_cast<uint8_t>(entry.first[n]) < limit; };
    };
    low = std::partition_point(low, high, below(byte));
    high = std::partition_point(low, high, below(byte + 1));
  }
  if (!has_character) offer(begin + n_character, here + unk_score_, parts_.unk_id);
  return n_steps;
}

int64_t Unigram::encode(std::string_view word, std::vector<int32_t>& out) const {
  std::vector<Node> best(word.size() + 1);
  int64_t n_steps = 0;
  for (size_t begin = 0; begin < word.size(); begin += static_cast<size_t>(utf8_step(word, begin).length))
    n_steps += extend(word, begin, best);

  struct Token {
    size_t begin, end;
    int32_t id;
  };
  std::vector<Token> last_first;
  for (size_t end = word.size(); end > 0;) {
    const Node& node = best[end];
    const auto begin = static_cast<size_t>(node.begin);
    const bool joins = !last_first.empty() && node.id == parts_.unk_id && last_first.back().id == parts_.unk_id;
    if (joins)
      last_first.back().begin = begin;
    else
      last_first.push_back({begin, end, node.id});
    end = begin;
  }
  for (auto token = last_first.rbegin(); token != last_first.rend(); ++token)
    append(word.substr(token->begin, token->end - token->begin), token->id, out);
  return n_steps;
}

void Unigram::append(std::string_view text, int32_t id, std::vector<int32_t>& out) const {
  if (id != parts_.unk_id) {
    out.push_back(id);
    return;
  }
  // A run of unknown characters may yet be a token, one that scores worse than they do.
  if (const auto found = parts_.vocab.find(text); found != parts_.vocab.end()) {
    out.push_back(found->second);
    return;
  }
  const auto has_token = [&](char byte) { return byte_ids_[static_cast<uint8_t>(byte)] >= 0; };
  if (parts_.byte_fallback && std::all_of(text.begin(), text.end(), has_token))
    for (const char byte : text) out.push_back(byte_ids_[static_cast<uint8_t>(byte)]);
  else
    out.push_back(parts_.unk_id);
}

}  // namespace trimeter
