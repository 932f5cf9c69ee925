#include "text/gguf_pre_tokenizer.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "text/tokenizer_steps.h"
#include "text/utf8.h"

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
// [^\P{L}a-z]: the letters without a to z.
constexpr const char* kTekken =
    R"([^\r\n\p{L}\p{N}]?[^\P{L}a-z]*[^\P{L}A-Z]+|[^\r\n\p{L}\p{N}]?[^\P{L}a-z]+[^\P{L}A-Z]*|)"
    R"(\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|)" TM_LINES_AND_SPACES;
constexpr const char* kDeepseekV3 =
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|)"
    R"( ?[\p{P}\p{S}]+[\r\n]*|)" TM_LINES_AND_SPACES;

constexpr const char* kContractions = TM_CONTRACTIONS "|";

#undef TM_CONTRACTIONS
#undef TM_LINES_AND_SPACES

constexpr const char* kLineBreak = R"([\r\n])";
// The model's own range U+0800-U+9FA5 without its white space, which llama.cpp sees as U+000B here.
constexpr const char* kCjk =
    R"([\x{800}-\x{167F}\x{1681}-\x{1FFF}\x{200B}-\x{2027}\x{202A}-\x{202E}\x{2030}-\x{205E}\x{2060}-\x{2FFF})"
    R"(\x{3001}-\x{9FA5}\x{AC00}-\x{D7FF}]+)";
constexpr const char* kDeepseekPunctuation = R"(\s?[!-/:-~！-／：-～‘-‟\x{3001}\x{3002}]+)";
// The letters that have case, as the model's authors list them.
constexpr const char* kDeepseekLetters =
    R"(\s?[A-Za-z)"
    R"(\x{B5}\x{C0}-\x{D6}\x{D8}-\x{F6}\x{F8}-\x{1BA}\x{1BC}-\x{1BF}\x{1C4}-\x{293}\x{295}-\x{2AF}\x{370}-\x{373})"
    R"(\x{376}\x{377}\x{37B}-\x{37D}\x{37F}\x{386}\x{388}-\x{38A}\x{38C}\x{38E}-\x{3A1}\x{3A3}-\x{3F5})"
    R"(\x{3F7}-\x{481}\x{48A}-\x{52F}\x{531}-\x{556}\x{10A0}-\x{10C5}\x{13A0}-\x{13F5}\x{13F8}-\x{13FD})"
    R"(\x{1C90}-\x{1CBA}\x{1CBD}-\x{1CBF}\x{1D00}-\x{1D2B}\x{1D6B}-\x{1D77}\x{1D79}-\x{1D9A}\x{1E00}-\x{1F15})"
    R"(\x{1F18}-\x{1F1D}\x{1F20}-\x{1F45}\x{1F48}-\x{1F4D}\x{1F50}-\x{1F57}\x{1F59}\x{1F5B}\x{1F5D})"
    R"(\x{1F5F}-\x{1F7D}\x{1F80}-\x{1FB4}\x{1FB6}-\x{1FBC}\x{1FBE}\x{1FC2}-\x{1FC4}\x{1FC6}-\x{1FCC})"
    R"(\x{1FD0}-\x{1FD3}\x{1FD6}-\x{1FDB}\x{1FE0}-\x{1FEC}\x{1FF2}-\x{1FF4}\x{1FF6}-\x{1FFC}\x{2102}\x{2107})"
    R"(\x{210A}-\x{2113}\x{2115}\x{2119}-\x{211D}\x{2124}\x{2126}\x{2128}\x{212A}-\x{212D}\x{212F}-\x{2134}\x{2139})"
    R"(\x{213C}-\x{213F}\x{2145}-\x{2149}\x{214E}\x{2183}\x{2184}\x{2C00}-\x{2C7B}\x{2C7E}-\x{2CE4})"
    R"(\x{2CEB}-\x{2CEE}\x{2CF2}\x{2CF3}\x{A640}-\x{A66D}\x{A680}-\x{A69B}\x{A722}-\x{A76F}\x{A771}-\x{A787})"
    R"(\x{A78B}-\x{A78E}\x{AB70}-\x{ABBF}\x{FB00}-\x{FB06}\x{FB13}-\x{FB17}\x{FF21}-\x{FF3A}\x{FF41}-\x{FF5A})"
    R"(\x{10400}-\x{1044F}\x{104B0}-\x{104D3}\x{104D8}-\x{104FB}\x{10C80}-\x{10CB2}\x{10CC0}-\x{10CF2})"
    R"(\x{118A0}-\x{118DF}\x{1E900}-\x{1E943})"
    R"(]+)";
