#include "lab/synth_tokenizer.h"

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/error.h"
#include "io/file.h"
#include "text/byte_level.h"

namespace trimeter {
namespace {

using nlohmann::ordered_json;

constexpr const char* kSpecial[] = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
constexpr const char* kWords =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kChatTemplate =
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + "
    "'\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

struct Vocabulary {
  std::vector<std::string> tokens;  // in GPT-2's alphabet
  ordered_json merges = ordered_json::array();

  void merge(const std::string& left, const std::string& right) {
    tokens.push_back(left + right);
    merges.push_back(left + " " + right);
  }
};

Vocabulary make_vocabulary(size_t n_tokens) {
  Vocabulary v;
  for (int byte = 0; byte < 256; ++byte) v.tokens.push_back(alphabet_of_bytes(std::string(1, static_cast<char>(byte))));
  const auto text = [&](char c) { return v.tokens[static_cast<uint8_t>(c)]; };
  std::vector<std::string> words;  // of the longest length so far, with a space before them or not
  for (char a = ' '; a <= '~'; ++a)
    for (char b = ' '; b <= '~'; ++b) {
      v.merge(text(a), text(b));
      if ((a == ' ' || (a >= 'a' && a <= 'z')) && b >= 'a' && b <= 'z') words.push_back(v.tokens.back());
    }
  while (v.tokens.size() < n_tokens) {
    std::vector<std::string> longer;
    for (const std::string& word : words)
      for (char c = 'a'; c <= 'z' && v.tokens.size() < n_tokens; ++c) {
        v.merge(word, text(c));
        longer.push_back(v.tokens.back());
      }
    words = std::move(longer);
  }
  return v;
}

ordered_json added_token(const char* content) {
  return {{"content", content}, {"single_word", false}, {"lstrip", false},
          {"rstrip", false},    {"normalized", false},  {"special", true}};
}

}  // namespace

void write_synthetic_tokenizer(int64_t n_tokens, const std::filesystem::path& directory) {
  constexpr int64_t kLeast = 256 + 95 * 95 + std::ssize(kSpecial);
  TM_CHECK(n_tokens >= kLeast, "{} tokens of {}", n_tokens, kLeast);
  const Vocabulary v = make_vocabulary(static_cast<size_t>(n_tokens - std::ssize(kSpecial)));
  ordered_json vocabulary = ordered_json::object(), added = ordered_json::array(), decoder = ordered_json::object();
  // ordered_json looks a key up by walking: push_back of pairs does not.
  auto& entries = vocabulary.get_ref<ordered_json::object_t&>();
  entries.reserve(v.tokens.size());
  int64_t id = 0;
  for (const std::string& token : v.tokens) entries.push_back({token, id++});
  for (const char* special : kSpecial) {
    ordered_json token = added_token(special);
    decoder[std::to_string(id)] = token;
    token["id"] = id++;
    added.push_back(token);
  }
  const ordered_json bytes = {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", false}, {"use_regex", false}};
  const ordered_json split = {
      {"type", "Split"}, {"pattern", {{"Regex", kWords}}}, {"behavior", "Isolated"}, {"invert", false}};
  const ordered_json tokenizer = {
      {"version", "1.0"},
      {"truncation", nullptr},
      {"padding", nullptr},
      {"added_tokens", added},
      {"normalizer", {{"type", "NFC"}}},
      {"pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", {split, bytes}}}},
      {"post_processor", bytes},
      {"decoder", bytes},
      {"model",
       {{"type", "BPE"}, {"dropout", nullptr}, {"unk_token", nullptr}, {"vocab", vocabulary}, {"merges", v.merges}}}};
  write_file_atomic(directory / "tokenizer.json", tokenizer.dump() + "\n");
  const ordered_json config = {{"tokenizer_class", "Qwen2Tokenizer"},
                               {"added_tokens_decoder", decoder},
                               {"add_bos_token", false},
                               {"bos_token", nullptr},
                               {"eos_token", kSpecial[0]},
                               {"pad_token", kSpecial[0]},
                               {"unk_token", nullptr},
                               {"clean_up_tokenization_spaces", false},
                               {"chat_template", kChatTemplate}};
  write_file_atomic(directory / "tokenizer_config.json", config.dump(2) + "\n");
}

}  // namespace trimeter
