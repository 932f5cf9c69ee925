#include "containers/container.h"

#include <algorithm>

#include "base/error.h"
#include "containers/containers.h"
#include "spec/ledger.h"
#include "tensor/numeric.h"

namespace trimeter {
namespace {

// Rows [begin, begin + n) of a weight, as a weight of their own.
CanonicalWeight rows_of(const CanonicalWeight& weight, int64_t begin, int64_t n, const SchemeTraits& traits) {
  CanonicalWeight part;
  part.shape = {n, weight.shape.in};
  const auto slice = [](const auto& from, int64_t first, int64_t count, auto& to) {
    to.assign(from.begin() + first, from.begin() + first + count);
  };
  slice(weight.codes, begin * weight.shape.in, n * weight.shape.in, part.codes);
  const int64_t per_row = traits.n_groups(weight.shape.in);
  switch (traits.scales) {
    case SchemeTraits::Scales::kTensor:
      part.scales = weight.scales;
      break;
    case SchemeTraits::Scales::kBlock: {
      const int64_t wide = (weight.shape.in + kScaleBlock - 1) / kScaleBlock;
      slice(weight.scales, begin / kScaleBlock * wide, (n + kScaleBlock - 1) / kScaleBlock * wide, part.scales);
      break;
    }
    default:
      slice(weight.scales, begin * per_row, n * per_row, part.scales);
  }
  if (traits.zero_points) slice(weight.zeros, begin * per_row, n * per_row, part.zeros);
  part.input_scale = weight.input_scale;
  part.group_of_input = weight.group_of_input;
  return part;
}

// vLLM dequantizes to half precision and multiplies by the reciprocal of the new scale. A part that has the largest
// scale keeps its codes: there the passage changes none but those that half precision loses as subnormals.
void requantize(CanonicalWeight& part, float scale) {
  if (part.scales[0] == scale) return;
  uint8_t code_of[256];
  for (int code = 0; code < 256; ++code) {
    const float value = e4m3_to_float(static_cast<uint8_t>(code)) * part.scales[0];
    code_of[code] = e4m3_from_float(f16_to_float(f16_from_float(value)) * (1.0f / scale));
  }
  for (uint8_t& code : part.codes) code = code_of[code];
  part.scales[0] = scale;
}

void check_same_order(const CanonicalWeight& first, const CanonicalWeight& part, const StoredMatrix& matrix) {
  if (first.group_of_input != part.group_of_input)
    throw Error(Errc::kUnsupported,
                "{}: wanted the same act-order in all matrices that are multiplied as one, got another g_idx than the "
                "first one's",
                matrix.module);
}

}  // namespace

std::string module_of(const LinearPart& part) { return part.tensor.substr(0, part.tensor.rfind('.')); }

std::span<const Container* const> all_containers() {
  static const Container* const kAll[] = {&autoawq_container(), &gptq_container(), &gptq_v2_container(),
                                          &compressed_tensors_container(), &vllm_fp8_container()};
  return kAll;
}

const Container* find_container(std::string_view name) {
  for (const Container* container : all_containers())
    if (container->name() == name) return container;
  return nullptr;
}

bool is_written(const Format& format) {
  return format.container == kDenseContainer || format.container == "gguf" || find_container(format.container);
}

std::vector<StoredMatrix> stored_matrices(const ModelSpec& model, const Format& format, const LinearSpec& linear) {
  std::vector<StoredMatrix> matrices;
  const SchemeTraits* traits = traits_of(linear_scheme(model, format, linear));
  if (traits != nullptr)
    for (const LinearPart& part : linear.parts)
      matrices.push_back({module_of(part), {part.n_rows, linear.shape.in}, *traits, dense_dtype(model, format)});
  return matrices;
}

CanonicalWeight read_stored(const Container& container, const Checkpoint& checkpoint,
                            std::span<const StoredMatrix> matrices, ThreadPool& pool) {
  std::vector<CanonicalWeight> parts;
  for (const StoredMatrix& matrix : matrices) {
    parts.push_back(container.read(checkpoint, matrix, pool));
    check_same_order(parts.front(), parts.back(), matrix);
  }
  const bool one_scale = matrices[0].traits.scales == SchemeTraits::Scales::kTensor;
  if (one_scale) {
    float scale = 0;
    for (const CanonicalWeight& part : parts) scale = std::max(scale, part.scales[0]);
    for (CanonicalWeight& part : parts) requantize(part, scale);
  }
  CanonicalWeight all = std::move(parts.front());
  for (size_t i = 1; i < parts.size(); ++i) {
    all.shape.out += parts[i].shape.out;
    all.codes.insert(all.codes.end(), parts[i].codes.begin(), parts[i].codes.end());
    if (!one_scale) all.scales.insert(all.scales.end(), parts[i].scales.begin(), parts[i].scales.end());
    all.zeros.insert(all.zeros.end(), parts[i].zeros.begin(), parts[i].zeros.end());
    all.input_scale = std::max(all.input_scale, parts[i].input_scale);
  }
  return all;
}

void write_stored(const Container& container, const CanonicalWeight& weight, std::span<const StoredMatrix> matrices,
                  const EmitTensor& emit) {
  int64_t begin = 0;
  for (const StoredMatrix& matrix : matrices) {
    container.write(rows_of(weight, begin, matrix.shape.out, matrix.traits), matrix, emit);
    begin += matrix.shape.out;
  }
}

}  // namespace trimeter