// \s+$, which would look at each space of a run anew; a run has one beginning.
constexpr const char* kSpacesAtEnd = R"((?<!\s)\s+$)";

struct Kind {
  std::vector<std::string_view> names;  // the first is the one to write
  GgufPreTokenizer kind;
};

// smollm before starcoder: llama.cpp mends the spaces of starcoder's text when it shows it.
const std::vector<Kind>& table() {
  static const std::vector<Kind> kinds = {
      {{"default"}, {{R"([\p{P}\$\+<=>\^~\|]+)", kGpt2Pattern, R"(\p{N}+)", "[0-9][0-9][0-9]"}}},
      {{"gpt-2", "phi-2", "mpt", "olmo", "exaone4"}, {{kGpt2Pattern}}},
      {{"llama-bpe", "llama3", "llama-v3", "falcon3", "pixtral", "lfm2"}, {{kLlama3}, true, true}},
      {{"smaug-bpe", "dbrx", "glm4", "chatglm-bpe"}, {{kLlama3}}},
      {{"qwen2", "deepseek-r1-qwen", "stablelm2", "megrez"}, {{kQwen2}}},
      {{"qwen35"}, {{kQwen35}}},
      {{"tekken"}, {{kTekken}, true, true}},
      {{"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"},
       {{R"(\p{N})", kGpt2Pattern}}},
      {{"falcon"}, {{R"([\p{P}\$\+<=>\^~\|`]+)", kGpt2Pattern, "[0-9][0-9][0-9]"}}},
      {{"deepseek-llm"}, {{kLineBreak, kDeepseekLetters, kDeepseekPunctuation, kSpacesAtEnd, kCjk, R"(\p{N}+)"}}},
      {{"deepseek-coder"}, {{kLineBreak, R"(\s?\p{L}+)", R"(\s?\p{P}+)", kCjk, R"(\p{N})"}}},
      {{"deepseek-v3"}, {{R"(\p{N}{1,3})", "[一-龥\u3040-\u309F゠-ヿ]+", kDeepseekV3}}},
  };
  return kinds;
}

// A tokenizer.json's pattern in llama.cpp's spelling, which is the same but for U+017F and for rare white space.
std::string as_llama_cpp_spells(std::string pattern) {
  for (const auto& [theirs, ours] : {std::pair{"(?i:'s|'t|'re|'ve|'m|'ll|'d)|", kContractions},
                                     {"[\u4E00-\u9FA5\u0800-\u4E00\uAC00-\uD7FF]+", kCjk},
                                     {"\r", "\\r"},
                                     {"\n", "\\n"}})
    replace_all(pattern, theirs, ours);
  return pattern;
}

}  // namespace

const GgufPreTokenizer* find_gguf_pre_tokenizer(std::string_view pre) {
  for (const Kind& kind : table())
    if (std::find(kind.names.begin(), kind.names.end(), pre) != kind.names.end()) return &kind.kind;
  return nullptr;
}

std::string_view gguf_pre_tokenizer_that_splits(const std::vector<SplitStep>& steps, bool ignore_merges) {
  std::vector<std::string> patterns;
  for (const SplitStep& step : steps) {
    if (step.prefix != SplitStep::Prefix::kNever || step.space != " " || step.invert) return {};
    if (step.pattern.empty()) continue;
    if (step.behavior != SplitBehavior::kIsolated) return {};
    patterns.push_back(as_llama_cpp_spells(step.pattern));
  }
  for (const Kind& kind : table())
    if (kind.kind.patterns == patterns && kind.kind.ignore_merges == ignore_merges) return kind.names.front();
  return {};
}

std::string gguf_pre_tokenizer_names() {
  std::vector<std::string_view> names;
  for (const Kind& kind : table()) names.insert(names.end(), kind.names.begin(), kind.names.end());
  std::sort(names.begin(), names.end());
  return fmt::format("{}", fmt::join(names, ", "));
}

}  // namespace trimeter
