#include "spec/format.h"

#include "base/error.h"

namespace trimeter {
namespace {

template <class Row>
const Row& find(std::span<const Row> rows, std::string_view wanted, std::string_view whole) {
  std::string names;
  for (const Row& row : rows) {
    if (row.name == wanted) return row;
    names += names.empty() ? "" : ", ";
    names += row.name;
  }
  throw Error(Errc::kBadArgument, "format '{}': there is no '{}'; there are {}", whole, wanted, names);
}

}  // namespace

std::span<const Format> all_formats() {
  static const Format kFormats[] = {
#define TM_FORMAT(name, scheme, algorithm, container, summary) {name, scheme, algorithm, container, summary},
#define TM_KV_FORMAT(name, dtype, summary)
#include "formats.def"
#undef TM_KV_FORMAT
#undef TM_FORMAT
  };
  return kFormats;
}

std::span<const KvFormat> all_kv_formats() {
  static const KvFormat kFormats[] = {
#define TM_FORMAT(name, scheme, algorithm, container, summary)
#define TM_KV_FORMAT(name, dtype, summary) {name, dtype, summary},
#include "formats.def"
#undef TM_KV_FORMAT
#undef TM_FORMAT
  };
  return kFormats;
}

Format format(std::string_view wanted) {
  const Format& row = find(all_formats(), without_kv_format(wanted), wanted);
  const KvFormat* kv = kv_format_of(wanted);
  return kv == nullptr ? row : with_kv_format(row, *kv);
}

std::string_view without_kv_format(std::string_view name) { return name.substr(0, name.rfind('+')); }

const KvFormat* kv_format_of(std::string_view name) {
  const size_t plus = name.rfind('+');
  return plus == name.npos ? nullptr : &find(all_kv_formats(), name.substr(plus + 1), name);
}

Format with_kv_format(Format format, const KvFormat& kv) {
  format.name = fmt::format("{}+{}", without_kv_format(format.name), kv.name);
  format.kv_dtype = kv.dtype;
  return format;
}

}  // namespace trimeter
