#include "text/tokenizer.h"

#include <algorithm>
#include <deque>

#include "base/error.h"
#include "text/gguf_vocabulary.h"
#include "text/tokenizer_parts.h"
#include "text/utf8.h"

namespace trimeter {
namespace {

// Words repeat (a text of 1 MB has some 20 000 different ones); what is longer or rarer than this is encoded anew.
constexpr size_t kMaxCachedWords = 1 << 15, kMaxCachedWordBytes = 64;

// The words of one encode() call that have been encoded before.
class WordCache {
 public:
  explicit WordCache(const TokenModel& model) : model_(model) {}
  void encode(std::string_view word, std::vector<int32_t>& out) {
    if (const auto found = tokens_.find(word); found != tokens_.end()) {
      out.insert(out.end(), found->second.begin(), found->second.end());
      return;
    }
    const size_t before = out.size();
    model_.encode(word, out);
    if (word.size() <= kMaxCachedWordBytes && tokens_.size() < kMaxCachedWords)
      tokens_.emplace(word, std::vector<int32_t>(out.begin() + static_cast<std::ptrdiff_t>(before), out.end()));
  }

 private:
  const TokenModel& model_;
  std::unordered_map<std::string, std::vector<int32_t>, StringHash, std::equal_to<>> tokens_;
};

std::unique_ptr<TokenModel> make_model(std::variant<BpeParts, UnigramParts>&& parts, const std::string& path) {
  if (const auto* bpe = std::get_if<BpeParts>(&parts)) return std::make_unique<Bpe>(*bpe, path);
  return std::make_unique<Unigram>(std::get<UnigramParts>(std::move(parts)));
}

// By id; the ids of parts.
std::vector<std::string_view> texts_by_id(const TokenIds& ids) {
  int32_t largest = -1;
  for (const auto& [token, id] : ids) largest = std::max(largest, id);
  std::vector<std::string_view> texts(static_cast<size_t>(largest + 1));
  for (const auto& [token, id] : ids) texts[static_cast<size_t>(id)] = token;
  return texts;
}

}  // namespace

struct Tokenizer::Impl {
  Impl(TokenizerParts parts, const std::string& path);

  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  AddedTokenFinder in_raw_text, in_normalized_text;
  TokenIds ids;                               // by text, added tokens included
  std::deque<std::string> normalized_tokens;  // what normalization made of those that are looked for behind it
  std::vector<bool> special;                  // by id
  std::unique_ptr<TokenModel> model;
  std::unique_ptr<TokenDecoder> decoder;
  std::vector<int32_t> prefix, suffix;
  std::string chat_template, chat_template_path, bos_token, eos_token;
};

Tokenizer::Impl::Impl(TokenizerParts parts, const std::string& path)
    : normalizer(parts.normalizer_steps, path + ": normalizer"),
      pre_tokenizer(parts.split_steps, path + ": pre_tokenizer"),
      ids(vocab_of(parts)),
      model(make_model(std::move(parts.model), path)),
      prefix(std::move(parts.prefix)),
      suffix(std::move(parts.suffix)),
      chat_template(std::move(parts.chat_template)),
      chat_template_path(std::move(parts.chat_template_path)),
      bos_token(std::move(parts.bos_token)),
      eos_token(std::move(parts.eos_token)) {
  for (const AddedToken& token : parts.added_tokens) ids.emplace(token.content, token.id);
  std::vector<std::string_view> texts = texts_by_id(ids);
  special.resize(texts.size());
  std::vector<bool> is_added(texts.size());
  for (const AddedToken& token : parts.added_tokens) {
    const auto id = static_cast<size_t>(token.id);
    special[id] = token.special;
    is_added[id] = true;
    if (token.normalized) {
      normalized_tokens.push_back(normalizer.apply(token.content));
      in_normalized_text.add(token, normalized_tokens.back());
      texts[id] = normalized_tokens.back();
    } else {
      in_raw_text.add(token, token.content);
    }
  }
  decoder = std::make_unique<TokenDecoder>(std::move(parts.decoder), texts, is_added);
}

Tokenizer::Tokenizer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;

Tokenizer Tokenizer::open(const std::filesystem::path& directory) {
  return Tokenizer(
      std::make_unique<Impl>(read_tokenizer_directory(directory), (directory / "tokenizer.json").string()));
}

Tokenizer Tokenizer::parse(std::string_view tokenizer_json, std::string_view config_json, const std::string& path) {
  return Tokenizer(std::make_unique<Impl>(parse_tokenizer_file(tokenizer_json, config_json, path), path));
}

Tokenizer Tokenizer::from_gguf(const GgufVocabulary& vocabulary, const std::string& path) {
  return Tokenizer(std::make_unique<Impl>(parts_of_gguf(vocabulary, path), path));
}

std::vector<int32_t> Tokenizer::encode(std::string_view text, bool add_special_tokens) const {
  require_utf8(text);
  WordCache cache(*impl_->model);
  std::deque<std::string> storage;
  std::vector<int32_t> out;
  if (add_special_tokens) out = impl_->prefix;
  for (const auto& [raw, raw_id] : impl_->in_raw_text.split(text)) {
    if (raw_id >= 0) {
      out.push_back(raw_id);
      continue;
    }
    const std::string normalized = impl_->normalizer.apply(raw);
    for (const auto& [piece, id] : impl_->in_normalized_text.split(normalized)) {
      if (id >= 0) {
        out.push_back(id);
        continue;
      }
      storage.clear();
      const bool at_start = raw.data() == text.data() && piece.data() == normalized.data();
      for (const std::string_view word : impl_->pre_tokenizer.words(piece, at_start, storage)) cache.encode(word, out);
    }
  }
  if (add_special_tokens) out.insert(out.end(), impl_->suffix.begin(), impl_->suffix.end());
  return out;
}

std::string Tokenizer::decode(std::span<const int32_t> tokens, bool skip_special_tokens) const {
  std::vector<int32_t> shown;
  for (const int32_t token : tokens) {
    if (token < 0) throw Error(Errc::kBadArgument, "wanted a token id, got {}", token);
    if (token >= vocab_size() || !impl_->decoder->has(token)) continue;
    if (!skip_special_tokens || !is_special(token)) shown.push_back(token);
  }
  return impl_->decoder->decode(shown);
}

std::string_view Tokenizer::token_bytes(int32_t token) const {
  if (token < 0) throw Error(Errc::kBadArgument, "wanted a token id, got {}", token);
  return token < vocab_size() ? impl_->decoder->bytes(token) : std::string_view();
}

bool Tokenizer::is_special(int32_t token) const {
  return token >= 0 && token < vocab_size() && impl_->special[static_cast<size_t>(token)];
}

std::optional<int32_t> Tokenizer::token_id(std::string_view token) const {
  const auto found = impl_->ids.find(token);
  return found == impl_->ids.end() ? std::nullopt : std::optional(found->second);
}

int32_t Tokenizer::vocab_size() const { return static_cast<int32_t>(impl_->special.size()); }

const std::string& Tokenizer::chat_template() const { return impl_->chat_template; }
const std::string& Tokenizer::chat_template_path() const { return impl_->chat_template_path; }
const std::string& Tokenizer::bos_token() const { return impl_->bos_token; }
const std::string& Tokenizer::eos_token() const { return impl_->eos_token; }

}  // namespace trimeter
