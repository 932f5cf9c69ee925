// For tests: the tensors of a golden.safetensors, and their values.
#pragma once
#include <cstring>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "io/file.h"
#include "io/safetensors.h"

namespace trimeter {

class GoldenFile {
 public:
  explicit GoldenFile(const std::filesystem::path& path) : file_(path) {
    for (const TensorView& tensor : parse_safetensors(file_.bytes(), path.string())) tensors_[tensor.name] = tensor;
  }
  bool has(const std::string& name) const { return tensors_.count(name) > 0; }
  template <class T>
  std::vector<T> values(const std::string& name) const {
    const TensorView& tensor = tensors_.at(name);
    std::vector<T> values(static_cast<size_t>(tensor.n_elements()));
    std::memcpy(values.data(), tensor.bytes.data(), tensor.bytes.size());
    return values;
  }

 private:
  MappedFile file_;
  std::map<std::string, TensorView> tensors_;
};

}  // namespace trimeter
