#include "text/added_tokens.h"

#include <algorithm>

#include "text/utf8.h"

namespace trimeter {
namespace {

uint64_t edge(int32_t node, char byte) { return static_cast<uint64_t>(node) << 8 | static_cast<uint8_t>(byte); }

bool touches_word(std::string_view text, size_t begin, size_t end) {
  return (begin > 0 && is_word_character(utf8_step(text, start_of_character_before(text, begin)).code)) ||
         (end < text.size() && is_word_character(utf8_step(text, end).code));
}

size_t without_space_before(std::string_view text, size_t offset) {
  while (offset > 0) {
    const size_t previous = start_of_character_before(text, offset);
    if (!is_white_space(utf8_step(text, previous).code)) break;
    offset = previous;
  }
  return offset;
}

size_t without_space_after(std::string_view text, size_t offset) {
  while (offset < text.size()) {
    const Utf8Step step = utf8_step(text, offset);
    if (!is_white_space(step.code)) break;
    offset += static_cast<size_t>(step.length);
  }
  return offset;
}

}  // namespace

void AddedTokenFinder::add(const AddedToken& token, std::string_view pattern) {
  if (pattern.empty()) return;
  int32_t node = 0;
  for (const char byte : pattern) {
    const auto [child, is_new] = children_.try_emplace(edge(node, byte), static_cast<int32_t>(token_of_node_.size()));
    if (is_new) token_of_node_.push_back(-1);
    node = child->second;
  }
  if (token_of_node_[static_cast<size_t>(node)] >= 0) return;
  token_of_node_[static_cast<size_t>(node)] = static_cast<int32_t>(tokens_.size());
  tokens_.push_back({token, pattern.size()});
  begins_[static_cast<uint8_t>(pattern[0])] = true;
}

int32_t AddedTokenFinder::longest_at(std::string_view text, size_t offset) const {
  int32_t node = 0, longest = -1;
  for (; offset < text.size(); ++offset) {
    const auto child = children_.find(edge(node, text[offset]));
    if (child == children_.end()) break;
    node = child->second;
    if (token_of_node_[static_cast<size_t>(node)] >= 0) longest = token_of_node_[static_cast<size_t>(node)];
  }
  return longest;
}

std::vector<AddedTokenFinder::Segment> AddedTokenFinder::split(std::string_view text) const {
  std::vector<Segment> segments;
  size_t covered = 0;
  for (size_t offset = 0; offset < text.size();) {
    const int32_t found = begins_[static_cast<uint8_t>(text[offset])] ? longest_at(text, offset) : -1;
    if (found < 0) {
      ++offset;
      continue;
    }
    const auto& [token, length] = tokens_[static_cast<size_t>(found)];
    size_t begin = offset, end = offset + length;
    offset = end;
    if (token.single_word && touches_word(text, begin, end)) continue;
    if (token.lstrip) begin = std::max(without_space_before(text, begin), covered);
    if (token.rstrip) end = without_space_after(text, end);
    if (covered < begin) segments.push_back({text.substr(covered, begin - covered), -1});
    segments.push_back({text.substr(begin, end - begin), token.id});
    covered = end;
  }
  if (covered < text.size()) segments.push_back({text.substr(covered), -1});
  return segments;
}

}  // namespace trimeter
