// A file that a long run will write at its end: what would stop that is found before the run begins.
#pragma once
#include <filesystem>
#include <string>
#include <string_view>

namespace trimeter {

class OutputFile {
 public:
  // mark: what a file of this kind has near its beginning. A file that is there already is replaced if it has the mark
  // (an earlier run wrote it), if it is empty, or with `force`. Throws Error(kBadArgument) for any other file, and
  // Error(kIo) for a directory that is missing or not writable.
  OutputFile(std::filesystem::path path, std::string_view mark, bool force);
  // Throws Error(kIo).
  void write(std::string_view content) const;

 private:
  std::filesystem::path path_;
};

inline constexpr std::string_view kRecordMark = "\"trimeter\":";
inline constexpr std::string_view kMarkdownMark = "<!-- trimeter -->";
inline constexpr std::string_view kProfileMark = "\"measured_at\":";
inline constexpr std::string_view kPerplexityMark = "\"perplexity\":";

}  // namespace trimeter
