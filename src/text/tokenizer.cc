#include "text/tokenizer.h"

#include <algorithm>
#include <deque>

#include "base/error.h"
#include "io/file.h"
#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/byte_level.h"
#include "text/pre_tokenizer.h"
#include "text/tokenizer_file.h"
#include "text/utf8.h"

namespace trimeter {
namespace {

// Words repeat (a text of 1 MB has some 20 000 different ones); what is longer or rarer than this is encoded anew.
constexpr size_t kMaxCachedWords = 1 << 15, kMaxCachedWordBytes = 64;

// The words of one encode() call that have been encoded before.
class WordCache {
 public:
  explicit WordCache(const Bpe& bpe) : bpe_(bpe) {}
  void encode(std::string_view word, std::vector<int32_t>& out) {
    if (const auto found = tokens_.find(word); found != tokens_.end()) {
      out.insert(out.end(), found->second.begin(), found->second.end());
      return;
    }
    const size_t before = out.size();
    bpe_.encode(word, out);
    if (word.size() <= kMaxCachedWordBytes && tokens_.size() < kMaxCachedWords)
      tokens_.emplace(word, std::vector<int32_t>(out.begin() + static_cast<std::ptrdiff_t>(before), out.end()));
  }

 private:
  const Bpe& bpe_;
  std::unordered_map<std::string, std::vector<int32_t>, StringHash, std::equal_to<>> tokens_;
};

// What tokenizers' ByteLevel decoder makes of a token: text that isn't in the alphabet stands for itself.
std::string decoded_bytes(const std::string& token) {
  auto bytes = bytes_of_alphabet(token);
  return bytes ? std::move(*bytes) : token;
}

}  // namespace

struct Tokenizer::Impl {
  Impl(TokenizerFile file, const std::string& path);

  bool normalizes;
  PreTokenizer pre_tokenizer;
  Bpe bpe;
  AddedTokenFinder in_raw_text, in_normalized_text;
  TokenIds ids;                    // by text, added tokens included
  std::vector<std::string> bytes;  // by id; empty for an id that no token has
  std::vector<bool> special;       // by id
  std::vector<int32_t> prefix, suffix;
  std::string chat_template, bos_token, eos_token;
};

Tokenizer::Impl::Impl(TokenizerFile file, const std::string& path)
    : normalizes(file.nfc),
      pre_tokenizer(file.split_steps, path + ": pre_tokenizer"),
      bpe(file.vocab, file.merges, file.ignore_merges, path),
      ids(std::move(file.vocab)),
      prefix(std::move(file.prefix)),
      suffix(std::move(file.suffix)),
      chat_template(std::move(file.chat_template)),
      bos_token(std::move(file.bos_token)),
      eos_token(std::move(file.eos_token)) {
  for (const AddedToken& token : file.added_tokens) {
    ids.emplace(token.content, token.id);
    if (token.normalized)
      in_normalized_text.add(token, normalizes ? nfc(token.content) : token.content);
    else
      in_raw_text.add(token, token.content);
  }
  int32_t largest = -1;
  for (const auto& [token, id] : ids) largest = std::max(largest, id);
  bytes.resize(static_cast<size_t>(largest + 1));
  special.resize(static_cast<size_t>(largest + 1));
  for (const auto& [token, id] : ids) bytes[static_cast<size_t>(id)] = decoded_bytes(token);
  for (const AddedToken& token : file.added_tokens) {
    special[static_cast<size_t>(token.id)] = token.special;
    if (token.normalized && normalizes) bytes[static_cast<size_t>(token.id)] = decoded_bytes(nfc(token.content));
  }
}

Tokenizer::Tokenizer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;

Tokenizer Tokenizer::open(const std::filesystem::path& directory) {
  const auto path = directory / "tokenizer.json", config = directory / "tokenizer_config.json";
  Tokenizer tokenizer = parse(read_file(path), std::filesystem::exists(config) ? read_file(config) : "", path.string());
  // A template in its own file goes before that of the config, as in transformers.
  if (const auto jinja = directory / "chat_template.jinja"; std::filesystem::exists(jinja))
    tokenizer.impl_->chat_template = read_file(jinja);
  return tokenizer;
}

Tokenizer Tokenizer::parse(std::string_view tokenizer_json, std::string_view config_json, const std::string& path) {
  return Tokenizer(std::make_unique<Impl>(parse_tokenizer_file(tokenizer_json, config_json, path), path));
}

std::vector<int32_t> Tokenizer::encode(std::string_view text, bool add_special_tokens) const {
  require_utf8(text);
  WordCache cache(impl_->bpe);
  std::deque<std::string> storage;
  std::vector<int32_t> out;
  if (add_special_tokens) out = impl_->prefix;
  for (const auto& [raw, raw_id] : impl_->in_raw_text.split(text)) {
    if (raw_id >= 0) {
      out.push_back(raw_id);
      continue;
    }
    const std::string normalized = impl_->normalizes ? nfc(raw) : std::string(raw);
    for (const auto& [piece, id] : impl_->in_normalized_text.split(normalized)) {
      if (id >= 0) {
        out.push_back(id);
        continue;
      }
      storage.clear();
      for (const std::string_view word : impl_->pre_tokenizer.words(piece, storage)) cache.encode(word, out);
    }
  }
  if (add_special_tokens) out.insert(out.end(), impl_->suffix.begin(), impl_->suffix.end());
  return out;
}

std::string Tokenizer::decode(std::span<const int32_t> tokens, bool skip_special_tokens) const {
  std::string bytes;
  for (const int32_t token : tokens)
    if (!skip_special_tokens || !is_special(token)) bytes += token_bytes(token);
  return replace_invalid_utf8(bytes);
}

std::string_view Tokenizer::token_bytes(int32_t token) const {
  if (token < 0) throw Error(Errc::kBadArgument, "wanted a token id, got {}", token);
  return token < vocab_size() ? std::string_view(impl_->bytes[static_cast<size_t>(token)]) : std::string_view();
}

bool Tokenizer::is_special(int32_t token) const {
  return token >= 0 && token < vocab_size() && impl_->special[static_cast<size_t>(token)];
}

std::optional<int32_t> Tokenizer::token_id(std::string_view token) const {
  const auto found = impl_->ids.find(token);
  return found == impl_->ids.end() ? std::nullopt : std::optional(found->second);
}

int32_t Tokenizer::vocab_size() const { return static_cast<int32_t>(impl_->bytes.size()); }

const std::string& Tokenizer::chat_template() const { return impl_->chat_template; }
const std::string& Tokenizer::bos_token() const { return impl_->bos_token; }
const std::string& Tokenizer::eos_token() const { return impl_->eos_token; }

}  // namespace trimeter
