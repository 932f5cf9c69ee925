#include "text/bpe.h"

#include <algorithm>

#include "base/error.h"
#include "text/byte_level.h"
#include "text/utf8.h"

namespace trimeter {
namespace {

// Bytes that valid UTF-8 never contains need no token.
bool occurs_in_utf8(int byte) { return byte != 0xC0 && byte != 0xC1 && byte < 0xF5; }

// The character that a text consists of, if it is one.
std::optional<char32_t> only_character(std::string_view text) {
  if (text.empty()) return {};
  const Utf8Step step = utf8_step(text, 0);
  if (step.kind != Utf8Kind::kCharacter || static_cast<size_t>(step.length) != text.size()) return {};
  return step.code;
}

}  // namespace

Bpe::Bpe(const BpeParts& parts, const std::string& path)
    : byte_level_(parts.byte_level), fuse_unk_(parts.fuse_unk), unk_id_(parts.unk_id) {
  byte_ids_.fill(-1);
  if (byte_level_)
    take_bytes(parts, path);
  else
    take_characters(parts);
  if (parts.scores.empty())
    take_merges(parts, path);
  else
    take_scores(parts);
  if (!parts.ignore_merges) return;
  whole_words_.reserve(parts.vocab.size());
  for (const auto& [token, id] : parts.vocab) {
    if (!byte_level_)
      whole_words_.emplace(token, id);
    else if (const auto bytes = bytes_of_alphabet(token))
      whole_words_.emplace(*bytes, id);
  }
}

void Bpe::take_bytes(const BpeParts& parts, const std::string& path) {
  for (int byte = 0; byte < 256; ++byte) {
    const std::string token = alphabet_of_bytes(std::string(1, static_cast<char>(byte)));
    const auto found = parts.vocab.find(token);
    if (found != parts.vocab.end())
      byte_ids_[static_cast<size_t>(byte)] = found->second;
    else if (occurs_in_utf8(byte))
      throw Error(Errc::kBadFile, "{}: vocabulary: wanted a token '{}' for byte 0x{:02x}, got none", path, token, byte);
  }
}

void Bpe::take_characters(const BpeParts& parts) {
  for (const auto& [token, id] : parts.vocab) {
    if (const auto character = only_character(token)) characters_.emplace(*character, id);
    tokenless_begin_ = std::max(tokenless_begin_, id + 1);
  }
  if (!parts.byte_fallback) return;
  for (int byte = 0; byte < 256; ++byte)
    if (const auto found = parts.vocab.find(byte_token(static_cast<uint8_t>(byte))); found != parts.vocab.end())
      byte_ids_[static_cast<size_t>(byte)] = found->second;
}

void Bpe::take_merges(const BpeParts& parts, const std::string& path) {
  merges_.reserve(parts.merges.size());
  for (size_t rank = 0; rank < parts.merges.size(); ++rank) {
    const std::string &left = parts.merges[rank].first, &right = parts.merges[rank].second;
    const auto id = [&](const std::string& token) {
      const auto found = parts.vocab.find(token);
      if (found == parts.vocab.end())
        throw Error(Errc::kBadFile, "{}: merges[{}] ('{}', '{}'): wanted '{}' in the vocabulary, got no such token",
                    path, rank, left, right, token);
      return found->second;
    };
    const int32_t left_id = id(left), right_id = id(right);
    merges_[key(left_id, right_id)] = {static_cast<int32_t>(rank), id(left + right)};
  }
}

void Bpe::take_scores(const BpeParts& parts) {
  std::vector<std::pair<std::string_view, int32_t>> best_first(parts.vocab.begin(), parts.vocab.end());
  const auto score = [&](int32_t id) { return parts.scores[static_cast<size_t>(id)]; };
  std::sort(best_first.begin(), best_first.end(), [&](const auto& a, const auto& b) {
    return std::pair(-score(a.second), a.second) < std::pair(-score(b.second), b.second);
  });
  const auto symbol = [&](std::string_view text) -> std::optional<int32_t> {
    if (const auto found = parts.vocab.find(text); found != parts.vocab.end()) return found->second;
    const auto character = only_character(text);
    if (!character) return {};
    const auto [entry, is_new] =
        characters_.try_emplace(*character, tokenless_begin_ + static_cast<int32_t>(tokenless_.size()));
    if (is_new) tokenless_.push_back(*character);
    return entry->second;
  };
  int32_t rank = -1;
  for (size_t i = 0; i < best_first.size(); ++i) {
    const auto [token, id] = best_first[i];
    if (i == 0 || score(id) != score(best_first[i - 1].second)) ++rank;  // equal scores: the leftmost merges first
    for (size_t cut = 1; cut < token.size(); ++cut) {
      if ((static_cast<uint8_t>(token[cut]) & 0xC0) == 0x80) continue;  // inside a character
      const auto left = symbol(token.substr(0, cut)), right = symbol(token.substr(cut));
      if (left && right) merges_[key(*left, *right)] = {rank, id};
    }
  }
}

std::vector<int32_t> Bpe::symbols_of(std::string_view word) const {
  std::vector<int32_t> symbols;
  symbols.reserve(word.size());
  const auto byte_id = [&](char byte) { return byte_ids_[static_cast<uint8_t>(byte)]; };
  if (byte_level_) {
    for (const char byte : word) symbols.push_back(byte_id(byte));
    return symbols;
  }
  bool unk_waits = false;  // an unknown run is written down when a token follows, or the end
  const auto write_unk = [&] {
    if (unk_waits) symbols.push_back(*unk_id_);
    unk_waits = false;
  };
  for (size_t offset = 0; offset < word.size();) {
    const Utf8Step step = utf8_step(word, offset);
    const std::string_view bytes = word.substr(offset, static_cast<size_t>(step.length));
    offset += bytes.size();
    if (const auto found = characters_.find(step.code); found != characters_.end()) {
      write_unk();
      symbols.push_back(found->second);
    } else if (std::all_of(bytes.begin(), bytes.end(), [&](char byte) { return byte_id(byte) >= 0; })) {
      for (const char byte : bytes) symbols.push_back(byte_id(byte));
    } else if (unk_id_) {
      if (!fuse_unk_) write_unk();
      unk_waits = true;
    }
  }
  write_unk();
  return symbols;
}

// One word on its way from symbols to tokens.
class Bpe::Merging {
 public:
  Merging(const Bpe& bpe, const std::vector<int32_t>& ids) : bpe_(bpe) {
    const auto n = static_cast<int32_t>(ids.size());
    symbols_.reserve(ids.size());
    for (int32_t i = 0; i < n; ++i) symbols_.push_back({ids[static_cast<size_t>(i)], i - 1, i + 1 < n ? i + 1 : -1});
    heap_.reserve(ids.size());
    for (int32_t i = 0; i + 1 < n; ++i) offer(i);
  }

