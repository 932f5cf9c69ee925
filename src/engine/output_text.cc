#include "engine/output_text.h"

#include <algorithm>

#include "base/error.h"

namespace trimeter {

bool OutputText::push(std::string_view bytes) {
  TM_CHECK(!ended_, "text after the end");
  return append(utf8_.push(bytes));
}

void OutputText::finish() {
  if (ended_) return;
  append(utf8_.finish());
  ended_ = true;
}

std::string_view OutputText::take() {
  const size_t begin = n_taken_;
  n_taken_ = std::max(n_taken_, n_clear());
  return std::string_view(text_).substr(begin, n_taken_ - begin);
}

bool OutputText::append(std::string_view characters) {
  const size_t n_before = text_.size();
  text_ += characters;
  size_t cut = std::string::npos;
  for (const std::string& stop : stop_)  // only what ends in the new part can be new
    cut = std::min(cut, text_.find(stop, n_before - std::min(n_before, stop.size() - 1)));
  if (cut == std::string::npos) return false;
  text_.resize(cut);
  return ended_ = true;
}

// The text without its longest tail that is the beginning of a stop string.
size_t OutputText::n_clear() const {
  if (ended_) return text_.size();
  size_t held = 0;
  for (const std::string& stop : stop_)
    for (size_t n = std::min(stop.size() - 1, text_.size()); n > held; --n)
      if (text_.ends_with(std::string_view(stop).substr(0, n))) held = n;
  return text_.size() - held;
}

}  // namespace trimeter
