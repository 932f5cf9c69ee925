#include "text/gguf_pre_tokenizer.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <map>

#include "text/tokenizer_steps.h"

namespace trimeter {
namespace {

// The patterns are those that llama.cpp runs (llama-vocab.cpp), not those of the models' own tokenizer.json, which can
// do otherwise: (?i:'s) also takes U+017F for an s.
#define TM_CONTRACTIONS R"('[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
#define TM_LINES_AND_SPACES R"(\s*[\r\n]+|\s+(?!\S)|\s+)"

constexpr const char* kLlama3 =
    TM_CONTRACTIONS R"(|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|)" TM_LINES_AND_SPACES;
constexpr const char* kQwen2 =
    TM_CONTRACTIONS R"(|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|)" TM_LINES_AND_SPACES;
constexpr const char* kQwen35 =
    TM_CONTRACTIONS R"(|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|)" TM_LINES_AND_SPACES;
constexpr const char* kTekken = R"([^\r\n\p{L}\p{N}]?((?=[\p{L}])([^a-z]))*((?=[\p{L}])([^A-Z]))+)"
                                R"(|[^\r\n\p{L}\p{N}]?((?=[\p{L}])([^a-z]))+((?=[\p{L}])([^A-Z]))*)"
                                R"(|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|)" TM_LINES_AND_SPACES;
constexpr const char* kDeepseekV3 =
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|)" TM_LINES_AND_SPACES;

#undef TM_CONTRACTIONS
#undef TM_LINES_AND_SPACES

constexpr const char* kLineBreak = R"([\r\n])";
constexpr const char* kCjk = "[一-龥ࠀ-一가-\uD7FF]+";
// The letters that have case, as the model's authors list them.
constexpr const char* kDeepseekLetters =
    "\\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-"
    "Ὅὐ-"
    "ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼι"
    "ῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-"
    "𐑏𐒰-"
    "𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+";
// \s+$, which would look at each space of a run anew; a run has one beginning.
constexpr const char* kSpacesAtEnd = R"((?<!\s)\s+$)";

const std::map<std::string, GgufPreTokenizer, std::less<>>& table() {
  static const GgufPreTokenizer gpt2{{kGpt2Pattern}}, llama3{{kLlama3}, true, true}, smaug{{kLlama3}}, qwen2{{kQwen2}},
      starcoder{{R"(\p{N})", kGpt2Pattern}};
  static const std::map<std::string, GgufPreTokenizer, std::less<>> kinds = {
      {"default", {{R"([\p{P}\$\+<=>\^~\|]+)", kGpt2Pattern, R"(\p{N}+)", "[0-9][0-9][0-9]"}}},
      {"gpt-2", gpt2},
      {"phi-2", gpt2},
      {"mpt", gpt2},
      {"olmo", gpt2},
      {"exaone4", gpt2},
      {"llama3", llama3},
      {"llama-v3", llama3},
      {"llama-bpe", llama3},
      {"falcon3", llama3},
      {"pixtral", llama3},
      {"lfm2", llama3},
      {"smaug-bpe", smaug},
      {"dbrx", smaug},
      {"glm4", smaug},
      {"chatglm-bpe", smaug},
      {"qwen2", qwen2},
      {"deepseek-r1-qwen", qwen2},
      {"stablelm2", qwen2},
      {"megrez", qwen2},
      {"qwen35", {{kQwen35}}},
      {"tekken", {{kTekken}, true, true}},
      {"starcoder", starcoder},
      {"refact", starcoder},
      {"command-r", starcoder},
      {"smollm", starcoder},
      {"codeshell", starcoder},
      {"exaone", starcoder},
      {"minerva-7b", starcoder},
      {"falcon", {{R"([\p{P}\$\+<=>\^~\|`]+)", kGpt2Pattern, "[0-9][0-9][0-9]"}}},
      {"deepseek-llm",
       {{kLineBreak, kDeepseekLetters, R"(\s?[!-/:-~！-／：-～‘-‟　-。]+)", kSpacesAtEnd, kCjk, R"(\p{N}+)"}}},
      {"deepseek-coder", {{kLineBreak, R"(\s?\p{L}+)", R"(\s?\p{P}+)", kCjk, R"(\p{N})"}}},
      {"deepseek-v3", {{R"(\p{N}{1,3})", "[一-龥\u3040-\u309F゠-ヿ]+", kDeepseekV3}}},
  };
  return kinds;
}

}  // namespace

const GgufPreTokenizer* find_gguf_pre_tokenizer(std::string_view pre) {
  const auto found = table().find(pre);
  return found == table().end() ? nullptr : &found->second;
}

std::string gguf_pre_tokenizer_names() {
  std::vector<std::string_view> names;
  for (const auto& [name, kind] : table()) names.push_back(name);
  return fmt::format("{}", fmt::join(names, ", "));
}

}  // namespace trimeter
