#include "io/safetensors.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>

#include "base/error.h"
#include "io/json.h"

namespace trimeter {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr size_t kLengthBytes = 8;
constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // upstream's MAX_HEADER_SIZE (safetensors/src/tensor.rs)
constexpr int64_t kMaxIndexBytes = 100'000'000;

std::string text_of(std::span<const int64_t> shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

struct Entry {
  TensorView view;
  int64_t begin = 0, end = 0;  // of the data, which starts behind the header
};

// One tensor's description; `where` is "path: tensor 'name'".
class EntryReader {
 public:
  EntryReader(const json& description, std::string where) : description_(description), where_(std::move(where)) {
    if (!description.is_object()) fail("description", "an object", description);
  }

  DType dtype() const {
    const json& value = field("dtype");
    if (!value.is_string()) fail("dtype", "a string", value);
    const auto& wanted = value.get_ref<const std::string&>();
    if (const auto dtype = dtype_from_name(wanted)) return *dtype;
    throw Error(Errc::kUnsupported, "{}: unknown dtype '{}'", where_, printable(wanted));
  }

  std::vector<int64_t> numbers(const char* key) const {
    const json& value = field(key);
    if (!value.is_array()) fail(key, "an array of non-negative integers", value);
    std::vector<int64_t> numbers;
    for (const json& item : value) {
      if (!item.is_number_unsigned() || item.get<uint64_t>() > static_cast<uint64_t>(INT64_MAX))
        fail(key, "non-negative integers below 2^63", item);
      numbers.push_back(item.get<int64_t>());
    }
    return numbers;
  }

  [[noreturn]] void fail(std::string_view what, std::string_view wanted, const json& got) const {
    throw Error(Errc::kBadFile, "{}: {}: wanted {}, got {}", where_, what, wanted, printable_json(got));
  }
  const std::string& where() const { return where_; }

 private:
  const json& field(const char* key) const {
    const auto at = description_.find(key);
    if (at == description_.end()) throw Error(Errc::kBadFile, "{}: {}: wanted one, got none", where_, key);
    return *at;
  }
  const json& description_;
  std::string where_;
};

Entry read_entry(const std::string& name, const json& description, int64_t data_bytes, const std::string& path) {
  const EntryReader reader(description, fmt::format("{}: tensor '{}'", path, printable(name)));
  Entry entry;
  entry.view.name = name;
  entry.view.dtype = reader.dtype();
  entry.view.shape = reader.numbers("shape");
  int64_t bytes = size_of(entry.view.dtype);
  for (const int64_t dim : entry.view.shape)
    if (__builtin_mul_overflow(bytes, dim, &bytes))
      throw Error(Errc::kBadFile, "{}: shape {}: wanted fewer than 2^63 bytes in all", reader.where(),
                  printable(text_of(entry.view.shape)));

  const std::vector<int64_t> offsets = reader.numbers("data_offsets");
  if (offsets.size() != 2) reader.fail("data_offsets", "[begin, end]", description["data_offsets"]);
  entry.begin = offsets[0], entry.end = offsets[1];
  if (entry.begin > entry.end)
    throw Error(Errc::kBadFile, "{}: data_offsets: wanted begin <= end, got {}", reader.where(), text_of(offsets));
  if (entry.end > data_bytes)
    throw Error(Errc::kBadFile, "{}: data_offsets {}: wanted an end within the file's {} data bytes, got {} too many",
                reader.where(), text_of(offsets), data_bytes, entry.end - data_bytes);
  if (entry.end - entry.begin != bytes)
    throw Error(Errc::kBadFile, "{}: {} {}: wanted {} bytes, got {}", reader.where(), trimeter::name(entry.view.dtype),
                printable(text_of(entry.view.shape)), bytes, entry.end - entry.begin);
  return entry;
}

void check_metadata(const json& metadata, const std::string& path) {
  if (!metadata.is_object() ||
      !std::all_of(metadata.begin(), metadata.end(), [](const json& v) { return v.is_string(); }))
    throw Error(Errc::kBadFile, "{}: __metadata__: wanted an object of strings, got {}", path,
                printable_json(metadata));
}

// Upstream's rule: the tensors cover the data exactly, without holes, so that nothing can hide in a file.
void check_coverage(std::vector<Entry>& entries, int64_t data_bytes, const std::string& path) {
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::tie(a.begin, a.end, a.view.name) < std::tie(b.begin, b.end, b.view.name);
  });
  int64_t covered = 0;
  const Entry* before = nullptr;
  for (const Entry& entry : entries) {
    const std::string where = fmt::format("{}: tensor '{}'", path, printable(entry.view.name));
    if (entry.begin < covered)
      throw Error(Errc::kBadFile, "{}: overlaps tensor '{}': wanted a begin of {}, got {}", where,
                  printable(before->view.name), covered, entry.begin);
    if (entry.begin > covered)
      throw Error(Errc::kBadFile, "{}: a hole of {} bytes before it: wanted a begin of {}, got {}", where,
                  entry.begin - covered, covered, entry.begin);
    covered = entry.end;
    before = &entry;
  }
  if (covered != data_bytes)
    throw Error(Errc::kBadFile, "{}: {} bytes behind the last tensor: wanted {} data bytes, got {}", path,
                data_bytes - covered, covered, data_bytes);
}

