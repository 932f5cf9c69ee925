// Three kinds of trouble, three tools: bad input throws Error, pressure is a return value, a bug is TM_CHECK.
#pragma once
#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace trimeter {

enum class Errc {
  kBadArgument,  // what the user asked for makes no sense
  kBadFile,      // a file's content contradicts itself, its length or its companions
  kNotFound,     // no such file, tensor, token
  kUnsupported,  // well formed, but not something this program (or this machine) has
  kNoMemory,     // the stated budget is too small
  kIo,           // the operating system refused
};

// Message rule: which file, which tensor or field, wanted, got. The command line prints it as one line and exits with 2.
class Error : public std::runtime_error {
 public:
  template <class... Args>
  Error(Errc code, fmt::format_string<Args...> format, Args&&... args)
      : std::runtime_error(fmt::format(format, std::forward<Args>(args)...)), code_(code) {}
  Errc code() const { return code_; }

 private:
  Errc code_;
};

// Prints to stderr and aborts: the program is wrong, not its input. Active in release builds.
[[noreturn]] void check_failed(const char* file, int line, const char* condition, const std::string& message);

}  // namespace trimeter

#define TM_CHECK(condition, ...)                                                                  \
  do {                                                                                            \
    if (!(condition)) [[unlikely]]                                                                \
      ::trimeter::check_failed(__FILE__, __LINE__, #condition, ::fmt::format(__VA_ARGS__));       \
  } while (false)
