#include <set>

#include "base/error.h"
#include "io/gguf.h"
#include "io/json.h"

namespace trimeter {
namespace {

constexpr uint32_t kMagic = 0x46554747u, kVersion = 3;  // "GGUF"

// The head is small beside the data: it is put together in memory.
class Head {
 public:
  template <class T>
  void put(const T& value) {
    if constexpr (std::is_same_v<T, std::string>) {
      put(static_cast<uint64_t>(value.size()));
      bytes_.append(value);
    } else if constexpr (std::is_same_v<T, bool>) {
      bytes_.push_back(value ? 1 : 0);
    } else {
      static_assert(std::is_arithmetic_v<T>);
      bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
    }
  }
  void put_value(const GgufValue& value) {
    put(static_cast<uint32_t>(value.index()));
    std::visit([this](const auto& v) { put_alternative(v); }, value);
  }
  const std::string& bytes() const { return bytes_; }

 private:
  template <class T>
  void put_alternative(const T& value) {
    put(value);
  }
  void put_alternative(const GgufArray& array) {
    put(static_cast<uint32_t>(array.elements.index()));
    std::visit([this](const auto& elements) { put_elements(elements); }, array.elements);
  }
  template <class T>
  void put_elements(const std::vector<T>& elements) {
    put(static_cast<uint64_t>(elements.size()));
    for (size_t i = 0; i < elements.size(); ++i) put<T>(elements[i]);
  }
  void put_elements(std::monostate) { TM_CHECK(false, "an array of arrays"); }
  std::string bytes_;
};

int64_t bytes_of(const GgufTensorSource& tensor, const std::filesystem::path& path) {
  if (tensor.shape.empty() || tensor.shape.back() % info(tensor.type).block_elements != 0)
    throw Error(Errc::kBadArgument, "{}: tensor '{}': wanted rows of whole blocks of {}, got {} elements",
                path.string(), printable(tensor.name), name(tensor.type),
                tensor.shape.empty() ? 0 : tensor.shape.back());
  int64_t bytes = row_bytes(tensor.type, tensor.shape.back());
  for (size_t i = 0; i + 1 < tensor.shape.size(); ++i) bytes *= tensor.shape[i];
  return bytes;
}

void pad(AtomicFile& file, int64_t alignment) {
  const std::vector<std::byte> zeros(static_cast<size_t>(alignment - 1 - (file.size() + alignment - 1) % alignment));
  file.write(zeros);
}

}  // namespace

void write_gguf(const std::filesystem::path& path, const GgufMetadata& metadata,
                std::span<const GgufTensorSource> tensors) {
  const int64_t alignment = metadata.find_integer("general.alignment").value_or(32);
  Head head;
  head.put(kMagic);
  head.put(kVersion);
  head.put(static_cast<uint64_t>(tensors.size()));
  head.put(static_cast<uint64_t>(metadata.pairs().size()));
  for (const auto& [key, value] : metadata.pairs()) {
    head.put(key);
    head.put_value(value);
  }
  uint64_t offset = 0;
  std::set<std::string_view> names;
  for (const GgufTensorSource& tensor : tensors) {
    TM_CHECK(names.insert(tensor.name).second, "tensor '{}' twice", tensor.name);
    head.put(tensor.name);
    head.put(static_cast<uint32_t>(tensor.shape.size()));
    for (auto dim = tensor.shape.rbegin(); dim != tensor.shape.rend(); ++dim) head.put(static_cast<uint64_t>(*dim));
    head.put(static_cast<uint32_t>(tensor.type));
    head.put(offset);
    offset += static_cast<uint64_t>((bytes_of(tensor, path) + alignment - 1) / alignment * alignment);
  }

  AtomicFile file(path);
  file.write(std::as_bytes(std::span(head.bytes())));
  pad(file, alignment);
  for (const GgufTensorSource& tensor : tensors) {
    const std::vector<std::byte> bytes = tensor.bytes();
    TM_CHECK(static_cast<int64_t>(bytes.size()) == bytes_of(tensor, path), "tensor '{}': {} bytes", tensor.name,
             bytes.size());
    file.write(bytes);
    pad(file, alignment);
  }
  file.commit();
}

}  // namespace trimeter
