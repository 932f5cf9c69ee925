// A container: how the codes and scales of quantized linears lie in a checkpoint's files. One file each; the list is in
// container.cc. Everything else of a checkpoint (norms, biases, the embedding, linears left in 16 bits) lies as in a
// dense one.
#pragma once
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "containers/scheme_traits.h"
#include "io/safetensors.h"
#include "schemes/scheme.h"
#include "spec/format.h"
#include "spec/model_spec.h"

namespace trimeter {

using EmitTensor = std::function<void(const TensorInfo& tensor, std::span<const std::byte> bytes)>;

// Of one matrix of the checkpoint: q_proj, not the fused qkv_proj.
struct StoredMatrix {
  std::string module;  // "model.layers.0.self_attn.q_proj"
  MatShape shape;
  SchemeTraits traits;
  DType dense = DType::kF16;  // of the model: what scales in F32 are rounded to where the scheme keeps 16 bits of them
};

class Container {
 public:
  virtual ~Container() = default;
  virtual std::string_view name() const = 0;  // as in formats.def

  // Why it can't hold such a matrix; empty if it can. ("out = 12 is not a multiple of 8")
  virtual std::string refuses(const StoredMatrix& matrix) const = 0;
  // Why it can't be written: that, or that others have ceased to read it.
  virtual std::string refuses_to_write(const StoredMatrix& matrix) const { return refuses(matrix); }
  // What stands behind the module's name in the names of its tensors: ".qweight". Biases are not among them.
  virtual std::span<const std::string_view> suffixes() const = 0;

  // Reads it, in the canonical form of the scheme that the traits name; shape and dtype of every tensor are checked, as
  // are codes that don't exist and scales that are not finite. Throws Error with file, tensor, wanted, got.
  virtual CanonicalWeight read(const Checkpoint& checkpoint, const StoredMatrix& matrix, ThreadPool& pool) const = 0;
  // The tensors that write() makes, in its order.
  virtual std::vector<TensorInfo> tensors(const StoredMatrix& matrix) const = 0;
  virtual void write(const CanonicalWeight& weight, const StoredMatrix& matrix, const EmitTensor& emit) const = 0;
  // Whether it has words and a place for the scales of an fp8 KV cache (containers/kv_scales.h).
  virtual bool holds_kv_scales() const { return false; }
  // quantization_config of config.json, as JSON text, for a model in a format. Throws Error(kUnsupported) for a mix of
  // schemes that it has no words for. A format's fp8 KV cache is among its words if it holds_kv_scales().
  virtual std::string config(const ModelSpec& model, const Format& format) const = 0;
};

std::string module_of(const LinearPart& part);  // "model.layers.0.self_attn.q_proj"
std::span<const Container* const> all_containers();
inline constexpr std::string_view kDenseContainer = "safetensors";  // of floats alone: no Container
const Container* find_container(std::string_view name);             // nullptr: none of quantized linears
// Whether it has files. A line of formats.def whose scheme no container holds has "none".
bool is_written(const Format& format);

// The container and the matrices of a linear in a format whose tensors are in a container; empty if the format holds
// this linear in floats.
std::vector<StoredMatrix> stored_matrices(const ModelSpec& model, const Format& format, const LinearSpec& linear);

// A fused linear from its parts' tensors, stacked by rows. Parts must agree in act-order. Where the scheme has one
// scale per tensor the largest of the parts' becomes that of all, and codes of the others are rounded anew, as vLLM
// does (requantize_with_max_scale: through half precision); likewise the largest input scale.
CanonicalWeight read_stored(const Container& container, const Checkpoint& checkpoint,
                            std::span<const StoredMatrix> matrices, ThreadPool& pool);
void write_stored(const Container& container, const CanonicalWeight& weight, std::span<const StoredMatrix> matrices,
                  const EmitTensor& emit);

}  // namespace trimeter
