#include "text/gguf_vocabulary_of.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "base/error.h"
#include "text/gguf_pre_tokenizer.h"
#include "text/utf8.h"

namespace trimeter {
namespace {

template <class... Args>
[[noreturn]] void refuse(const std::string& path, const char* field, fmt::format_string<Args...> format,
                         Args&&... args) {
  throw Error(Errc::kUnsupported, "{}: {}: {}", path, field, fmt::format(format, std::forward<Args>(args)...));
}

std::string text_of(const std::vector<SplitStep>& steps) {
  static constexpr const char* kBehaviors[] = {"isolated", "removed", "merged with previous", "merged with next",
                                               "contiguous"};
  std::vector<std::string> texts;
  for (const SplitStep& step : steps) {
    std::string text = step.pattern.empty() ? "no split"
                                            : fmt::format("'{}' {}{}", step.pattern, step.invert ? "inverted, " : "",
                                                          kBehaviors[static_cast<size_t>(step.behavior)]);
    if (step.space != " ") text += fmt::format(", '{}' for a space", step.space);
    if (step.prefix != SplitStep::Prefix::kNever) text += ", a space put in front";
    texts.push_back(text);
  }
  return fmt::format("[{}]", fmt::join(texts, "; "));
}

// llama.cpp finds a token wherever its text stands.
void check_added_tokens(const TokenizerParts& parts, const std::string& path, std::vector<std::string>& differences) {
  const Normalizer normalizer(parts.normalizer_steps, path + ": normalizer");
  for (const AddedToken& token : parts.added_tokens) {
    const char* flag = token.lstrip ? "lstrip" : token.rstrip ? "rstrip" : token.single_word ? "single_word" : nullptr;
    if (flag != nullptr)
      refuse(path, "added_tokens", "'{}' is {}, for which a GGUF file has no word", token.content, flag);
    if (token.normalized && normalizer.apply(token.content) != token.content)
      differences.push_back(
          fmt::format("'{}' is found in the text as it stands, not in the normalized one", token.content));
  }
}

class Writer {
 public:
  Writer(const TokenizerParts& parts, int64_t n_tokens, const std::string& path) : parts_(parts), path_(path) {
    v_.tokens.resize(static_cast<size_t>(n_tokens));
    for (size_t id = 0; id < v_.tokens.size(); ++id) v_.tokens[id] = fmt::format("[PAD{}]", id);
    v_.token_type.assign(v_.tokens.size(), static_cast<int32_t>(GgufTokenType::kUnused));
  }

  WrittenGgufVocabulary write() {
    const auto* bpe = std::get_if<BpeParts>(&parts_.model);
    if (bpe == nullptr)
      refuse(path_, "model",
             "a GGUF file of 'Unigram' cannot be written, of BPE it can (byte-level or with byte_fallback)");
    check_added_tokens(parts_, path_, differences_);
    put_tokens(*bpe);
    if (bpe->byte_level)
      put_byte_level(*bpe);
    else
      put_sentencepiece(*bpe);
    put_special_tokens();
    v_.chat_template = parts_.chat_template;
    return {std::move(v_), std::move(differences_)};
  }

 private:
  void put(const std::string& token, int32_t id, GgufTokenType type) {
    if (static_cast<size_t>(id) >= v_.tokens.size())
      throw Error(Errc::kBadFile, "{}: token '{}': wanted an id below vocab_size = {}, got {}", path_, token,
                  v_.tokens.size(), id);
    v_.tokens[static_cast<size_t>(id)] = token;
    v_.token_type[static_cast<size_t>(id)] = static_cast<int32_t>(type);
  }

  void put_tokens(const BpeParts& bpe) {
    for (const auto& [token, id] : bpe.vocab)
      put(token, id, !bpe.byte_level && byte_of_token(token) >= 0 ? GgufTokenType::kByte : GgufTokenType::kNormal);
    for (const AddedToken& token : parts_.added_tokens) {
      // Of a text it is only found where U+2581 itself stands there; what a model says with it are spaces, which
      // llama.cpp would show as they are written if the token were user-defined.
      const bool of_spaces = !bpe.byte_level && !token.special && token.content.find(kMetaSpace) != std::string::npos;
      if (of_spaces && !bpe.vocab.contains(token.content))
        refuse(path_, "added_tokens", "'{}' has a U+2581 and is no token of the model", token.content);
      if (of_spaces) continue;
      const bool unknown = token.special && !bpe.byte_level && bpe.unk_id == token.id;
      put(token.content, token.id,
          unknown         ? GgufTokenType::kUnknown
          : token.special ? GgufTokenType::kControl
                          : GgufTokenType::kUserDefined);
    }
  }

  void put_byte_level(const BpeParts& bpe) {
    v_.model = "gpt2";
    v_.pre = gguf_pre_tokenizer_that_splits(parts_.split_steps, bpe.ignore_merges);
    if (v_.pre.empty())
      refuse(path_, "pre_tokenizer", "for a GGUF file wanted that of one of {}, got {} with ignore_merges {}",
             gguf_pre_tokenizer_names(), text_of(parts_.split_steps), bpe.ignore_merges);
    for (const NormalizerStep& step : parts_.normalizer_steps) {
      if (const auto* form = std::get_if<UnicodeForm>(&step); form == nullptr || *form != UnicodeForm::kNfc)
        refuse(path_, "normalizer", "for a GGUF file wanted none or NFC, got another");
      differences_.push_back("text that is not in NFC is not normalized");
    }
    for (const auto& [left, right] : bpe.merges) v_.merges.push_back(left + " " + right);
  }

