// A pattern of tokenizer.json, which is written for Oniguruma, run by PCRE2 (JIT where the machine has it).
// What differs is translated: \s and \S are Unicode White_Space in both (PCRE2 alone would add U+180E). Unicode tables
// are PCRE2's own: 14.0 for PCRE2 10.42, so that letters assigned later split differently.
#pragma once
#include <memory>
#include <string>
#include <string_view>

namespace trimeter {

class Regex {
 public:
  // Throws Error(kBadFile) naming `where`, the pattern and the offset of what does not compile.
  Regex(const std::string& pattern, const std::string& where);
  ~Regex();
  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;

  // Finds successive matches in one text after another; any number of searches may run over one Regex at a time.
  class Search {
   public:
    explicit Search(const Regex& regex);
    ~Search();
    Search(const Search&) = delete;
    Search& operator=(const Search&) = delete;
    // Looks at another text, from its beginning: valid UTF-8 that outlives the search of it.
    void start(std::string_view text);
    // The next match that starts at or after the end of the last one; an empty match right behind another is none, as
    // in Rust. Throws Error(kBadFile) if the pattern exceeds PCRE2's limits on this text.
    bool next(size_t& begin, size_t& end);

   private:
    struct State;
    std::unique_ptr<State> state_;
  };

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace trimeter
