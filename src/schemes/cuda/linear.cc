#include "schemes/cuda/linear.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <set>

#include "base/error.h"
#include "base/integers.h"
#include "base/log.h"
#include "kernels/cuda/matmul.h"
#include "kernels/gpu_scratch.h"
#include "schemes/dense.h"
#include "schemes/gpu_plan.h"
#include "schemes/integer_scheme.h"
#include "tensor/numeric.h"

namespace trimeter::cuda {
namespace {

struct Forms {
  WeightForm weight;
  InputForm input;
};

Forms forms_of(const SchemeInfo& scheme, int compute_capability) {
  const bool weight_only_fp8 =
      scheme.activation == DType::kF8E4M3 && gpu_arithmetic(scheme, compute_capability) == GpuArithmetic::kBF16;
  switch (gpu_arithmetic(scheme, compute_capability)) {
    case GpuArithmetic::kF32:
      return {WeightForm::kF32, InputForm::kF32};
    case GpuArithmetic::kF16:
      return {WeightForm::kF16, InputForm::kF16};
    case GpuArithmetic::kFp8:
      return {WeightForm::kE4M3, scheme.activation_group > 0 ? InputForm::kE4M3Group128
                                 : scheme.static_input       ? InputForm::kE4M3Static
                                                             : InputForm::kE4M3Token};
    case GpuArithmetic::kInt8:
      return {WeightForm::kI8, scheme.static_input ? InputForm::kI8Static : InputForm::kI8Token};
    case GpuArithmetic::kBF16:
      if (weight_only_fp8) return {WeightForm::kE4M3Wide, InputForm::kBF16};
      if (scheme.grid == nullptr) return {WeightForm::kBF16, InputForm::kBF16};
      return {scheme.grid->bits == 4 ? WeightForm::kI4 : WeightForm::kI8Wide, InputForm::kBF16};
  }
  TM_CHECK(false, "{}: no such arithmetic", scheme.name);
}

// Codes cross to the card in slices of rows, so that it needs little room beside the result.
constexpr int64_t kSliceBytes = int64_t{32} << 20, kSliceRows = 16;

class Linear final : public DeviceLinear {
 public:
  Linear(const Scheme& scheme, const CanonicalWeight& weight, int compute_capability, cudaStream_t stream,
         DeviceArena& arena)
      : info_(scheme.info()),
        forms_(forms_of(info_, compute_capability)),
        shape_(weight.shape),
        stream_(stream),
        arena_(arena) {
    if (const std::string reason = gpu_refuses(scheme.info(), shape_, compute_capability); !reason.empty())
      throw Error(Errc::kUnsupported, "{}: {}", info_.name, reason);
    static_scale_ = weight.input_scale;
    values_ = arena_.take(matrix_values_bytes(forms_.weight, shape_.out, shape_.in), "weight");
    if (!weight.dense.empty())
      upload_rows(weight);
    else
      upload_codes(weight);
    upload_scales(weight);
    TM_CUDA_CHECK(cudaStreamSynchronize(stream_));
    check_algorithm();
    if (const int64_t bytes = gpu_block_scales_bytes(info_, compute_capability, shape_); bytes > 0)
      repeat_scales(weight.scales, bytes);
  }

  MatShape shape() const override { return shape_; }
  // block_scales_ are in no row of the ledger either: whether there are any is for the scales' values to say, and they
  // are a 4096th of the weight.
  WeightBytes bytes() const override {
    const int64_t scales =
        scale_form_ == ScaleForm::kTensor ? 0 : scales_.size();  // one number is no row of the ledger
    return {.values = values_.size(), .scales = scales + zeros_.size() + input_order_.size()};
  }
  DeviceInput input(int64_t n_tokens) const override {
    return {.form = forms_.input,
            .n_tokens = n_tokens,
            .in = shape_.in,
            .static_scale = static_scale_,
            .scale_rows = token_scale_rows(matrix(), n_tokens),
            .input_order = input_order_.as<int32_t>()};
  }
  const void* rows() const override { return info_.bits_per_weight >= 16 ? values_.data() : nullptr; }

  bool takes_raw(const DeviceInput& x) const override { return cuda::takes_raw(matrix(), x); }
  void multiply(const DeviceInput& x, const float* bias, bool accumulate, float* y, int64_t ldy, void* workspace,
                int64_t workspace_bytes, cudaStream_t stream) const override {
    matmul(matrix(), x, bias, accumulate, y, ldy, workspace, workspace_bytes, stream);
  }
  bool makes_silu_mul(int64_t n_tokens, const DeviceInput& made) const override {
    return cuda::makes_silu_mul(matrix(), n_tokens, made);
  }
  void multiply_silu_mul(const DeviceInput& x, const float* bias, const DeviceInput& made, void* workspace,
                         int64_t workspace_bytes, cudaStream_t stream) const override {
    matmul_silu_mul(matrix(), x, bias, made, workspace, workspace_bytes, stream);
  }

