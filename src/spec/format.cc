#include "spec/format.h"

#include <algorithm>

#include "base/error.h"
#include "schemes/scheme.h"

namespace trimeter {
namespace {

constexpr std::string_view kLmHeadPart = "+lm_head-";

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
  const std::string_view weights = without_kv_format(wanted);
  const size_t head = weights.find(kLmHeadPart);
  Format named = find(all_formats(), weights.substr(0, head), wanted);
  if (head != weights.npos) named = with_lm_head(std::move(named), weights.substr(head + kLmHeadPart.size()));
  const KvFormat* kv = kv_format_of(wanted);
  return kv == nullptr ? named : with_kv_format(std::move(named), *kv);
}

Format with_lm_head(Format format, std::string_view wanted) {
  const Format& row = find(all_formats(), wanted, fmt::format("{}{}{}", format.name, kLmHeadPart, wanted));
  const char* why = row.algorithm == "none" || format.algorithm == "none" ? "16 bits are what it has anyway"
                    : scheme(row.scheme).info().static_input              ? "static activations take calibration"
                                                                          : nullptr;
  if (why != nullptr)
    throw Error(Errc::kBadArgument, "lm_head of {}: wanted a quantized format with dynamic activations, got {}: {}",
                format.name, wanted, why);
  format.name += fmt::format("{}{}", kLmHeadPart, wanted);
  format.scheme_of_module[std::string(kLmHeadModule)] = row.scheme;
  return format;
}

std::string name_with_lm_head(std::string_view name, std::string_view row) {
  const std::string_view weights = without_kv_format(name);
  const bool takes_one =
      std::ranges::any_of(all_formats(), [&](const Format& f) { return f.name == weights && f.algorithm != "none"; });
  if (!takes_one) return std::string(name);
  return fmt::format("{}{}{}{}", weights, kLmHeadPart, row, name.substr(weights.size()));
}

namespace {

// Where the KV format begins: the last '+', unless it is lm_head's.
size_t kv_part(std::string_view name) {
  const size_t plus = name.rfind('+');
  return plus != name.npos && name.substr(plus).starts_with(kLmHeadPart) ? name.npos : plus;
}

}  // namespace

std::string_view without_kv_format(std::string_view name) { return name.substr(0, kv_part(name)); }

const KvFormat* kv_format_of(std::string_view name) {
  const size_t plus = kv_part(name);
  return plus == name.npos ? nullptr : &find(all_kv_formats(), name.substr(plus + 1), name);
}

Format with_kv_format(Format format, const KvFormat& kv) {
  format.name = fmt::format("{}+{}", without_kv_format(format.name), kv.name);
  format.kv_dtype = kv.dtype;
  return format;
}

}  // namespace trimeter
