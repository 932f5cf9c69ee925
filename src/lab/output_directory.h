// A directory that a long run writes: made beside its place and renamed when whole, so that nobody sees half of it and
// nothing is left of a run that fails or that a signal ends (io/unfinished.h).
#pragma once
#include <filesystem>

namespace trimeter {

class OutputDirectory {
 public:
  // What is there already is replaced with `force`, and only if it is empty or holds a config.json: a model. Throws
  // Error(kBadArgument) otherwise, and Error(kIo) if the directory can't be made.
  OutputDirectory(std::filesystem::path path, bool force);
  ~OutputDirectory();  // removes what was not committed
  OutputDirectory(const OutputDirectory&) = delete;
  OutputDirectory& operator=(const OutputDirectory&) = delete;

  const std::filesystem::path& path() const { return temporary_; }  // where to write
  void commit();                                                    // Throws Error(kIo).

 private:
  std::filesystem::path path_, temporary_;
  bool committed_ = false;
};

// What the constructor would refuse, without making anything.
void check_output_directory(const std::filesystem::path& path, bool force);

}  // namespace trimeter
