#include "text/tokenizer_steps.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>

namespace trimeter {

const char* const kGpt2Pattern = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

std::string escaped_pattern(std::string_view literal) {
  std::string pattern;
  for (const char c : literal) {
    if (std::string_view(R"(\^$.|?*+()[]{}#-)").find(c) != std::string_view::npos) pattern += '\\';
    pattern += c;
  }
  return pattern;
}

namespace {

SplitBehavior behavior_of(const Field& field) {
  static const std::unordered_map<std::string, SplitBehavior> names = {
      {"Isolated", SplitBehavior::kIsolated},
      {"Removed", SplitBehavior::kRemoved},
      {"MergedWithPrevious", SplitBehavior::kMergedWithPrevious},
      {"MergedWithNext", SplitBehavior::kMergedWithNext},
      {"Contiguous", SplitBehavior::kContiguous}};
  const auto found = names.find(field.string());
  if (found == names.end()) field.wanted("Isolated, Removed, MergedWithPrevious, MergedWithNext or Contiguous");
  return found->second;
}

std::string pattern_of(const Field& field) {
  const Field pattern = field["pattern"];
  const std::string regex =
      pattern["Regex"].is_null() ? escaped_pattern(pattern["String"].string()) : pattern["Regex"].string();
  if (regex.empty()) pattern.wanted("a pattern that is not empty");
  return regex;
}

std::string one_character(const Field& field) {
  const std::string& text = field.string();
  if (text.empty() || utf8_step(text, 0).length != static_cast<int>(text.size())) field.wanted("one character");
  return text;
}

std::string base64_bytes(const Field& field) {
  static constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string_view text = field.string();
  while (text.ends_with('=')) text.remove_suffix(1);
  std::string bytes;
  uint32_t bits = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const size_t digit = kDigits.find(text[i]);
    if (digit == std::string_view::npos) field.wanted("base64");
    bits = bits << 6 | static_cast<uint32_t>(digit);
    if (i % 4 != 0) bytes += static_cast<char>(bits >> (6 - 2 * (i % 4)) & 0xFF);
  }
  return bytes;
}

SplitStep split_step(const Field& split) {
  SplitStep step;
  step.pattern = pattern_of(split);
  step.behavior = behavior_of(split["behavior"]);
  step.invert = split["invert"].boolean(false);
  return step;
}

SplitStep byte_level_step(const Field& field) {
  SplitStep step;
  if (field["add_prefix_space"].boolean(true)) step.prefix = SplitStep::Prefix::kAlways;
  if (field["use_regex"].boolean(true)) step.pattern = kGpt2Pattern;
  return step;
}

// Older files say add_prefix_space alone.
SplitStep::Prefix metaspace_prefix(const Field& field) {
  const bool prefix_space = field["add_prefix_space"].boolean(true);
  const Field scheme = field["prepend_scheme"];
  if (scheme.is_null()) return prefix_space ? SplitStep::Prefix::kAlways : SplitStep::Prefix::kNever;
  static const std::unordered_map<std::string, SplitStep::Prefix> names = {{"always", SplitStep::Prefix::kAlways},
                                                                           {"first", SplitStep::Prefix::kFirst},
                                                                           {"never", SplitStep::Prefix::kNever}};
  const auto found = names.find(scheme.string());
  if (found == names.end()) scheme.wanted("always, first or never");
  if (!prefix_space && found->second != SplitStep::Prefix::kNever) scheme.wanted("never, as add_prefix_space is false");
  return found->second;
}

SplitStep metaspace_step(const Field& field) {
  SplitStep step;
  step.space = one_character(field["replacement"]);
  step.prefix = metaspace_prefix(field);
  if (field["split"].boolean(true)) step.pattern = escaped_pattern(step.space);
  step.behavior = SplitBehavior::kMergedWithNext;
  return step;
}

SplitStep digits_step(const Field& field) {
  SplitStep step;
  step.pattern = R"(\p{N})";
  step.behavior = field["individual_digits"].boolean(false) ? SplitBehavior::kIsolated : SplitBehavior::kContiguous;
  return step;
}

SplitStep white_space_step() {
  SplitStep step;
  step.pattern = R"(\s)";
  step.behavior = SplitBehavior::kRemoved;
  return step;
}

void read_pre_tokenizer(const Field& field, std::vector<SplitStep>& steps, bool& byte_level) {
  const std::string type = field.type();
  if (type == "Sequence") {
    field["pretokenizers"].each_element([&](const Field& one) { read_pre_tokenizer(one, steps, byte_level); });
    return;
  }
  // In the byte-level alphabet nothing may look at characters any more.
  if (byte_level) field.unsupported(fmt::format("'{}' behind ByteLevel", type));
  if (type == "Split") {
    steps.push_back(split_step(field));
  } else if (type == "Metaspace") {
    steps.push_back(metaspace_step(field));
  } else if (type == "Digits") {
    steps.push_back(digits_step(field));
  } else if (type == "WhitespaceSplit") {
    steps.push_back(white_space_step());
  } else if (type == "ByteLevel") {
    steps.push_back(byte_level_step(field));
    byte_level = true;
  } else {
    field.unsupported(fmt::format(
        "pre-tokenizer '{}' (ByteLevel, Digits, Metaspace, Sequence, Split and WhitespaceSplit are)", type));
  }
}

// Where in a decoder's sequence we are: each kind of step has one place.
enum class DecoderStage { kTokens, kBytes, kFused, kStripped };

void read_decoder_step(const Field& field, DecoderStage& stage, TokenDecoderParts& parts) {
  const std::string type = field.type();
  const auto enter = [&](DecoderStage last_before, DecoderStage next) {
    if (stage > last_before) field.unsupported(fmt::format("decoder '{}' at this place of the sequence", type));
    stage = next;
  };
  if (type == "Sequence") {
    field["decoders"].each_element([&](const Field& one) { read_decoder_step(one, stage, parts); });
  } else if (type == "Replace") {
    enter(DecoderStage::kTokens, DecoderStage::kTokens);
    const Field pattern = field["pattern"];
    if (pattern["String"].is_null()) pattern.unsupported("a decoder with a regular expression");
    if (pattern["String"].string().empty()) pattern.wanted("a pattern that is not empty");
    parts.replaces.emplace_back(pattern["String"].string(), field["content"].string());
  } else if (type == "Metaspace") {
    enter(DecoderStage::kTokens, DecoderStage::kTokens);
    if (!parts.replaces.empty()) field.unsupported("decoder 'Metaspace' behind another");
    const std::string space = one_character(field["replacement"]);
    if (metaspace_prefix(field) != SplitStep::Prefix::kNever) parts.drop_in_first = space;
    parts.replaces.emplace_back(space, " ");
  } else if (type == "ByteFallback") {
    enter(DecoderStage::kTokens, DecoderStage::kBytes);
    parts.byte_fallback = parts.whole_byte_runs = true;
  } else if (type == "Fuse") {
    enter(DecoderStage::kFused, DecoderStage::kFused);
  } else if (type == "Strip") {
    if (stage != DecoderStage::kFused) field.unsupported("decoder 'Strip' elsewhere than behind 'Fuse'");
    stage = DecoderStage::kStripped;
    parts.strip = one_character(field["content"]);
    parts.n_strip = field["start"].integer(0, 1 << 20, "a count");
    if (field["stop"].integer(0, 1 << 20, "a count") != 0) field["stop"].unsupported("stripping a text's end");
  } else {
    field.unsupported(
        fmt::format("decoder '{}' (ByteFallback, ByteLevel, Fuse, Metaspace, Replace, Sequence and Strip are)", type));
  }
}

}  // namespace

