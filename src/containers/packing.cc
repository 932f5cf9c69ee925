#include "containers/packing.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "io/json.h"
#include "tensor/numeric.h"

namespace trimeter {
namespace {

float float_at(const TensorView& tensor, int64_t i) {
  const std::byte* at = tensor.bytes.data() + i * size_of(tensor.dtype);
  if (tensor.dtype == DType::kF32) {
    float value;
    std::memcpy(&value, at, sizeof value);
    return value;
  }
  uint16_t bits;
  std::memcpy(&bits, at, sizeof bits);
  return tensor.dtype == DType::kF16 ? f16_to_float(bits) : bf16_to_float(bits);
}

std::string where(const TensorView& tensor) {
  return fmt::format("{}: tensor '{}'", tensor.file->path().string(), printable(tensor.name));
}

void check_floats_dtype(const TensorView& tensor) {
  if (tensor.dtype != DType::kF32 && tensor.dtype != DType::kF16 && tensor.dtype != DType::kBF16)
    throw Error(Errc::kBadFile, "{}: wanted scales in BF16, F16 or F32, got {}", where(tensor), name(tensor.dtype));
}

}  // namespace

const TensorView& stored_tensor(const Checkpoint& checkpoint, const StoredMatrix& matrix, std::string_view suffix,
                                DType dtype, std::initializer_list<int64_t> shape) {
  const TensorView& tensor = checkpoint.at(matrix.module + std::string(suffix), std::span(shape.begin(), shape.size()));
  if (tensor.dtype != dtype)
    throw Error(Errc::kBadFile, "{}: wanted {}, got {}", where(tensor), name(dtype), name(tensor.dtype));
  return tensor;
}

std::vector<float> read_scales(const Checkpoint& checkpoint, const StoredMatrix& matrix, std::string_view suffix,
                               std::initializer_list<int64_t> shape, bool transposed) {
  const TensorView& tensor = checkpoint.at(matrix.module + std::string(suffix), std::span(shape.begin(), shape.size()));
  check_floats_dtype(tensor);
  const int64_t n_rows = tensor.shape[0], n_columns = tensor.shape[1];
  std::vector<float> scales(n_rows * n_columns);
  for (int64_t r = 0; r < n_rows; ++r)
    for (int64_t c = 0; c < n_columns; ++c) {
      const float scale = float_at(tensor, r * n_columns + c);
      if (!std::isfinite(scale))
        throw Error(Errc::kBadFile, "{}: wanted finite scales, got {} at [{}, {}]", where(tensor), scale, r, c);
      scales[transposed ? c * n_rows + r : r * n_columns + c] = scale;
    }
  return scales;
}

DType to_16_bits(const Checkpoint& checkpoint, const StoredMatrix& matrix, std::string_view suffix,
                 std::vector<float>& scales) {
  const TensorView& tensor = checkpoint.at(matrix.module + std::string(suffix));
  if (tensor.dtype != DType::kF32) return tensor.dtype;
  for (float& scale : scales) {
    const float stored = scale;
    scale = matrix.dense == DType::kF16 ? f16_to_float(f16_from_float(stored)) : bf16_to_float(bf16_from_float(stored));
    if (!std::isfinite(scale))
      throw Error(Errc::kUnsupported, "{}: wanted scales that {}, the model's dtype, can hold, got {}", where(tensor),
                  name(matrix.dense), stored);
  }
  return matrix.dense;
}

float read_scale(const Checkpoint& checkpoint, const std::string& name) {
  const TensorView& tensor = checkpoint.at(name);
  check_floats_dtype(tensor);
  if (tensor.n_elements() != 1)
    throw Error(Errc::kBadFile, "{}: wanted one scale, got shape {}", where(tensor), tensor.shape_text());
  const float scale = float_at(tensor, 0);
  if (!(scale > 0) || !std::isfinite(scale))
    throw Error(Errc::kBadFile, "{}: wanted a positive scale, got {}", where(tensor), scale);
  return scale;
}

std::vector<int32_t> read_order(const Checkpoint& checkpoint, const StoredMatrix& matrix, std::string_view suffix) {
  const int64_t in = matrix.shape.in, n_groups = matrix.traits.n_groups(in), group_size = in / n_groups;
  const TensorView& tensor = stored_tensor(checkpoint, matrix, suffix, DType::kI32, {in});
  std::vector<int32_t> groups(in), n_inputs(n_groups);
  bool trivial = true;
  for (int64_t k = 0; k < in; ++k) {
    const auto group = static_cast<int32_t>(word_at(tensor, k));
    if (group < 0 || group >= n_groups)
      throw Error(Errc::kBadFile, "{}: tensor '{}': wanted groups in [0, {}], got {} at [{}]",
                  tensor.file->path().string(), tensor.name, n_groups - 1, group, k);
    trivial &= group == k / group_size;
    ++n_inputs[group];
    groups[k] = group;
  }
  for (int64_t g = 0; g < n_groups; ++g)
    if (n_inputs[g] != group_size)
      throw Error(Errc::kBadFile, "{}: tensor '{}': wanted {} inputs in each group, got {} in group {}",
                  tensor.file->path().string(), tensor.name, group_size, n_inputs[g], g);
  if (!trivial && !matrix.traits.act_order)
    throw Error(Errc::kBadFile,
                "{}: tensor '{}': wanted the groups in order, as there is no act-order, got another order",
                tensor.file->path().string(), tensor.name);
  return matrix.traits.act_order ? groups : std::vector<int32_t>();
}

void read_weight_scales(const Checkpoint& checkpoint, const StoredMatrix& matrix, std::string_view suffix,
                        CanonicalWeight& weight) {
  if (matrix.traits.scales == SchemeTraits::Scales::kTensor) {
    weight.scales = {read_scale(checkpoint, matrix.module + std::string(suffix))};
    return;
  }
  const std::vector<int64_t> shape = scales_shape(matrix);
  weight.scales = read_scales(checkpoint, matrix, suffix, {shape[0], shape[1]});
  if (stored_scale_dtype(matrix) == DType::kF16)
    weight.scale_dtype = to_16_bits(checkpoint, matrix, suffix, weight.scales);
}

std::vector<int64_t> scales_shape(const StoredMatrix& matrix) {
  const auto [out, in] = matrix.shape;
  const auto blocks = [](int64_t n) { return (n + kScaleBlock - 1) / kScaleBlock; };
  switch (matrix.traits.scales) {
    case SchemeTraits::Scales::kTensor:
      return {1};
    case SchemeTraits::Scales::kBlock:
      return {blocks(out), blocks(in)};
    default:
      return {out, matrix.traits.n_groups(in)};
  }
}

DType stored_scale_dtype(const StoredMatrix& matrix) {
  const IntegerGrid* grid = scheme_of(matrix.traits, matrix.module).info().grid;
  return grid != nullptr && !grid->f32_scales ? DType::kF16 : DType::kF32;
}

std::vector<uint8_t> read_e4m3(const TensorView& tensor) {
  std::vector<uint8_t> codes(tensor.bytes.size());
  for (size_t i = 0; i < codes.size(); ++i) {
    codes[i] = static_cast<uint8_t>(tensor.bytes[i]);
    if ((codes[i] & 0x7f) == 0x7f)
      throw Error(Errc::kBadFile, "{}: wanted finite values, got NaN at {}", where(tensor), i);
  }
  return codes;
}

std::vector<int64_t> read_integers(const TensorView& tensor) {
  if (tensor.dtype != DType::kI32 && tensor.dtype != DType::kI64)
    throw Error(Errc::kBadFile, "{}: wanted I32 or I64, got {}", where(tensor), name(tensor.dtype));
  std::vector<int64_t> values;
  for (int64_t i = 0; i < tensor.n_elements(); ++i) {
    if (tensor.dtype == DType::kI32) {
      values.push_back(static_cast<int32_t>(word_at(tensor, i)));
    } else {
      int64_t value;
      std::memcpy(&value, tensor.bytes.data() + i * int64_t{sizeof value}, sizeof value);
      values.push_back(value);
    }
  }
  return values;
}

void check_all_zero(const Checkpoint& checkpoint, const std::string& tensor) {
  if (!checkpoint.has(tensor)) return;
  const TensorView& view = checkpoint.at(tensor);
  if (std::ranges::any_of(view.bytes, [](std::byte b) { return b != std::byte{0}; }))
    throw Error(Errc::kUnsupported, "{}: wanted zero points of 0, got others", where(view));
}

std::vector<float> transposed(const std::vector<float>& values, int64_t n_rows, int64_t n_columns) {
  std::vector<float> result(values.size());
  for (int64_t r = 0; r < n_rows; ++r)
    for (int64_t c = 0; c < n_columns; ++c) result[c * n_rows + r] = values[r * n_columns + c];
  return result;
}

std::vector<std::byte> encoded(const std::vector<float>& values, DType dtype) {
  if (dtype == DType::kF32) {
    const auto bytes = std::as_bytes(std::span(values));
    return {bytes.begin(), bytes.end()};
  }
  std::vector<uint16_t> halves;
  for (const float value : values)
    halves.push_back(dtype == DType::kF16 ? f16_from_float(value) : bf16_from_float(value));
  const auto bytes = std::as_bytes(std::span(halves));
  return {bytes.begin(), bytes.end()};
}

}  // namespace trimeter