 private:
  DeviceMatrix matrix() const {
    return {.form = forms_.weight,
            .scale_form = scale_form_,
            .n = shape_.out,
            .k = shape_.in,
            .values = values_.data(),
            .scales = scales_.data(),
            .block_scales = block_scales_.as<float>(),
            .zeros = zeros_.data(),
            .scale_dtype = scale_dtype_,
            .group = info_.group_size > 0 ? info_.group_size : shape_.in};
  }
  // Before a step needs it; each shape is told of once.
  void check_algorithm() const {
    constexpr int64_t kManyTokens = 128;
    if (has_algorithm(matrix(), kManyTokens)) return;
    if (forms_.weight != WeightForm::kE4M3)
      throw Error(Errc::kUnsupported, "{}: wanted a cuBLASLt kernel of {} x {}, got none", info_.name, shape_.out,
                  shape_.in);
    static std::set<std::pair<int64_t, int64_t>> told;
    if (told.emplace(shape_.out, shape_.in).second)
      TM_WARN("{}: the weight is read for every {} tokens: this card's cuBLASLt has no fp8 kernel of {} x {}",
              info_.name, kGpuFp8StreamTokens, shape_.out, shape_.in);
  }

  void copy(const void* from, int64_t bytes, std::byte* to) {
    TM_CUDA_CHECK(cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), cudaMemcpyHostToDevice, stream_));
  }
  DeviceBuffer upload(const void* from, int64_t bytes, const char* what) {
    DeviceBuffer buffer = arena_.take(bytes, what);
    copy(from, bytes, buffer.data());
    return buffer;
  }

  // From the mapped file as it lies there, if it has the dtype already.
  void upload_rows(const CanonicalWeight& weight) {
    const DType held_as = info_.activation;
    const int64_t row_bytes = shape_.in * size_of(held_as);
    check_parts(weight.dense, shape_);
    std::byte* to = values_.data();
    std::vector<std::byte> converted;
    std::vector<float> row(static_cast<size_t>(shape_.in));
    for (const DenseRows& part : weight.dense) {
      const std::byte* from = part.data;
      if (part.dtype != held_as) {
        converted.resize(static_cast<size_t>(part.n_rows * row_bytes));
        for (int64_t r = 0; r < part.n_rows; ++r) {
          read_row({&part, 1}, {part.n_rows, shape_.in}, r, row.data());
          encode_floats(row, held_as, converted.data() + r * row_bytes);
        }
        from = converted.data();
      }
      copy(from, part.n_rows * row_bytes, to);
      TM_CUDA_CHECK(cudaStreamSynchronize(stream_));  // `converted` is used again
      to += part.n_rows * row_bytes;
    }
  }

  static void encode_floats(const std::vector<float>& row, DType dtype, std::byte* to) {
    for (size_t k = 0; k < row.size(); ++k) {
      if (dtype == DType::kF32) {
        std::memcpy(to + 4 * k, &row[k], 4);
        continue;
      }
      const uint16_t bits = dtype == DType::kBF16 ? bf16_from_float(row[k]) : f16_from_float(row[k]);
      std::memcpy(to + 2 * k, &bits, 2);
    }
  }

  void upload_codes(const CanonicalWeight& weight) {
    TM_CHECK(std::ssize(weight.codes) == shape_.out * shape_.in, "{}: {} codes for {} x {}", info_.name,
             weight.codes.size(), shape_.out, shape_.in);
    if (info_.act_order) {
      const std::vector<int32_t> order = inputs_by_group(info_, weight);
      input_order_ = upload(order.data(), std::ssize(order) * int64_t{sizeof(int32_t)}, "input order");
      TM_CUDA_CHECK(cudaStreamSynchronize(stream_));
    }
    const int64_t slice_rows =
        std::max(kSliceRows, kSliceBytes / shape_.in / kSliceRows * kSliceRows);  // a multiple of kSliceRows
    const DeviceBuffer slice(std::min(slice_rows, shape_.out) * shape_.in, "codes");
    for (int64_t row = 0; row < shape_.out; row += slice_rows) {
      const int64_t n_rows = std::min(slice_rows, shape_.out - row);
      copy(weight.codes.data() + row * shape_.in, n_rows * shape_.in, slice.data());
      pack_codes(forms_.weight, slice.as<uint8_t>(), input_order_.as<int32_t>(), row, n_rows, shape_.out, shape_.in,
                 values_.data(), stream_);
    }
    TM_CUDA_CHECK(cudaStreamSynchronize(stream_));
  }

