// safetensors, one file or sharded with an index, memory-mapped (github.com/huggingface/safetensors, "Format").
// Nothing in the header is trusted: lengths, offsets, overlaps, holes, shapes and dtypes are checked against the file.
#pragma once
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "io/file.h"
#include "tensor/dtype.h"

namespace trimeter {

struct TensorInfo {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
  int64_t bytes() const;
};

struct TensorView {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
  std::span<const std::byte> bytes;  // into the mapping; safetensors does not promise alignment
  std::shared_ptr<const MappedFile> file;
  int64_t n_elements() const;
  std::string shape_text() const;  // "[768, 256]"
};

// The tensors of one file's bytes, without their file: what the fuzz target calls. Throws Error(kBadFile) naming
// `path`.
std::vector<TensorView> parse_safetensors(std::span<const std::byte> file, const std::string& path);

class Checkpoint {
 public:
  // directory/model.safetensors, or the shards that directory/model.safetensors.index.json names. Every tensor of the
  // index must be in the shard it names; a tensor in two shards is refused.
  static Checkpoint open(const std::filesystem::path& directory);
  bool has(const std::string& name) const { return tensors_.count(name) != 0; }
  // Throws Error(kNotFound) naming directory and tensor.
  const TensorView& at(const std::string& name) const;
  // The same, and its shape must be `shape`: throws Error(kBadFile) with file, tensor, wanted, got.
  const TensorView& at(const std::string& name, std::span<const int64_t> shape) const;
  const std::map<std::string, TensorView>& tensors() const { return tensors_; }

 private:
  std::filesystem::path directory_;
  std::map<std::string, TensorView> tensors_;
};

}  // namespace trimeter
