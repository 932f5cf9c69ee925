#include "io/gguf.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/error.h"
#include "io/json.h"

namespace trimeter {
namespace {

namespace fs = std::filesystem;

static_assert(std::endian::native == std::endian::little, "values are read as they lie");

constexpr uint32_t kArrayType = 9;
constexpr uint32_t kMaxDims = 4;
constexpr int64_t kDefaultAlignment = 32, kMaxAlignment = 1 << 20;
constexpr int64_t kMaxParts = 99999;  // five digits in a part's name
// The least that one of them takes in a file: what bounds a count before anything is reserved for it.
constexpr uint64_t kMinPairBytes = 8 + 4 + 1, kMinTensorBytes = 8 + 4 + 8 + 4 + 8, kMinStringBytes = 8;

std::string text_of(std::span<const int64_t> shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

// The head of a file, front to back; every read is checked against what is left.
class Reader {
 public:
  Reader(std::span<const std::byte> file, const std::string& path) : file_(file), path_(path) {}

  template <class T>
  T read(std::string_view what) {
    T value;
    std::memcpy(&value, take(sizeof value, what).data(), sizeof value);
    return value;
  }
  std::string read_string(std::string_view what) {
    const auto length = read<uint64_t>(what);
    const std::span<const std::byte> bytes = take(length, what);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  // A count of things that take at least `least` bytes each.
  uint64_t read_count(uint64_t least, std::string_view what) {
    const auto count = read<uint64_t>(what);
    if (count > left() / least)
      throw Error(Errc::kBadFile, "{}: {}: wanted at most {} in the {} bytes left, got {}", path_, what, left() / least,
                  left(), count);
    return count;
  }
  uint64_t left() const { return file_.size() - position_; }
  uint64_t position() const { return position_; }
  const std::string& path() const { return path_; }

 private:
  std::span<const std::byte> take(uint64_t n, std::string_view what) {
    if (n > left())
      throw Error(Errc::kBadFile, "{}: {}: truncated: wanted {} bytes at {}, got {}", path_, what, n, position_,
                  left());
    const auto bytes = file_.subspan(position_, n);
    position_ += n;
    return bytes;
  }
  const std::span<const std::byte> file_;
  const std::string& path_;
  uint64_t position_ = 0;
};

bool read_bool(Reader& reader, const std::string& what) {
  const auto byte = reader.read<uint8_t>(what);
  if (byte > 1) throw Error(Errc::kBadFile, "{}: {}: wanted a bool of 0 or 1, got {}", reader.path(), what, byte);
  return byte == 1;
}

template <class T>
T read_element(Reader& reader, const std::string& what) {
  if constexpr (std::is_same_v<T, bool>)
    return read_bool(reader, what);
  else if constexpr (std::is_same_v<T, std::string>)
    return reader.read_string(what);
  else
    return reader.read<T>(what);
}

[[noreturn]] void fail_type(const Reader& reader, const std::string& what, uint32_t type) {
  throw Error(Errc::kBadFile, "{}: {}: wanted a value type of 0 to 12, got {}", reader.path(), what, type);
}

// `type` indexes the alternatives of GgufArray and GgufValue, which have the same elements.
template <size_t I = 0>
GgufArray read_array(Reader& reader, uint32_t type, const std::string& what) {
  using Elements = decltype(GgufArray::elements);
  if constexpr (I == std::variant_size_v<Elements>) {
    fail_type(reader, what, type);
  } else if constexpr (I == kArrayType) {
    if (type == kArrayType)
      throw Error(Errc::kUnsupported, "{}: {}: an array of arrays is not supported", reader.path(), what);
    return read_array<I + 1>(reader, type, what);
  } else {
    if (type != I) return read_array<I + 1>(reader, type, what);
    using T = typename std::variant_alternative_t<I, Elements>::value_type;
    std::vector<T> elements(reader.read_count(std::is_same_v<T, std::string> ? kMinStringBytes : sizeof(T), what));
    for (size_t i = 0; i < elements.size(); ++i) elements[i] = read_element<T>(reader, what);
    return GgufArray{std::move(elements)};
  }
}

template <size_t I = 0>
GgufValue read_value(Reader& reader, uint32_t type, const std::string& what) {
  if constexpr (I == std::variant_size_v<GgufValue>) {
    fail_type(reader, what, type);
  } else {
    if (type != I) return read_value<I + 1>(reader, type, what);
    if constexpr (I == kArrayType)
      return read_array(reader, reader.read<uint32_t>(what), what);
    else
      return GgufValue(std::in_place_index<I>, read_element<std::variant_alternative_t<I, GgufValue>>(reader, what));
  }
}

struct Counts {
  uint64_t n_tensors, n_pairs;
};

Counts read_header(Reader& reader) {
  const auto magic = reader.read<uint32_t>("magic");
  if (magic != 0x46554747u)
    throw Error(Errc::kBadFile, "{}: wanted it to start with 'GGUF', got '{}'", reader.path(),
                printable({reinterpret_cast<const char*>(&magic), 4}));
  const auto version = reader.read<uint32_t>("version");
  if (version == 1)
    throw Error(Errc::kUnsupported, "{}: GGUF version 1 is not supported, wanted 2 or 3", reader.path());
  if (version == 0x02000000u || version == 0x03000000u)
    throw Error(Errc::kUnsupported, "{}: big-endian GGUF is not supported", reader.path());
  if (version != 2 && version != 3)
    throw Error(Errc::kUnsupported, "{}: GGUF version: wanted 2 or 3, got {}", reader.path(), version);
  Counts counts;
  counts.n_tensors = reader.read_count(kMinTensorBytes, "number of tensors");
  counts.n_pairs = reader.read_count(kMinPairBytes, "number of metadata pairs");
  return counts;
}

void read_pairs(Reader& reader, uint64_t n_pairs, GgufMetadata& metadata) {
  for (uint64_t i = 0; i < n_pairs; ++i) {
    const std::string key = reader.read_string(fmt::format("key of metadata pair {}", i));
    const std::string what = fmt::format("metadata '{}'", printable(key));
    if (metadata.has(key)) throw Error(Errc::kBadFile, "{}: {}: wanted it once, got it twice", reader.path(), what);
    metadata.set(key, read_value(reader, reader.read<uint32_t>(what), what));
  }
}

struct Entry {
  GgufTensor tensor;
  uint64_t offset = 0, n_bytes = 0;
};

uint64_t bytes_of(const GgufTensor& tensor, const std::string& where) {
  const GgmlTypeInfo& type = tensor.type_info();
  const int64_t row = tensor.shape.back();
  if (row % type.block_elements != 0)
    throw Error(Errc::kBadFile, "{}: {} {}: wanted rows of whole blocks of {}, got {} elements", where, type.name,
                text_of(tensor.shape), type.block_elements, row);
  int64_t bytes = 0;
  bool overflow = __builtin_mul_overflow(row / type.block_elements, type.block_bytes, &bytes);
  for (size_t i = 0; i + 1 < tensor.shape.size(); ++i)
    overflow = overflow || __builtin_mul_overflow(bytes, tensor.shape[i], &bytes);
  if (overflow)
    throw Error(Errc::kBadFile, "{}: shape {}: wanted fewer than 2^63 bytes in all", where, text_of(tensor.shape));
  return static_cast<uint64_t>(bytes);
}

Entry read_tensor(Reader& reader, uint64_t i) {
  Entry entry;
  GgufTensor& tensor = entry.tensor;
  tensor.name = reader.read_string(fmt::format("name of tensor {}", i));
  const std::string what = fmt::format("tensor '{}'", printable(tensor.name));
  const std::string where = reader.path() + ": " + what;
  const auto n_dims = reader.read<uint32_t>(what);
  if (n_dims < 1 || n_dims > kMaxDims)
    throw Error(Errc::kBadFile, "{}: wanted 1 to {} dimensions, got {}", where, kMaxDims, n_dims);
  for (uint32_t d = 0; d < n_dims; ++d) {
    const auto dim = reader.read<uint64_t>(what);
    if (dim == 0 || dim > static_cast<uint64_t>(INT64_MAX))
      throw Error(Errc::kBadFile, "{}: wanted dimensions of 1 to 2^63 - 1, got {}", where, dim);
    tensor.shape.insert(tensor.shape.begin(), static_cast<int64_t>(dim));
  }
  tensor.type = reader.read<uint32_t>(what);
  if (find_ggml_type(tensor.type) == nullptr)
    throw Error(Errc::kUnsupported, "{}: unknown ggml type {}", where, tensor.type);
  entry.offset = reader.read<uint64_t>(what);
  entry.n_bytes = bytes_of(tensor, where);
  return entry;
}

uint64_t alignment_of(const GgufMetadata& metadata) {
  const int64_t alignment = metadata.find_integer("general.alignment").value_or(kDefaultAlignment);
  if (alignment < 1 || alignment > kMaxAlignment || !std::has_single_bit(static_cast<uint64_t>(alignment)))
    throw Error(Errc::kBadFile, "{}: metadata 'general.alignment': wanted a power of two up to {}, got {}",
                metadata.path(), kMaxAlignment, alignment);
  return static_cast<uint64_t>(alignment);
}

void check_places(std::span<const Entry> entries, uint64_t alignment, uint64_t data_bytes, const std::string& path) {
  std::vector<const Entry*> sorted;
  for (const Entry& entry : entries) {
    const std::string where = fmt::format("{}: tensor '{}'", path, printable(entry.tensor.name));
    if (entry.offset % alignment != 0)
      throw Error(Errc::kBadFile, "{}: wanted an offset that is a multiple of {}, got {}", where, alignment,
                  entry.offset);
    if (entry.offset > data_bytes || entry.n_bytes > data_bytes - entry.offset)
      throw Error(Errc::kBadFile, "{}: wanted it within the file's {} data bytes, got {} bytes at offset {}", where,
                  data_bytes, entry.n_bytes, entry.offset);
    sorted.push_back(&entry);
  }
  std::sort(sorted.begin(), sorted.end(), [](const Entry* a, const Entry* b) { return a->offset < b->offset; });
  for (size_t i = 1; i < sorted.size(); ++i)
    if (sorted[i - 1]->offset + sorted[i - 1]->n_bytes > sorted[i]->offset)
      throw Error(Errc::kBadFile, "{}: tensor '{}' overlaps tensor '{}': wanted an offset of {} or more, got {}", path,
                  printable(sorted[i]->tensor.name), printable(sorted[i - 1]->tensor.name),
                  sorted[i - 1]->offset + sorted[i - 1]->n_bytes, sorted[i]->offset);
}

// "…-00002-of-00003.gguf": what stands before the numbers; empty if `path` is not called so.
std::string split_prefix(const fs::path& path, int64_t n_parts) {
  constexpr size_t kTailBytes = std::string_view("-00002-of-00003.gguf").size();
  const std::string file = path.filename().string();
  if (file.size() < kTailBytes) return "";
  const std::string tail = file.substr(file.size() - kTailBytes), number = tail.substr(1, 5);
  const bool digits = number.find_first_not_of("0123456789") == std::string::npos;
  if (!digits || tail != fmt::format("-{}-of-{:05}.gguf", number, n_parts)) return "";
  return (path.parent_path() / file.substr(0, file.size() - kTailBytes)).string();
}

void check_part(const GgufMetadata& metadata, int64_t part, int64_t n_parts) {
  const int64_t count = metadata.integer("split.count"), number = metadata.integer("split.no");
  if (count != n_parts || number != part)
    throw Error(Errc::kBadFile, "{}: metadata 'split.no' of 'split.count': wanted {} of {}, got {} of {}",
                metadata.path(), part, n_parts, number, count);
}

}  // namespace

GgufContent parse_gguf(std::span<const std::byte> file, const std::string& path) {
  Reader reader(file, path);
  const Counts counts = read_header(reader);
  GgufContent content{.metadata = GgufMetadata(path), .tensors = {}};
  read_pairs(reader, counts.n_pairs, content.metadata);
  const uint64_t alignment = alignment_of(content.metadata);

  std::vector<Entry> entries;
  for (uint64_t i = 0; i < counts.n_tensors; ++i) entries.push_back(read_tensor(reader, i));
  const uint64_t data_begin = std::min((reader.position() + alignment - 1) / alignment * alignment, file.size());
  check_places(entries, alignment, file.size() - data_begin, path);
  std::map<std::string_view, int> seen;
  for (const Entry& entry : entries)
    if (++seen[entry.tensor.name] > 1)
      throw Error(Errc::kBadFile, "{}: tensor '{}': wanted it once, got it twice", path, printable(entry.tensor.name));
  for (Entry& entry : entries) {
    entry.tensor.bytes = file.subspan(data_begin + entry.offset, entry.n_bytes);
    content.tensors.push_back(std::move(entry.tensor));
  }
  return content;
}

Gguf Gguf::open(const fs::path& path) {
  const auto file = std::make_shared<const MappedFile>(path);
  GgufContent content = parse_gguf(file->bytes(), path.string());
  Gguf gguf;
  const int64_t n_parts = content.metadata.find_integer("split.count").value_or(1);
  if (n_parts <= 1) {
    gguf.metadata_ = content.metadata;
    gguf.add(path, std::move(content), file);
    return gguf;
  }
  const std::string prefix = n_parts <= kMaxParts ? split_prefix(path, n_parts) : "";
  if (prefix.empty())
    throw Error(Errc::kBadFile, "{}: one of {} parts: wanted a name that ends in -00001-of-{:05}.gguf", path.string(),
                n_parts, n_parts);
  for (int64_t part = 0; part < n_parts; ++part) {
    const fs::path name = fmt::format("{}-{:05}-of-{:05}.gguf", prefix, part + 1, n_parts);
    const auto part_file = std::make_shared<const MappedFile>(name);
    GgufContent part_content = parse_gguf(part_file->bytes(), name.string());
    check_part(part_content.metadata, part, n_parts);
    if (part == 0) gguf.metadata_ = part_content.metadata;
    gguf.add(name, std::move(part_content), part_file);
  }
  if (const auto wanted = gguf.metadata_.find_integer("split.tensors.count");
      wanted && *wanted != static_cast<int64_t>(gguf.tensors_.size()))
    throw Error(Errc::kBadFile, "{}: metadata 'split.tensors.count': wanted {} tensors in {} parts, got {}",
                gguf.metadata_.path(), *wanted, n_parts, gguf.tensors_.size());
  return gguf;
}

void Gguf::add(const fs::path& path, GgufContent content, const std::shared_ptr<const MappedFile>& file) {
  for (GgufTensor& tensor : content.tensors) {
    tensor.file = file;
    const std::string name = tensor.name;
    const auto [at, is_new] = tensors_.emplace(name, std::move(tensor));
    if (!is_new)
      throw Error(Errc::kBadFile, "{}: tensor '{}': wanted it in one part only, got it in {} as well", path.string(),
                  printable(name), at->second.file->path().string());
  }
}

const GgufTensor& Gguf::at(const std::string& name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) throw Error(Errc::kNotFound, "{}: no tensor '{}'", metadata_.path(), printable(name));
  return found->second;
}

const GgufTensor& Gguf::at(const std::string& name, std::span<const int64_t> shape) const {
  const GgufTensor& tensor = at(name);
  if (!std::equal(shape.begin(), shape.end(), tensor.shape.begin(), tensor.shape.end()))
    throw Error(Errc::kBadFile, "{}: tensor '{}': wanted shape {}, got {}", tensor.file->path().string(),
                printable(name), text_of(shape), text_of(tensor.shape));
  return tensor;
}

}  // namespace trimeter