  void upload_scales(const CanonicalWeight& weight) {
    if (weight.scales.empty()) return;
    for (const float scale : weight.scales)
      if (!std::isfinite(scale)) throw Error(Errc::kBadFile, "{}: wanted finite scales, got {}", info_.name, scale);
    const int64_t n_scales = std::ssize(weight.scales);
    if (info_.grid != nullptr && !info_.grid->f32_scales) return upload_group_scales(weight);
    if (info_.activation_group > 0) return upload_block_scales(weight);
    TM_CHECK(n_scales == 1 || n_scales == shape_.out, "{}: {} scales for {} rows", info_.name, n_scales, shape_.out);
    scale_form_ = n_scales == 1 ? ScaleForm::kTensor : ScaleForm::kRow;
    scales_ = upload(weight.scales.data(), n_scales * int64_t{sizeof(float)}, "scales");
  }

  void upload_block_scales(const CanonicalWeight& weight) {
    constexpr int64_t kBlock = 128, kRowOf = 4;
    const int64_t n_rows = (shape_.out + kBlock - 1) / kBlock, n_groups = (shape_.in + kBlock - 1) / kBlock;
    const int64_t stride = (n_groups + kRowOf - 1) / kRowOf * kRowOf;
    std::vector<float> padded(static_cast<size_t>(n_rows * stride), 1.0f);
    for (int64_t r = 0; r < n_rows; ++r)
      std::copy_n(weight.scales.data() + r * n_groups, n_groups, padded.data() + r * stride);
    scale_form_ = ScaleForm::kBlock128;
    scales_ = upload(padded.data(), std::ssize(padded) * int64_t{sizeof(float)}, "scales");
    TM_CUDA_CHECK(cudaStreamSynchronize(stream_));
  }

  // For products by block, where a block's rows have one scale and cuBLASLt has them.
  void repeat_scales(const std::vector<float>& scales, int64_t bytes) {
    constexpr int64_t kBlock = 128;
    const auto scale_of = [&](int64_t row) { return scales[scales.size() == 1 ? 0 : static_cast<size_t>(row)]; };
    for (int64_t row = 0; row < shape_.out; ++row)
      if (scale_of(row) != scale_of(row / kBlock * kBlock)) return;
    if (!has_block_algorithms(matrix())) {
      static std::set<std::pair<int64_t, int64_t>> told;
      if (told.emplace(shape_.out, shape_.in).second)
        TM_WARN("{}: by row with any number of tokens: this card's cuBLASLt has no fp8 kernel by block of {} x {}",
                info_.name, shape_.out, shape_.in);
      return;
    }
    const int64_t n_blocks = ceil_div(shape_.out, kBlock);
    std::vector<float> blocks(static_cast<size_t>(bytes / int64_t{sizeof(float)}));
    const int64_t stride = std::ssize(blocks) / n_blocks;
    for (int64_t b = 0; b < n_blocks; ++b) std::fill_n(blocks.data() + b * stride, stride, scale_of(b * kBlock));
    block_scales_ = upload(blocks.data(), bytes, "scales by block");
    TM_CUDA_CHECK(cudaStreamSynchronize(stream_));
  }

  void upload_group_scales(const CanonicalWeight& weight) {
    constexpr int64_t kPadded = 16, kScaleBytes = 2;
    const int64_t n_groups = info_.group_size > 0 ? shape_.in / info_.group_size : 1;
    const int64_t rows = (shape_.out + kPadded - 1) / kPadded * kPadded;
    scale_form_ = ScaleForm::kGroup;
    scale_dtype_ = weight.scale_dtype;
    scales_ = arena_.take(n_groups * rows * kScaleBytes, "scales");
    const DeviceBuffer f32(std::ssize(weight.scales) * int64_t{sizeof(float)}, "scales"),
        zeros(std::ssize(weight.zeros), "zero points");
    copy(weight.scales.data(), f32.size(), f32.data());
    if (!weight.zeros.empty()) {
      zeros_ = arena_.take(n_groups * rows / 2, "zero points");
      copy(weight.zeros.data(), zeros.size(), zeros.data());
    }
    pack_group_scales(f32.as<float>(), zeros.as<uint8_t>(), shape_.out, n_groups, scale_dtype_, scales_.data(),
                      zeros_.data(), stream_);
    TM_CUDA_CHECK(cudaStreamSynchronize(stream_));
  }

  const SchemeInfo info_;
  const Forms forms_;
  const MatShape shape_;
  cudaStream_t stream_;  // of the upload, as the arena
  DeviceArena& arena_;
  ScaleForm scale_form_ = ScaleForm::kNone;
  DType scale_dtype_ = DType::kF16;
  float static_scale_ = 0;
  DeviceBuffer values_, scales_, block_scales_, zeros_, input_order_;
};

}  // namespace

std::unique_ptr<DeviceLinear> upload_linear(const Scheme& scheme, const CanonicalWeight& weight, int compute_capability,
                                            cudaStream_t stream, DeviceArena& arena) {
  return std::make_unique<Linear>(scheme, weight, compute_capability, stream, arena);
}

}  // namespace trimeter::cuda
