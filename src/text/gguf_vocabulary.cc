#include "text/gguf_vocabulary.h"

#include <cmath>

#include "base/error.h"
#include "text/gguf_pre_tokenizer.h"
#include "text/tokenizer_field.h"
#include "text/tokenizer_parts.h"

namespace trimeter {
namespace {

template <class... Args>
[[noreturn]] void bad(const std::string& path, const char* key, fmt::format_string<Args...> format, Args&&... args) {
  throw Error(Errc::kBadFile, "{}: tokenizer.ggml.{}: {}", path, key, fmt::format(format, std::forward<Args>(args)...));
}

void check_lengths(const GgufVocabulary& v, const std::string& path) {
  const size_t n = v.tokens.size();
  if (n == 0 || n > kMaxTokenId) bad(path, "tokens", "wanted 1 to {} tokens, got {}", kMaxTokenId, n);
  if (!v.token_type.empty() && v.token_type.size() != n)
    bad(path, "token_type", "wanted {}, one for each token, got {}", n, v.token_type.size());
}

// Ids that have an empty text are left without a token.
TokenIds ids_of(const GgufVocabulary& v, const std::string& path) {
  TokenIds ids;
  ids.reserve(v.tokens.size());
  for (size_t id = 0; id < v.tokens.size(); ++id) {
    if (!is_utf8(v.tokens[id])) bad(path, "tokens", "wanted UTF-8, token {} is not", id);
    if (v.tokens[id].empty()) continue;
    const auto [entry, is_new] = ids.emplace(v.tokens[id], static_cast<int32_t>(id));
    if (!is_new)
      bad(path, "tokens", "wanted each token once, got '{}' as {} and as {}", entry->first, entry->second, id);
  }
  return ids;
}

std::vector<AddedToken> added_tokens(const GgufVocabulary& v) {
  std::vector<AddedToken> added;
  for (size_t id = 0; id < v.token_type.size(); ++id) {
    const auto type = static_cast<GgufTokenType>(v.token_type[id]);
    const bool special = type == GgufTokenType::kControl || type == GgufTokenType::kUnknown;
    if (v.tokens[id].empty() || (!special && type != GgufTokenType::kUserDefined)) continue;
    AddedToken token;
    token.content = v.tokens[id];
    token.id = static_cast<int32_t>(id);
    token.special = special;
    added.push_back(token);
  }
  return added;
}

BpeParts byte_level_model(const GgufVocabulary& v, const GgufPreTokenizer& kind, const std::string& path) {
  BpeParts bpe;
  bpe.vocab = ids_of(v, path);
  bpe.ignore_merges = kind.ignore_merges;
  for (size_t i = 0; i < v.merges.size(); ++i) {
    const std::string& line = v.merges[i];
    const size_t space = line.find(' ', 1);
    if (!is_utf8(line) || space == std::string::npos || space + 1 == line.size())
      bad(path, "merges", "wanted 'left right', got another at {}", i);
    bpe.merges.emplace_back(line.substr(0, space), line.substr(space + 1));
  }
  return bpe;
}

BpeParts sentencepiece_model(const GgufVocabulary& v, const std::string& path) {
  if (v.scores.size() != v.tokens.size())
    bad(path, "scores", "wanted {}, one for each token, got {}", v.tokens.size(), v.scores.size());
  for (const float score : v.scores)
    if (!std::isfinite(score)) bad(path, "scores", "wanted finite numbers, got {}", score);
  BpeParts bpe;
  bpe.byte_level = false;
  bpe.byte_fallback = true;
  bpe.vocab = ids_of(v, path);
  bpe.scores = v.scores;
  for (int byte = 0; byte < 256; ++byte)
    if (const std::string token = byte_token(static_cast<uint8_t>(byte)); !bpe.vocab.contains(token))
      bad(path, "tokens", "wanted a token '{}', got none", token);
  return bpe;
}

// The token's text, if there is such an id.
std::string text_of(const GgufVocabulary& v, std::optional<int32_t> id, const char* key, const std::string& path) {
  if (!id) return {};
  if (*id < 0 || static_cast<size_t>(*id) >= v.tokens.size())
    bad(path, key, "wanted an id below {}, got {}", v.tokens.size(), *id);
  return v.tokens[static_cast<size_t>(*id)];
}

std::vector<int32_t> around_text(bool add, std::optional<int32_t> id, const char* key, const std::string& path) {
  if (!add) return {};
  if (!id) bad(path, key, "wanted, as it is to be added to each text, got none");
  return {*id};
}

}  // namespace

TokenizerParts parts_of_gguf(const GgufVocabulary& v, const std::string& path) {
  check_lengths(v, path);
  TokenizerParts parts;
  parts.added_tokens = added_tokens(v);
  parts.decoder.added_tokens_verbatim = true;
  parts.chat_template = v.chat_template;
  std::optional<int32_t> bos = v.bos_token_id, eos = v.eos_token_id;
  bool add_bos = false;
  if (v.model == "gpt2") {
    const GgufPreTokenizer* kind = find_gguf_pre_tokenizer(v.pre.empty() ? "default" : v.pre);
    if (kind == nullptr)
      throw Error(Errc::kUnsupported, "{}: tokenizer.ggml.pre: '{}' is not supported ({} are)", path, v.pre,
                  gguf_pre_tokenizer_names());
    for (const std::string& pattern : kind->patterns) parts.split_steps.emplace_back().pattern = pattern;
    parts.model = byte_level_model(v, *kind, path);
    parts.decoder.byte_level = true;
    add_bos = kind->add_bos;
  } else if (v.model == "llama") {
    const bool prefix = v.add_space_prefix.value_or(true);
    if (prefix) parts.normalizer_steps.emplace_back(PrependStep{kMetaSpace});
    parts.normalizer_steps.emplace_back(ReplaceStep{" ", kMetaSpace});
    parts.model = sentencepiece_model(v, path);
    parts.decoder.replaces = {{kMetaSpace, " "}};
    parts.decoder.byte_fallback = true;
    parts.decoder.strip = " ";
    parts.decoder.n_strip = prefix ? 1 : 0;
    add_bos = true;
    if (!bos) bos = 1;
    if (!eos) eos = 2;
  } else {
    throw Error(Errc::kUnsupported, "{}: tokenizer.ggml.model: '{}' is not supported (gpt2 and llama are)", path,
                v.model);
  }
  parts.bos_token = text_of(v, bos, "bos_token_id", path);
  parts.eos_token = text_of(v, eos, "eos_token_id", path);
  parts.prefix = around_text(v.add_bos_token.value_or(add_bos), bos, "bos_token_id", path);
  parts.suffix = around_text(v.add_eos_token.value_or(false), eos, "eos_token_id", path);
  return parts;
}

}  // namespace trimeter
