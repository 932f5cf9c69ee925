#include "report/progress.h"

#include <fmt/format.h>

#include <algorithm>

#include "report/text.h"

namespace trimeter {
namespace {

constexpr int kBarColumns = 24, kTerminalColumns = 79;
constexpr double kSecondsBetweenLines = 10;

std::string bar(int done, int total) {
  const int filled = total > 0 ? kBarColumns * std::clamp(done, 0, total) / total : 0;
  return "[" + std::string(filled, '#') + std::string(kBarColumns - filled, '.') + "]";
}

std::string elapsed_text(double seconds) {
  const int s = static_cast<int>(seconds);
  return fmt::format("{}:{:02}", s / 60, s % 60);
}

}  // namespace

Progress::Progress(std::ostream& out, bool is_terminal, Clock clock)
    : out_(out), is_terminal_(is_terminal), clock_(std::move(clock)), started_(clock_()) {}

void Progress::update(const std::string& what, int done, int total) {
  const double now = clock_();
  const std::string text = fmt::format("{}/{}  {}  {}", done, total, elapsed_text(now - started_), what);
  if (is_terminal_) {
    // The cursor goes back to the start, so that a log line which comes between overwrites the bar.
    out_ << "\r\x1b[K" << shortened(bar(done, total) + " " + text, kTerminalColumns) << "\r" << std::flush;
    drawn_ = true;
    return;
  }
  if (what == what_ && done < total && now - last_line_ < kSecondsBetweenLines) return;
  out_ << text << "\n" << std::flush;
  what_ = what;
  last_line_ = now;
}

void Progress::finish() {
  if (drawn_) out_ << "\r\x1b[K" << std::flush;
  drawn_ = false;
}

}  // namespace trimeter
