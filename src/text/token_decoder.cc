#include "text/token_decoder.h"

#include "text/byte_level.h"
#include "text/token_model.h"
#include "text/utf8.h"

namespace trimeter {
namespace {

// A run of byte tokens as tokenizers' ByteFallback has it.
std::string run_text(std::string_view bytes) {
  if (is_utf8(bytes)) return std::string(bytes);
  std::string out;
  for (size_t i = 0; i < bytes.size(); ++i) out += kReplacementCharacter;
  return out;
}

}  // namespace

TokenDecoder::TokenDecoder(TokenDecoderParts parts, std::span<const std::string_view> texts,
                           const std::vector<bool>& is_added)
    : parts_(std::move(parts)), texts_(texts.begin(), texts.end()), is_byte_(texts.size()) {
  for (size_t id = 0; id < texts_.size(); ++id) {
    const std::string_view text = texts_[id];
    const int byte = parts_.byte_fallback ? byte_of_token(text) : -1;
    if (is_added[id] && parts_.added_tokens_verbatim) {
      bytes_.emplace_back(text);
    } else if (parts_.byte_level) {
      bytes_.push_back(bytes_of_alphabet(text).value_or(std::string(text)));
    } else if (byte >= 0) {
      bytes_.emplace_back(1, static_cast<char>(byte));
      is_byte_[id] = true;
    } else {
      bytes_.push_back(replaced(text));
    }
  }
}

std::string TokenDecoder::replaced(std::string_view text) const {
  std::string out(text);
  for (const auto& [from, to] : parts_.replaces) replace_all(out, from, to);
  return out;
}

std::string TokenDecoder::decode(std::span<const int32_t> tokens) const {
  std::string out, run;
  const auto end_run = [&] {
    out += run_text(run);
    run.clear();
  };
  for (size_t i = 0; i < tokens.size(); ++i) {
    const auto id = static_cast<size_t>(tokens[i]);
    if (is_byte_[id] && parts_.whole_byte_runs) {
      run += bytes_[id];
      continue;
    }
    end_run();
    if (i == 0 && !parts_.drop_in_first.empty()) {
      std::string first(texts_[id]);
      replace_all(first, parts_.drop_in_first, "");
      out += replaced(first);
    } else {
      out += bytes_[id];
    }
  }
  end_run();
  if (!parts_.whole_byte_runs) out = replace_invalid_utf8(out);
  for (int32_t n = 0; n < parts_.n_strip && out.starts_with(parts_.strip); ++n) out.erase(0, parts_.strip.size());
  return out;
}

}  // namespace trimeter
