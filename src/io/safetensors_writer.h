// A checkpoint of safetensors, written tensor by tensor: one file, or shards with an index.
#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "io/safetensors.h"

namespace trimeter {

inline constexpr int64_t kShardBytes = 5'000'000'000;  // transformers' max_shard_size, "5GB"

class SafetensorsWriter {
 public:
  // Plans the files of these tensors, each once, and writes their headers: model.safetensors, or, if they are more than
  // shard_bytes, model-00001-of-0000N.safetensors and so on, filled in the given order. Throws Error(kIo).
  SafetensorsWriter(const std::filesystem::path& directory, std::vector<TensorInfo> tensors,
                    int64_t shard_bytes = kShardBytes);
  ~SafetensorsWriter();
  SafetensorsWriter(const SafetensorsWriter&) = delete;
  SafetensorsWriter& operator=(const SafetensorsWriter&) = delete;

  // In any order. Throws Error(kIo) with path and reason.
  void write(const std::string& tensor, std::span<const std::byte> bytes);
  // Every tensor has been written: writes the index of shards, syncs, closes. Throws Error(kIo).
  void finish();

 private:
  struct Shard;
  struct Place {
    TensorInfo info;
    Shard* shard;
    int64_t offset;
    bool written = false;
  };
  void add_shard(std::span<const TensorInfo> tensors, const std::string& name);
  void write_index() const;

  std::filesystem::path directory_;
  std::vector<std::unique_ptr<Shard>> shards_;
  std::map<std::string, Place> places_;
};

}  // namespace trimeter
