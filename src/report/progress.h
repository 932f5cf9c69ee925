// Tells a person that long work goes on: one line that is drawn anew on a terminal, plain lines now and then in a log.
#pragma once
#include <functional>
#include <ostream>
#include <string>

namespace trimeter {

class Progress {
 public:
  using Clock = std::function<double()>;  // seconds

  Progress(std::ostream& out, bool is_terminal, Clock clock);
  ~Progress() { finish(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // `done` of `total` steps of `what` are finished. In a log: a line when `what` begins, when it ends, and at most one
  // in ten seconds between.
  void update(const std::string& what, int done, int total);
  // Clears the terminal's line, so that what follows starts on a clean one.
  void finish();

 private:
  std::ostream& out_;
  bool is_terminal_, drawn_ = false;
  Clock clock_;
  double started_, last_line_ = 0;
  std::string what_;
};

}  // namespace trimeter
