#include "text/bpe.h"

#include <algorithm>

#include "base/error.h"
#include "text/byte_level.h"

namespace trimeter {
namespace {

// Bytes that valid UTF-8 never contains need no token.
bool occurs_in_utf8(int byte) { return byte != 0xC0 && byte != 0xC1 && byte < 0xF5; }

struct Symbol {
  int32_t id, previous, next;  // neighbours by position, -1 at the ends; id -1: merged into the one on its left
};

}  // namespace

Bpe::Bpe(const TokenIds& vocab, const std::vector<std::pair<std::string, std::string>>& merges, bool ignore_merges,
         const std::string& path) {
  for (int byte = 0; byte < 256; ++byte) {
    const std::string token = alphabet_of_bytes(std::string(1, static_cast<char>(byte)));
    const auto found = vocab.find(token);
    if (found == vocab.end() && occurs_in_utf8(byte))
      throw Error(Errc::kBadFile, "{}: model.vocab: wanted a token '{}' for byte 0x{:02x}, got none", path, token,
                  byte);
    byte_ids_[static_cast<size_t>(byte)] = found == vocab.end() ? -1 : found->second;
  }
  merges_.reserve(merges.size());
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const std::string &left = merges[rank].first, &right = merges[rank].second;
    const auto id = [&](const std::string& token) {
      const auto found = vocab.find(token);
      if (found == vocab.end())
        throw Error(Errc::kBadFile, "{}: model.merges[{}] ('{}', '{}'): wanted '{}' in model.vocab, got no such token",
                    path, rank, left, right, token);
      return found->second;
    };
    const int32_t left_id = id(left), right_id = id(right);
    merges_[key(left_id, right_id)] = {static_cast<int32_t>(rank), id(left + right)};
  }
  if (!ignore_merges) return;
  whole_words_.reserve(vocab.size());
  for (const auto& [token, id] : vocab)
    if (const auto bytes = bytes_of_alphabet(token)) whole_words_.emplace(*bytes, id);
}

void Bpe::encode(std::string_view word, std::vector<int32_t>& out) const {
  if (const auto found = whole_words_.find(word); found != whole_words_.end()) {
    out.push_back(found->second);
    return;
  }
  const auto n = static_cast<int32_t>(word.size());
  std::vector<Symbol> symbols;
  symbols.reserve(word.size());
  for (int32_t i = 0; i < n; ++i)
    symbols.push_back({byte_ids_[static_cast<uint8_t>(word[static_cast<size_t>(i)])], i - 1, i + 1 < n ? i + 1 : -1});

  std::vector<Candidate> heap;
  heap.reserve(word.size());
  const auto merge_at = [&](int32_t position) -> const Merge* {
    const Symbol& left = symbols[static_cast<size_t>(position)];
    if (left.id < 0 || left.next < 0) return nullptr;
    const auto found = merges_.find(key(left.id, symbols[static_cast<size_t>(left.next)].id));
    return found == merges_.end() ? nullptr : &found->second;
  };
  const auto offer = [&](int32_t position) {
    if (position < 0) return;
    if (const Merge* merge = merge_at(position)) {
      heap.push_back({merge->rank, position, merge->id});
      std::push_heap(heap.begin(), heap.end());
    }
  };
  for (int32_t i = 0; i + 1 < n; ++i) offer(i);

  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end());
    const Candidate best = heap.back();
    heap.pop_back();
    // Neighbours may have merged since it was offered. The product decides, not the rank: this is tokenizers' rule.
    const Merge* merge = merge_at(best.position);
    if (merge == nullptr || merge->id != best.id) continue;
    Symbol& left = symbols[static_cast<size_t>(best.position)];
    Symbol& right = symbols[static_cast<size_t>(left.next)];
    left.id = best.id;
    left.next = right.next;
    right.id = -1;
    if (left.next >= 0) symbols[static_cast<size_t>(left.next)].previous = best.position;
    offer(left.previous);
    offer(best.position);
  }
  for (int32_t i = 0; i >= 0 && i < n; i = symbols[static_cast<size_t>(i)].next)
    out.push_back(symbols[static_cast<size_t>(i)].id);
}

}  // namespace trimeter