  void run() {
    while (!heap_.empty()) {
      std::pop_heap(heap_.begin(), heap_.end());
      const Candidate best = heap_.back();
      heap_.pop_back();
      ++n_steps_;
      // Neighbours may have merged since it was offered. The product decides, not the rank: this is tokenizers' rule.
      const Merge* merge = merge_at(best.position);
      if (merge == nullptr || merge->id != best.id) continue;
      Symbol& left = at(best.position);
      Symbol& right = at(left.next);
      left.id = best.id;
      left.next = right.next;
      right.id = -1;
      if (left.next >= 0) at(left.next).previous = best.position;
      offer(left.previous);
      offer(best.position);
    }
  }

  const std::vector<Symbol>& symbols() const { return symbols_; }
  int64_t n_steps() const { return n_steps_; }

 private:
  struct Candidate {
    int32_t rank, position, id;
    // For a heap whose top merges first.
    bool operator<(const Candidate& b) const { return std::pair(rank, position) > std::pair(b.rank, b.position); }
  };
  Symbol& at(int32_t position) { return symbols_[static_cast<size_t>(position)]; }
  const Merge* merge_at(int32_t position) {
    const Symbol& left = at(position);
    if (left.id < 0 || left.next < 0) return nullptr;
    const auto found = bpe_.merges_.find(key(left.id, at(left.next).id));
    return found == bpe_.merges_.end() ? nullptr : &found->second;
  }
  void offer(int32_t position) {
    if (position < 0) return;
    if (const Merge* merge = merge_at(position)) {
      heap_.push_back({merge->rank, position, merge->id});
      std::push_heap(heap_.begin(), heap_.end());
    }
  }

  const Bpe& bpe_;
  std::vector<Symbol> symbols_;
  std::vector<Candidate> heap_;
  int64_t n_steps_ = 0;
};

int64_t Bpe::encode(std::string_view word, std::vector<int32_t>& out) const {
  if (const auto found = whole_words_.find(word); found != whole_words_.end()) {
    out.push_back(found->second);
    return 1;
  }
  const std::vector<int32_t> ids = symbols_of(word);
  Merging merging(*this, ids);
  merging.run();
  if (!ids.empty())
    for (int32_t i = 0; i >= 0; i = merging.symbols()[static_cast<size_t>(i)].next)
      append(merging.symbols()[static_cast<size_t>(i)].id, out);
  return static_cast<int64_t>(ids.size()) + merging.n_steps();
}

void Bpe::append(int32_t symbol, std::vector<int32_t>& out) const {
  if (symbol < tokenless_begin_ || tokenless_.empty()) {
    out.push_back(symbol);
    return;
  }
  std::string bytes;
  append_utf8(bytes, tokenless_[static_cast<size_t>(symbol - tokenless_begin_)]);
  for (const char byte : bytes) out.push_back(byte_ids_[static_cast<uint8_t>(byte)]);
}

}  // namespace trimeter
