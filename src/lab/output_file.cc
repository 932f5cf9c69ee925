#include "lab/output_file.h"

#include <fstream>

#include "base/error.h"
#include "io/file.h"

namespace trimeter {
namespace {

namespace fs = std::filesystem;
constexpr size_t kMarkWithin = 512;  // bytes from the file's beginning

bool replaceable(const fs::path& path, std::string_view mark) {
  std::ifstream file(path, std::ios::binary);
  std::string beginning(kMarkWithin, '\0');
  file.read(beginning.data(), static_cast<std::streamsize>(beginning.size()));
  beginning.resize(static_cast<size_t>(file.gcount()));
  return beginning.empty() || beginning.find(mark) != std::string::npos;
}

}  // namespace

OutputFile::OutputFile(fs::path path, std::string_view mark, bool force) : path_(std::move(path)) {
  std::error_code ignored;
  const fs::file_status status = fs::status(path_, ignored);
  const fs::path directory = path_.has_parent_path() ? path_.parent_path() : fs::path(".");
  if (!fs::is_directory(directory, ignored))
    throw Error(Errc::kIo, "{}: cannot write: there is no directory {}", path_.string(), directory.string());
  if (fs::is_regular_file(status) && !force && !replaceable(path_, mark))
    throw Error(Errc::kBadArgument, "{}: exists, and this program did not write it; --force overwrites it",
                path_.string());
  check_writable(path_);
}

void OutputFile::write(std::string_view content) const { write_file_atomic(path_, content); }

}  // namespace trimeter