// The header's text; everything behind it is data.
std::string_view header_of(std::span<const std::byte> file, const std::string& path) {
  if (file.size() < kLengthBytes)
    throw Error(Errc::kBadFile, "{}: too short for safetensors: wanted at least {} bytes, got {}", path, kLengthBytes,
                file.size());
  uint64_t length = 0;
  for (size_t i = 0; i < kLengthBytes; ++i) length |= static_cast<uint64_t>(file[i]) << (8 * i);
  if (length > kMaxHeaderBytes)
    throw Error(Errc::kBadFile, "{}: header length: wanted at most {}, got {}", path, kMaxHeaderBytes, length);
  if (length > file.size() - kLengthBytes)
    throw Error(Errc::kBadFile, "{}: truncated: wanted a header of {} bytes, got {}", path, length,
                file.size() - kLengthBytes);
  const std::string_view header(reinterpret_cast<const char*>(file.data()) + kLengthBytes, length);
  if (!header.starts_with('{'))
    throw Error(Errc::kBadFile, "{}: header: wanted it to start with '{{', got '{}'", path,
                printable(header.substr(0, 1)));
  return header;
}

// An index may name files beside it and no others.
bool is_plain_file_name(const std::string& name) {
  return !name.empty() && name != "." && name != ".." && name.find_first_of(std::string_view("/\\\0", 3)) == name.npos;
}

// tensor name -> shard file name
std::map<std::string, std::string> read_index(const fs::path& path) {
  const json index = parse_json(read_file(path, kMaxIndexBytes), path.string());
  const auto weight_map = index.is_object() ? index.find("weight_map") : index.end();
  if (weight_map == index.end() || !weight_map->is_object() || weight_map->empty())
    throw Error(Errc::kBadFile, "{}: weight_map: wanted an object that names shards, got {}", path.string(),
                weight_map == index.end() ? "none" : printable_json(*weight_map));
  std::map<std::string, std::string> shard_of;
  for (const auto& [tensor, shard] : weight_map->items()) {
    if (!shard.is_string() || !is_plain_file_name(shard.get_ref<const std::string&>()))
      throw Error(Errc::kBadFile, "{}: tensor '{}': wanted a plain file name as its shard, got {}", path.string(),
                  printable(tensor), printable_json(shard));
    shard_of.emplace(tensor, shard.get<std::string>());
  }
  return shard_of;
}

