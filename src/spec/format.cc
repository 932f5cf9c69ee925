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
  const size_t plus = wanted.find('+');
  Format found = find(all_formats(), wanted.substr(0, plus), wanted);
  if (plus == std::string_view::npos) return found;
  found.name = wanted;
  found.kv_dtype = find(all_kv_formats(), wanted.substr(plus + 1), wanted).dtype;
  return found;
}

}  // namespace trimeter