void read_normalizer(const Field& field, std::vector<NormalizerStep>& steps) {
  if (field.is_null()) return;
  static const std::unordered_map<std::string, UnicodeForm> forms = {{"NFC", UnicodeForm::kNfc},
                                                                     {"NFD", UnicodeForm::kNfd},
                                                                     {"NFKC", UnicodeForm::kNfkc},
                                                                     {"NFKD", UnicodeForm::kNfkd}};
  const std::string type = field.type();
  if (const auto form = forms.find(type); form != forms.end()) {
    steps.push_back(form->second);
  } else if (type == "Sequence") {
    field["normalizers"].each_element([&](const Field& one) { read_normalizer(one, steps); });
  } else if (type == "Prepend") {
    steps.push_back(PrependStep{field["prepend"].string()});
  } else if (type == "Replace") {
    steps.push_back(ReplaceStep{pattern_of(field), field["content"].string()});
  } else if (type == "Strip") {
    steps.push_back(StripStep{field["strip_left"].boolean(true), field["strip_right"].boolean(true)});
  } else if (type == "Precompiled") {
    steps.push_back(CharsmapStep{base64_bytes(field["precompiled_charsmap"])});
  } else {
    field.unsupported(fmt::format(
        "normalizer '{}' (NFC, NFD, NFKC, NFKD, Precompiled, Prepend, Replace, Sequence and Strip are)", type));
  }
}

bool read_pre_tokenizer(const Field& field, std::vector<SplitStep>& steps) {
  bool byte_level = false;
  if (!field.is_null()) read_pre_tokenizer(field, steps, byte_level);
  return byte_level;
}

TokenDecoderParts read_decoder(const Field& field, bool byte_level) {
  TokenDecoderParts parts;
  const std::string type = field.type();
  if ((type == "ByteLevel") != byte_level)
    field.unsupported(fmt::format("decoder '{}' with{} the pre-tokenizer ByteLevel", type, byte_level ? "" : "out"));
  parts.byte_level = byte_level;
  if (byte_level) return parts;
  DecoderStage stage = DecoderStage::kTokens;
  read_decoder_step(field, stage, parts);
  return parts;
}

}  // namespace trimeter
