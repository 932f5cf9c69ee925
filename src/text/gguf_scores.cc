#include <algorithm>
#include <unordered_set>

#include "base/error.h"
#include "text/gguf_vocabulary_of.h"
#include "text/utf8.h"

namespace trimeter {
namespace {

bool begins_character(const std::string& text, size_t offset) {
  return (static_cast<uint8_t>(text[offset]) & 0xC0) != 0x80;
}

bool is_one_character(std::string_view text) {
  return !text.empty() && utf8_step(text, 0).length == static_cast<int>(text.size());
}

// The merges by what they make.
struct Product {
  int32_t order;  // of its merges among all products
  std::vector<std::string_view> left;
};

class Merges {
 public:
  Merges(const BpeParts& bpe, const std::string& path) : path_(path) {
    const std::string* last = nullptr;
    for (size_t i = 0; i < bpe.merges.size(); ++i) {
      const auto& [left, right] = bpe.merges[i];
      const auto [entry, is_new] =
          products_.try_emplace(left + right, Product{static_cast<int32_t>(products_.size()), {}});
      if (!is_new && &entry->first != last)
        refuse(fmt::format("merges[{}] ('{}', '{}')", i, left, right),
               "next to the others that make this token: merging by score cannot tell them apart", "another between");
      last = &entry->first;
      entry->second.left.push_back(left);
    }
  }

  // Condition (1) of the header.
  void check_complete(const std::vector<std::string>& tokens, const std::vector<AddedToken>& added) const {
    // Found in the raw text before it is merged. With a U+2581 it can come of spaces yet.
    std::unordered_set<std::string_view> never_merged;
    for (const AddedToken& token : added)
      if (token.content.find(kMetaSpace) == std::string::npos) never_merged.insert(token.content);
    std::vector<const std::string*> short_first;
    for (const std::string& token : tokens)
      if (!is_one_character(token) && !token.empty() && !never_merged.contains(token)) short_first.push_back(&token);
    std::sort(short_first.begin(), short_first.end(),
              [](const auto* a, const auto* b) { return a->size() < b->size(); });
    std::unordered_set<std::string_view> made;  // tokens that merging can come to
    const auto exists = [&](std::string_view text) { return is_one_character(text) || made.contains(text); };
    for (const std::string* token : short_first) {
      for (size_t cut = 1; cut < token->size(); ++cut) {
        const std::string_view left = std::string_view(*token).substr(0, cut);
        if (!begins_character(*token, cut) || !exists(left) || !exists(std::string_view(*token).substr(cut))) continue;
        made.insert(*token);
        const auto found = products_.find(*token);
        if (found == products_.end() || std::ranges::find(found->second.left, left) == found->second.left.end())
          refuse("merges", fmt::format("('{}', '{}'), which merging by score does", left, token->substr(cut)), "none");
      }
    }
  }

  std::vector<float> scores(const std::vector<std::string>& tokens) const {
    std::vector<float> scores;
    for (const std::string& token : tokens) {
      const auto found = products_.find(token);
      scores.push_back(-1 - static_cast<float>(found == products_.end() ? std::ssize(products_) : found->second.order));
    }
    return scores;
  }

 private:
  [[noreturn]] void refuse(const std::string& field, const std::string& wanted, const char* got) const {
    throw Error(Errc::kUnsupported, "{}: model.{}: for a GGUF file wanted {}, got {}", path_, field, wanted, got);
  }

  const std::string& path_;
  std::unordered_map<std::string, Product> products_;
};

}  // namespace

std::vector<float> scores_of_merges(const BpeParts& bpe, const std::vector<std::string>& tokens,
                                    const std::vector<AddedToken>& added, const std::string& path) {
  const Merges merges(bpe, path);
  merges.check_complete(tokens, added);
  return merges.scores(tokens);
}

}  // namespace trimeter
