#include "probe/cuda/random_model.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <random>

#include "base/error.h"
#include "base/integers.h"
#include "tensor/numeric.h"

namespace trimeter::cuda {
namespace {

// Values of as many copies as wanted, one behind the other.
template <class T>
void repeat(std::vector<T>& values, int64_t n_copies) {
  const size_t n = values.size();
  values.resize(n * static_cast<size_t>(n_copies));
  for (size_t at = n; at < values.size(); at += n)
    std::copy_n(values.begin(), n, values.begin() + static_cast<long>(at));
}

// Of +-0.06 or so, in the scheme's own dtype where it holds rows as they are. A canonical weight may point to them:
// they stay.
DenseRows random_rows(const SchemeInfo& scheme, int64_t n_rows, int64_t in) {
  const DType dtype = scheme.bits_per_weight >= 16 ? scheme.activation : DType::kBF16;
  static std::map<std::pair<DType, int64_t>, std::vector<std::byte>> made;
  std::vector<std::byte>& bytes = made[{dtype, in}];
  if (bytes.empty()) {
    bytes.resize(static_cast<size_t>(n_rows * in * size_of(dtype)));
    std::mt19937 random(1);
    for (size_t at = 0; at < bytes.size(); at += static_cast<size_t>(size_of(dtype))) {
      const float value = (static_cast<float>(random() % 2001) - 1000) * 1e-4f;
      const uint16_t bits = dtype == DType::kF16 ? f16_from_float(value) : bf16_from_float(value);
      if (dtype == DType::kF32)
        std::memcpy(&bytes[at], &value, sizeof value);
      else
        std::memcpy(&bytes[at], &bits, sizeof bits);
    }
  }
  return {bytes.data(), dtype, n_rows};
}

DeviceBuffer ones(int64_t n) {
  const std::vector<float> values(static_cast<size_t>(n), 1.0f);
  DeviceBuffer buffer(std::ssize(values) * int64_t{sizeof(float)}, "probe");
  TM_CUDA_CHECK(cudaMemcpy(buffer.data(), values.data(), static_cast<size_t>(buffer.size()), cudaMemcpyHostToDevice));
  return buffer;
}

}  // namespace

DeviceBuffer filled(int64_t bytes, int value, const Stream& stream) {
  DeviceBuffer buffer(bytes, "probe");
  TM_CUDA_CHECK(cudaMemsetAsync(buffer.data(), value, static_cast<size_t>(bytes), stream.get()));
  return buffer;
}
DeviceBuffer numbers(int64_t bytes, const Stream& stream) { return filled(bytes, 0x3c, stream); }

CanonicalWeight random_weight(const Scheme& scheme, MatShape shape) {
  constexpr int64_t kRows = 128;
  TM_CHECK(shape.out % kRows == 0, "random weights of {} rows, wanted a multiple of {}", shape.out, kRows);
  const int64_t n_copies = shape.out / kRows;
  const DenseRows part = random_rows(scheme.info(), kRows, shape.in);
  CanonicalWeight weight = scheme.quantize_rtn({&part, 1}, {kRows, shape.in});
  weight.shape = shape;
  if (!weight.dense.empty()) weight.dense.assign(static_cast<size_t>(n_copies), part);
  repeat(weight.codes, n_copies);
  repeat(weight.zeros, n_copies);
  if (weight.scales.size() > 1) repeat(weight.scales, n_copies);  // one: the tensor's
  return weight;
}

ProbeStep::ProbeStep(int64_t n_seqs, int64_t n_new, int64_t n_context, const Stream& stream) {
  constexpr int64_t kLongest = 4096;  // that a sequence may become
  const int64_t blocks_of_seq = ceil_div(n_context + n_new, kBlockSize), n_rows = n_seqs * n_new;
  const int64_t longest = n_new == 1 ? std::max(kLongest, n_context + 1) : n_context + n_new,
                stride = ceil_div(longest, kBlockSize);
  n_blocks_ = n_seqs * blocks_of_seq;
  std::vector<int32_t> ints;  // positions, sequences, first rows, block tables
  for (int64_t r = 0; r < n_rows; ++r) ints.push_back(static_cast<int32_t>(n_context + r % n_new));
  for (int64_t r = 0; r < n_rows; ++r) ints.push_back(static_cast<int32_t>(r / n_new));
  for (int64_t s = 0; s <= n_seqs; ++s) ints.push_back(static_cast<int32_t>(s * n_new));
  for (int64_t s = 0; s < n_seqs; ++s)
    for (int64_t b = 0; b < stride; ++b)
      ints.push_back(b < blocks_of_seq ? static_cast<int32_t>(s * blocks_of_seq + b) : 0);
  inputs_ = DeviceBuffer(std::ssize(ints) * int64_t{sizeof(int32_t)}, "probe");
  TM_CUDA_CHECK(cudaMemcpyAsync(inputs_.data(), ints.data(), static_cast<size_t>(inputs_.size()),
                                cudaMemcpyHostToDevice, stream.get()));
  stream.synchronize();
  const int32_t* at = inputs_.as<int32_t>();
  view_ = {.n_rows = n_rows,
           .n_seqs = n_seqs,
           .positions = at,
           .seq_of_row = at + n_rows,
           .row_begin = at + 2 * n_rows,
           .block_tables = at + 2 * n_rows + n_seqs + 1,
           .table_stride = stride,
           .max_rows_per_seq = n_new,
           .max_context = longest,
           .any_of_one_row = n_new == 1};
}

Format format_of_scheme(std::string_view scheme) {
  Format result = format("bf16");
  result.scheme = scheme;
  return result;
}

DeviceWeights random_model(const ModelSpec& spec, const Format& format, int compute_capability, bool with_biases,
                           const Stream& stream) {
  DeviceWeights weights;
  weights.spec = spec;
  weights.format = format;
  weights.compute_capability = compute_capability;
  const auto upload = [&](const LinearSpec& linear, const CanonicalWeight& weight) {
    return DeviceLinearWeight{
        upload_linear(linear_scheme(spec, format, linear), weight, compute_capability, stream.get(), weights.arena),
        DeviceBuffer()};
  };
  const std::vector<LinearSpec> linears = spec.linears_of_layer(0);
  std::vector<CanonicalWeight> made;
  for (const LinearSpec& linear : linears)
    made.push_back(random_weight(linear_scheme(spec, format, linear), linear.shape));
  for (int64_t layer = 0; layer < spec.n_layers; ++layer) {
    weights.layers.push_back({ones(spec.hidden_size), ones(spec.hidden_size), upload(linears[0], made[0]),
                              upload(linears[1], made[1]), upload(linears[2], made[2]), upload(linears[3], made[3])});
    if (with_biases) weights.layers.back().qkv.bias = ones(linears[0].shape.out);
  }
  weights.final_norm = ones(spec.hidden_size);
  weights.lm_head =
      upload(spec.lm_head(), random_weight(linear_scheme(spec, format, spec.lm_head()), spec.lm_head().shape));
  return weights;
}

}  // namespace trimeter::cuda