void add_file(const fs::path& path, std::map<std::string, TensorView>& tensors) {
  const auto file = std::make_shared<const MappedFile>(path);
  for (TensorView& view : parse_safetensors(file->bytes(), path.string())) {
    view.file = file;
    const std::string name = view.name;
    const auto [at, is_new] = tensors.emplace(name, std::move(view));
    if (!is_new)
      throw Error(Errc::kBadFile, "{}: tensor '{}': wanted it in one shard only, got it in {} as well", path.string(),
                  printable(name), at->second.file->path().string());
  }
}

void add_shards(const fs::path& index, std::map<std::string, TensorView>& tensors) {
  const std::map<std::string, std::string> shard_of = read_index(index);
  std::map<std::string, fs::path> shards;
  for (const auto& [tensor, shard] : shard_of) shards.emplace(shard, index.parent_path() / shard);
  for (const auto& [shard, path] : shards) {
    if (std::error_code ignored; !fs::exists(path, ignored))
      throw Error(Errc::kNotFound, "{}: missing: {} names it as a shard", path.string(), index.string());
    add_file(path, tensors);
  }
  for (const auto& [tensor, shard] : shard_of) {
    const auto at = tensors.find(tensor);
    if (at == tensors.end() || at->second.file->path() != shards.at(shard))
      throw Error(Errc::kBadFile, "{}: tensor '{}': wanted in this shard by {}, got {}", shards.at(shard).string(),
                  printable(tensor), index.filename().string(),
                  at == tensors.end() ? "it in none" : "it in " + at->second.file->path().filename().string());
  }
}

}  // namespace

int64_t TensorInfo::bytes() const {
  return std::accumulate(shape.begin(), shape.end(), size_of(dtype), std::multiplies<int64_t>());
}

int64_t TensorView::n_elements() const { return static_cast<int64_t>(bytes.size()) / size_of(dtype); }

std::string TensorView::shape_text() const { return text_of(shape); }

std::vector<TensorView> parse_safetensors(std::span<const std::byte> file, const std::string& path) {
  const std::string_view header = header_of(file, path);
  const std::span<const std::byte> data = file.subspan(kLengthBytes + header.size());
  const auto data_bytes = static_cast<int64_t>(data.size());
  const json tensors = parse_json(header, path + ": header");

  std::vector<Entry> entries;
  for (const auto& [name, description] : tensors.items()) {
    if (name == "__metadata__")
      check_metadata(description, path);
    else
      entries.push_back(read_entry(name, description, data_bytes, path));
  }
  check_coverage(entries, data_bytes, path);

  std::vector<TensorView> views;
  for (Entry& entry : entries) {
    entry.view.bytes = data.subspan(static_cast<size_t>(entry.begin), static_cast<size_t>(entry.end - entry.begin));
    views.push_back(std::move(entry.view));
  }
  return views;
}

Checkpoint Checkpoint::open(const fs::path& directory) {
  Checkpoint checkpoint;
  checkpoint.directory_ = directory;
  const fs::path whole = directory / "model.safetensors", index = directory / "model.safetensors.index.json";
  std::error_code ignored;  // opening says what is wrong
  if (fs::exists(whole, ignored))
    add_file(whole, checkpoint.tensors_);
  else if (fs::exists(index, ignored))
    add_shards(index, checkpoint.tensors_);
  else
    throw Error(Errc::kNotFound, "{}: wanted {} or {}, got neither", directory.string(), whole.filename().string(),
                index.filename().string());
  return checkpoint;
}

const TensorView& Checkpoint::at(const std::string& name) const {
  const auto at = tensors_.find(name);
  if (at == tensors_.end())
    throw Error(Errc::kNotFound, "{}: no tensor '{}' among its {}", directory_.string(), name, tensors_.size());
  return at->second;
}

const TensorView& Checkpoint::at(const std::string& name, std::span<const int64_t> shape) const {
  const TensorView& view = at(name);
  if (!std::equal(view.shape.begin(), view.shape.end(), shape.begin(), shape.end()))
    throw Error(Errc::kBadFile, "{}: tensor '{}': wanted shape {}, got {}", view.file->path().string(), name,
                text_of(shape), printable(view.shape_text()));
  return view;
}

}  // namespace trimeter
