// For tests: where the golden data of tests/golden/make_text_golden.py lies.
#pragma once
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>

namespace trimeter {

inline std::filesystem::path source_dir() {
  const char* directory = std::getenv("TRIMETER_SOURCE_DIR");
  if (directory == nullptr) throw std::runtime_error("TRIMETER_SOURCE_DIR is not set (ctest sets it)");
  return directory;
}

inline std::string file_text(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw std::runtime_error("cannot read " + path.string());
  return {std::istreambuf_iterator<char>(in), {}};
}

}  // namespace trimeter
