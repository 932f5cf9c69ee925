#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"

namespace trimeter {

// A request's text as its tokens arrive: whole UTF-8 characters, cut where the first stop string begins. What could
// still become part of a stop string is held back from the stream until it is clear.
class OutputText {
 public:
  explicit OutputText(std::vector<std::string> stop) : stop_(std::move(stop)) {}

  // Adds a token's bytes. True if a stop string is complete: the text ends before it, and nothing may follow.
  bool push(std::string_view bytes);
  // No more tokens: nothing is held back any longer, and half a character becomes U+FFFD.
  void finish();
  // What may be shown and has not been taken yet.
  std::string_view take();

  const std::string& text() const { return text_; }

 private:
  bool append(std::string_view characters);
  size_t n_clear() const;

  std::vector<std::string> stop_;
  Utf8Stream utf8_;
  std::string text_;
  size_t n_taken_ = 0;
  bool ended_ = false;
};

}  // namespace trimeter
