#include "io/safetensors_writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "io/file.h"

namespace trimeter {
namespace {

constexpr int64_t kAlignment = 8;  // of the data's begin, as upstream's writer has it

void write_at(int fd, const std::filesystem::path& path, std::span<const std::byte> bytes, int64_t offset) {
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(fd, bytes.data(), bytes.size(), offset);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0)
      throw Error(Errc::kIo, "{}: cannot write {} bytes: {}", path.string(), bytes.size(), std::strerror(errno));
    bytes = bytes.subspan(static_cast<size_t>(n));
    offset += n;
  }
}

}  // namespace

struct SafetensorsWriter::Shard {
  std::filesystem::path path;
  int fd = -1;
  ~Shard() {
    if (fd >= 0) ::close(fd);
  }
};

SafetensorsWriter::SafetensorsWriter(const std::filesystem::path& directory, std::vector<TensorInfo> tensors,
                                     int64_t shard_bytes)
    : directory_(directory) {
  std::vector<size_t> begins = {0};  // of the shards, in `tensors`
  int64_t bytes = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    if (bytes > 0 && bytes + tensors[i].bytes() > shard_bytes) {
      begins.push_back(i);
      bytes = 0;
    }
    bytes += tensors[i].bytes();
  }
  const size_t n_shards = begins.size();
  begins.push_back(tensors.size());
  for (size_t i = 0; i < n_shards; ++i)
    add_shard(std::span(tensors).subspan(begins[i], begins[i + 1] - begins[i]),
              n_shards == 1 ? "model.safetensors" : fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, n_shards));
}

SafetensorsWriter::~SafetensorsWriter() = default;

void SafetensorsWriter::add_shard(std::span<const TensorInfo> tensors, const std::string& name) {
  // The widest elements first, so that every tensor is aligned.
  std::vector<const TensorInfo*> sorted;
  for (const TensorInfo& tensor : tensors) sorted.push_back(&tensor);
  std::ranges::stable_sort(sorted, std::greater(), [](const TensorInfo* t) { return size_of(t->dtype); });
  nlohmann::ordered_json header = {{"__metadata__", {{"format", "pt"}}}};
  int64_t end = 0;
  for (const TensorInfo* tensor : sorted) {
    header[tensor->name] = {{"dtype", trimeter::name(tensor->dtype)},
                            {"shape", tensor->shape},
                            {"data_offsets", {end, end + tensor->bytes()}}};
    end += tensor->bytes();
  }
  std::string text = header.dump();
  text.resize((text.size() + kAlignment - 1) / kAlignment * kAlignment, ' ');
  const uint64_t length = text.size();
  text.insert(0, reinterpret_cast<const char*>(&length), sizeof length);

  Shard& shard = *shards_.emplace_back(std::make_unique<Shard>());
  shard.path = directory_ / name;
  shard.fd = ::open(shard.path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (shard.fd < 0) throw Error(Errc::kIo, "{}: cannot create: {}", shard.path.string(), std::strerror(errno));
  write_at(shard.fd, shard.path, std::as_bytes(std::span(text)), 0);
  auto offset = static_cast<int64_t>(text.size());
  for (const TensorInfo* tensor : sorted) {
    const bool is_new = places_.emplace(tensor->name, Place{*tensor, &shard, offset}).second;
    TM_CHECK(is_new, "tensor {} is planned twice", tensor->name);
    offset += tensor->bytes();
  }
}

void SafetensorsWriter::write(const std::string& tensor, std::span<const std::byte> bytes) {
  const auto at = places_.find(tensor);
  TM_CHECK(at != places_.end(), "tensor {} is not planned", tensor);
  Place& place = at->second;
  TM_CHECK(static_cast<int64_t>(bytes.size()) == place.info.bytes() && !place.written, "tensor {}: {} bytes of {}",
           tensor, bytes.size(), place.info.bytes());
  write_at(place.shard->fd, place.shard->path, bytes, place.offset);
  place.written = true;
}

void SafetensorsWriter::finish() {
  for (const auto& [tensor, place] : places_) TM_CHECK(place.written, "tensor {} has not been written", tensor);
  for (const auto& shard : shards_) {
    const bool synced = ::fsync(shard->fd) == 0;
    if (::close(std::exchange(shard->fd, -1)) != 0 || !synced)
      throw Error(Errc::kIo, "{}: cannot write: {}", shard->path.string(), std::strerror(errno));
  }
  if (shards_.size() > 1) write_index();
}

void SafetensorsWriter::write_index() const {
  nlohmann::ordered_json index = {{"metadata", {{"total_size", 0}}}, {"weight_map", nlohmann::ordered_json::object()}};
  int64_t total = 0;
  for (const auto& [tensor, place] : places_) {
    index["weight_map"][tensor] = place.shard->path.filename().string();
    total += place.info.bytes();
  }
  index["metadata"]["total_size"] = total;
  write_file_atomic(directory_ / "model.safetensors.index.json", index.dump(2) + "\n");
}

}  // namespace trimeter
