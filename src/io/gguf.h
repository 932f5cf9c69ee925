// GGUF versions 2 and 3, little-endian, one file or split (ggml/docs/gguf.md), memory-mapped.
//   "GGUF", version u32, number of tensors u64, number of metadata pairs u64,
//   pairs    key, type u32, value; a string is its length u64 and bytes; an array is type u32, count u64, elements
//   tensors  name, n_dims u32, dims u64 (the contiguous one first), type u32, offset u64 into the data
//   data     from the next multiple of general.alignment (32 if absent) on; every offset is a multiple of it
// Nothing in a file is trusted: counts, lengths, offsets, overlaps and shapes are checked against its length.
#pragma once
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "io/file.h"
#include "tensor/ggml_type.h"

namespace trimeter {

// The alternatives stand at the numbers that the format gives their types; an array of arrays is refused.
struct GgufArray {
  std::variant<std::vector<uint8_t>, std::vector<int8_t>, std::vector<uint16_t>, std::vector<int16_t>,
               std::vector<uint32_t>, std::vector<int32_t>, std::vector<float>, std::vector<bool>,
               std::vector<std::string>, std::monostate, std::vector<uint64_t>, std::vector<int64_t>,
               std::vector<double>>
      elements;
};
using GgufValue = std::variant<uint8_t, int8_t, uint16_t, int16_t, uint32_t, int32_t, float, bool, std::string,
                               GgufArray, uint64_t, int64_t, double>;

// Metadata by key, read by what a field means rather than by the width it was written in. The readers throw
// Error(kBadFile) with file and key, wanted and got; find_* return nothing only for a key that is absent.
class GgufMetadata {
 public:
  explicit GgufMetadata(std::string path = {}) : path_(std::move(path)) {}
  const std::string& path() const { return path_; }  // for messages
  const std::map<std::string, GgufValue>& pairs() const { return pairs_; }
  bool has(const std::string& key) const { return pairs_.count(key) != 0; }
  void set(const std::string& key, GgufValue value) { pairs_.insert_or_assign(key, std::move(value)); }

  std::optional<int64_t> find_integer(const std::string& key) const;
  std::optional<double> find_number(const std::string& key) const;  // a float or an integer
  std::optional<bool> find_flag(const std::string& key) const;
  const std::string* find_text(const std::string& key) const;                // nullptr if absent
  const std::vector<std::string>* find_texts(const std::string& key) const;  // likewise
  std::optional<std::vector<int64_t>> find_integers(const std::string& key) const;
  std::optional<std::vector<float>> find_numbers(const std::string& key) const;
  int64_t integer(const std::string& key) const;
  double number(const std::string& key) const;
  const std::string& text(const std::string& key) const;

 private:
  [[noreturn]] void fail(const std::string& key, std::string_view wanted, const GgufValue* got) const;
  template <class T>
  const T* find(const std::string& key, std::string_view wanted) const;
  std::string path_;
  std::map<std::string, GgufValue> pairs_;
};

struct GgufTensor {
  std::string name;
  uint32_t type = 0;           // find_ggml_type() knows it
  std::vector<int64_t> shape;  // row-major: the last is the contiguous one, whole blocks
  std::span<const std::byte> bytes;
  std::shared_ptr<const MappedFile> file;
  const GgmlTypeInfo& type_info() const { return *find_ggml_type(type); }
};

// One file's bytes, without their file: what the fuzz target calls. Throws Error(kBadFile / kUnsupported) naming
// `path`.
struct GgufContent {
  GgufMetadata metadata;
  std::vector<GgufTensor> tensors;  // in the order of the file
};
GgufContent parse_gguf(std::span<const std::byte> file, const std::string& path);

class Gguf {
 public:
  // `path` may be any part of a split file, "…-00002-of-00003.gguf": all parts are opened, and metadata is the first's.
  static Gguf open(const std::filesystem::path& path);
  const GgufMetadata& metadata() const { return metadata_; }
  const std::map<std::string, GgufTensor>& tensors() const { return tensors_; }
  bool has(const std::string& name) const { return tensors_.count(name) != 0; }
  // Throws Error(kNotFound) naming file and tensor.
  const GgufTensor& at(const std::string& name) const;
  // The same, and its shape must be `shape`: throws Error(kBadFile) with file, tensor, wanted, got.
  const GgufTensor& at(const std::string& name, std::span<const int64_t> shape) const;

 private:
  void add(const std::filesystem::path& path, GgufContent content, const std::shared_ptr<const MappedFile>& file);
  GgufMetadata metadata_;
  std::map<std::string, GgufTensor> tensors_;
};

// What is written of a tensor: its bytes are asked for when its turn comes, one tensor in memory at a time.
struct GgufTensorSource {
  std::string name;
  GgmlType type = GgmlType::kF32;
  std::vector<int64_t> shape;  // row-major
  std::function<std::vector<std::byte>()> bytes;
};

// Version 3, in the order given, aligned as metadata says; atomic (io/file.h). Throws Error(kIo / kBadArgument).
void write_gguf(const std::filesystem::path& path, const GgufMetadata& metadata,
                std::span<const GgufTensorSource> tensors);

}  // namespace trimeter
