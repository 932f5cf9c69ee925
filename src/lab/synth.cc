#include "lab/synth.h"

#include <fmt/ranges.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/error.h"
#include "io/file.h"
#include "io/safetensors_writer.h"
#include "lab/synth_tokenizer.h"
#include "spec/model_spec.h"
#include "tensor/numeric.h"

namespace trimeter {
namespace {

using nlohmann::ordered_json;

constexpr ModelShape kShapes[] = {
#define TM_SHAPE(name, family, hidden, intermediate, layers, heads, kv_heads, head_dim, vocabulary, positions, tied) \
  {name, ModelFamily::family, hidden, intermediate, layers, heads, kv_heads, head_dim, vocabulary, positions, tied},
#include "lab/shapes.def"
#undef TM_SHAPE
};

constexpr double kInitializerRange = 0.02;

int64_t end_of_text_of(const ModelShape& shape) { return shape.vocab_size - 3; }

// A stream of bits that its seed alone decides (SplitMix64: Steele, Lea, Flood, OOPSLA 2014).
class Bits {
 public:
  explicit Bits(uint64_t seed) : state_(seed) {}
  uint64_t next() {
    state_ += 0x9e3779b97f4a7c15u;
    uint64_t z = state_;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
  }

 private:
  uint64_t state_;
};

uint64_t hash(std::string_view text, uint64_t seed) {  // FNV-1a
  uint64_t h = 0xcbf29ce484222325u ^ seed;
  for (const char c : text) h = (h ^ static_cast<uint8_t>(c)) * 0x100000001b3u;
  return h;
}

// Four uniforms on [0, 2^16): their sum has mean 2 * (2^16 - 1) and variance (2^32 - 1) / 3.
void fill_row(uint64_t seed, float deviation, std::span<uint16_t> row) {
  Bits bits(seed);
  const float unit = deviation / std::sqrt((4294967296.0f - 1) / 3);
  for (uint16_t& value : row) {
    const uint64_t b = bits.next();
    const auto sum = static_cast<int32_t>((b & 0xffff) + (b >> 16 & 0xffff) + (b >> 32 & 0xffff) + (b >> 48));
    value = bf16_from_float(unit * static_cast<float>(sum - 2 * 0xffff));
  }
}

struct SynthTensor {
  TensorInfo info;
  double deviation;  // 0: all ones
};

std::vector<SynthTensor> tensors_of(const ModelSpec& spec) {
  const double into_residual = kInitializerRange / std::sqrt(2.0 * static_cast<double>(spec.n_layers));
  std::vector<SynthTensor> tensors;
  const auto add = [&](const std::string& name, std::vector<int64_t> shape, double deviation) {
    tensors.push_back({{name, DType::kBF16, std::move(shape)}, deviation});
  };
  add("model.embed_tokens.weight", {spec.vocab_size, spec.hidden_size}, kInitializerRange);
  for (int layer = 0; layer < spec.n_layers; ++layer) {
    const std::string prefix = fmt::format("model.layers.{}.", layer);
    add(prefix + "input_layernorm.weight", {spec.hidden_size}, 0);
    add(prefix + "post_attention_layernorm.weight", {spec.hidden_size}, 0);
    for (const LinearSpec& linear : spec.linears_of_layer(layer)) {
      const bool ends_block = linear.role == LinearRole::kAttentionOut || linear.role == LinearRole::kDown;
      for (const LinearPart& part : linear.parts) {
        add(part.tensor, {part.n_rows, linear.shape.in}, ends_block ? into_residual : kInitializerRange);
        if (linear.has_bias)
          add(part.tensor.substr(0, part.tensor.rfind('.')) + ".bias", {part.n_rows}, kInitializerRange);
      }
    }
  }
  add("model.norm.weight", {spec.hidden_size}, 0);
  if (!spec.tie_word_embeddings)
    add(spec.lm_head().parts[0].tensor, {spec.vocab_size, spec.hidden_size}, kInitializerRange);
  return tensors;
}

std::vector<uint16_t> values_of(const SynthTensor& tensor, uint64_t seed, ThreadPool& pool) {
  const int64_t in = tensor.info.shape.back(), rows = tensor.info.bytes() / 2 / in;
  const uint64_t tensor_seed = hash(tensor.info.name, seed);
  std::vector<uint16_t> values(static_cast<size_t>(rows * in), bf16_from_float(1));
  if (tensor.deviation == 0) return values;
  pool.run([&](int thread) {
    const auto [begin, end] = pool.share(rows, thread);
    for (int64_t row = begin; row < end; ++row)
      fill_row(Bits(tensor_seed + static_cast<uint64_t>(row)).next(), static_cast<float>(tensor.deviation),
               std::span(values).subspan(static_cast<size_t>(row * in), static_cast<size_t>(in)));
  });
  return values;
}

}  // namespace

std::span<const ModelShape> all_shapes() { return kShapes; }

const ModelShape& shape_named(std::string_view name) {
  std::vector<std::string_view> names;
  for (const ModelShape& shape : kShapes) {
    if (shape.name == name) return shape;
    names.push_back(shape.name);
  }
  throw Error(Errc::kBadArgument, "shape '{}': there is no such shape; there are {}", name, fmt::join(names, ", "));
}

std::string synthetic_config(const ModelShape& shape) {
  const bool is_qwen = shape.family == ModelFamily::kQwen25;
  const int64_t end_of_text = end_of_text_of(shape);
  ordered_json config = {{"architectures", {is_qwen ? "Qwen2ForCausalLM" : "LlamaForCausalLM"}},
                         {"model_type", is_qwen ? "qwen2" : "llama"},
                         {"hidden_act", "silu"},
                         {"hidden_size", shape.hidden_size},
                         {"intermediate_size", shape.intermediate_size},
                         {"num_hidden_layers", shape.n_layers},
                         {"num_attention_heads", shape.n_heads},
                         {"num_key_value_heads", shape.n_kv_heads},
                         {"head_dim", shape.head_dim},
                         {"vocab_size", shape.vocab_size},
                         {"max_position_embeddings", shape.max_position_embeddings},
                         {"rms_norm_eps", is_qwen ? 1e-6 : 1e-5},
                         {"rope_theta", is_qwen ? 1e6 : 5e5},
                         {"tie_word_embeddings", shape.tie_word_embeddings},
                         {"initializer_range", kInitializerRange},
                         {"bos_token_id", end_of_text},
                         {"eos_token_id", end_of_text},
                         {"torch_dtype", "bfloat16"},
                         {"use_cache", true}};
  if (is_qwen) {
    config["use_sliding_window"] = false;
  } else {
    config["attention_bias"] = config["mlp_bias"] = false;
    config["rope_scaling"] = {{"rope_type", "llama3"},
                              {"factor", shape.family == ModelFamily::kLlama32 ? 32.0 : 8.0},
                              {"low_freq_factor", 1.0},
                              {"high_freq_factor", 4.0},
                              {"original_max_position_embeddings", 8192}};
  }
  return config.dump(2) + "\n";
}

void write_synthetic(const ModelShape& shape, uint64_t seed, const std::filesystem::path& directory, ThreadPool& pool,
                     const std::function<void(const std::string& what, int done, int total)>& on_progress) {
  write_file_atomic(directory / "config.json", synthetic_config(shape));
  write_file_atomic(directory / "generation_config.json", ordered_json{{"bos_token_id", end_of_text_of(shape)},
                                                                       {"eos_token_id", end_of_text_of(shape)},
                                                                       {"do_sample", false}}
                                                                  .dump(2) +
                                                              "\n");
  write_synthetic_tokenizer(shape.vocab_size, directory);

  const std::vector<SynthTensor> tensors = tensors_of(make_model_spec(read_hf_config(directory)));
  std::vector<TensorInfo> infos;
  for (const SynthTensor& tensor : tensors) infos.push_back(tensor.info);
  SafetensorsWriter files(directory, std::move(infos));
  for (size_t i = 0; i < tensors.size(); ++i) {
    const std::vector<uint16_t> values = values_of(tensors[i], seed, pool);
    files.write(tensors[i].info.name, std::as_bytes(std::span(values)));
    if (on_progress) on_progress("random weights", static_cast<int>(i) + 1, static_cast<int>(tensors.size()));
  }
  files.finish();
}

}  // namespace trimeter