  // llama.cpp puts U+2581 for spaces, and one in front of each text between special tokens if add_space_prefix.
  void put_spaces(const BpeParts& bpe) {
    auto steps = std::span(parts_.normalizer_steps);
    const auto* prepend = steps.empty() ? nullptr : std::get_if<PrependStep>(&steps.front());
    if (prepend != nullptr && prepend->text == kMetaSpace) steps = steps.subspan(1);
    const auto* replace = steps.size() == 1 ? std::get_if<ReplaceStep>(&steps.front()) : nullptr;
    const bool replaces = replace != nullptr && replace->pattern == " " && replace->content == kMetaSpace;
    if (!replaces && !parts_.normalizer_steps.empty())
      refuse(path_, "normalizer", "for a GGUF file wanted U+2581 for spaces (Prepend, Replace), got another");
    const std::vector<SplitStep>& split = parts_.split_steps;
    v_.add_space_prefix = prepend != nullptr;
    if (replaces && (split.empty() || (split.size() == 1 && is_split_at_spaces(split[0])))) return;
    if (replaces || split.size() != 1 || split[0].space != kMetaSpace)
      refuse(path_, "pre_tokenizer", "for a GGUF file wanted U+2581 for spaces (Replace or Metaspace), got {}",
             text_of(split));
    v_.add_space_prefix = split[0].prefix != SplitStep::Prefix::kNever;
    if (*v_.add_space_prefix)
      differences_.push_back(
          split[0].prefix == SplitStep::Prefix::kFirst
              ? "a text that begins with a space, and each behind a special token, has one more in front"
              : "a text that begins with a space has one more in front");
    // Metaspace's words begin with U+2581; only a token with one further on would join two of them.
    if (split[0].pattern.empty()) return;
    for (const auto& [left, right] : bpe.merges)
      if ((left + right).find(kMetaSpace, 1) != std::string::npos)
        refuse(path_, "pre_tokenizer", "words are split at spaces, a GGUF file would have ('{}', '{}') merged", left,
               right);
  }

  // Behind Replace no text has any.
  static bool is_split_at_spaces(const SplitStep& step) {
    return step.pattern == " " && !step.invert && step.space == " " && step.prefix == SplitStep::Prefix::kNever;
  }

  void check_decoder() const {
    const TokenDecoderParts& decoder = parts_.decoder;
    const std::vector<std::pair<std::string, std::string>> spaces = {{kMetaSpace, " "}};
    const bool strips = decoder.drop_in_first == kMetaSpace || (decoder.strip == " " && decoder.n_strip == 1);
    const bool strips_nothing = decoder.drop_in_first.empty() && decoder.n_strip == 0;
    if (decoder.replaces != spaces || !decoder.byte_fallback || !(*v_.add_space_prefix ? strips : strips_nothing))
      refuse(path_, "decoder", "for a GGUF file wanted spaces for U+2581, ByteFallback and {}, got another",
             *v_.add_space_prefix ? "one space stripped in front" : "nothing stripped");
  }

  void put_sentencepiece(const BpeParts& bpe) {
    if (!bpe.byte_fallback || bpe.ignore_merges)
      refuse(path_, "model", "for a GGUF file wanted byte_fallback true and ignore_merges false, got {} and {}",
             bpe.byte_fallback, bpe.ignore_merges);
    for (int byte = 0; byte < 256; ++byte)
      if (const std::string token = byte_token(static_cast<uint8_t>(byte)); !bpe.vocab.contains(token))
        refuse(path_, "model.vocab", "for a GGUF file wanted a token '{}', got none", token);
    v_.model = "llama";
    put_spaces(bpe);
    check_decoder();
    v_.unknown_token_id = bpe.unk_id;
    v_.scores = scores_of_merges(bpe, v_.tokens, parts_.added_tokens, path_);
  }

  std::optional<int32_t> id_of(const std::string& token) const {
    for (const AddedToken& added : parts_.added_tokens)
      if (added.content == token) return added.id;
    const TokenIds& vocab = vocab_of(parts_);
    const auto found = vocab.find(token);
    return found == vocab.end() ? std::nullopt : std::optional(found->second);
  }

  // Whether the one token is put there.
  bool put_around(const std::vector<int32_t>& around, std::optional<int32_t>& id, const char* name) const {
    if (around.size() == 1 && !id) id = around[0];
    if (around.size() > 1 || (around.size() == 1 && around[0] != *id))
      refuse(path_, "post_processor", "for a GGUF file wanted nothing or {}_token {} the text, got {} tokens, {} first",
             name, name == std::string_view("bos") ? "before" : "behind", around.size(), around[0]);
    return !around.empty();
  }

  void put_special_tokens() {
    v_.bos_token_id = id_of(parts_.bos_token);
    v_.eos_token_id = id_of(parts_.eos_token);
    v_.padding_token_id = id_of(parts_.pad_token);
    v_.add_bos_token = put_around(parts_.prefix, v_.bos_token_id, "bos");
    v_.add_eos_token = put_around(parts_.suffix, v_.eos_token_id, "eos");
  }

  const TokenizerParts& parts_;
  const std::string& path_;
  GgufVocabulary v_;
  std::vector<std::string> differences_;
};

}  // namespace

WrittenGgufVocabulary gguf_vocabulary_of(const TokenizerParts& parts, int64_t n_tokens, const std::string& path) {
  return Writer(parts, n_tokens, path).write();
}

}  // namespace trimeter
