#include "spec/model_spec.h"

#include <gtest/gtest.h>

#include <functional>

#include "base/error.h"
#include "io/temporary_directory.h"

namespace trimeter {
namespace {

HfConfig qwen2_0_5b() {
  HfConfig config;
  config.path = "m/config.json";
  config.architecture = "Qwen2ForCausalLM";
  config.vocab_size = 151936;
  config.hidden_size = 896;
  config.intermediate_size = 4864;
  config.n_layers = 24;
  config.n_heads = 14;
  config.n_kv_heads = 2;
  config.max_position_embeddings = 32768;
  config.rope_theta = 1e6;
  config.tie_word_embeddings = true;
  return config;
}

HfConfig llama3_8b() {
  HfConfig config = qwen2_0_5b();
  config.architecture = "LlamaForCausalLM";
  config.vocab_size = 128256;
  config.hidden_size = 4096;
  config.intermediate_size = 14336;
  config.n_layers = 32;
  config.n_heads = 32;
  config.n_kv_heads = 8;
  config.tie_word_embeddings = false;
  config.rope_scaling = {"llama3", 8.0, 1.0, 4.0, 8192};
  return config;
}

// Published parameter counts: any wrong shape, bias or tie changes them.
TEST(ModelSpec, CountsTheParametersOfPublishedModels) {
  EXPECT_EQ(make_model_spec(qwen2_0_5b()).n_parameters(), 494032768);
  EXPECT_EQ(make_model_spec(llama3_8b()).n_parameters(), 8030261248);
}

TEST(ModelSpec, FusesPartsInOrder) {
  const ModelSpec spec = make_model_spec(qwen2_0_5b());
  const std::vector<LinearSpec> linears = spec.linears_of_layer(3);
  ASSERT_EQ(linears.size(), 4u);
  EXPECT_EQ(linears[0].shape.out, 896 + 2 * 128);
  EXPECT_EQ(linears[0].parts[1].tensor, "model.layers.3.self_attn.k_proj.weight");
  EXPECT_EQ(linears[0].parts[1].n_rows, 128);
  EXPECT_TRUE(linears[0].has_bias);
  EXPECT_FALSE(linears[1].has_bias);
  EXPECT_EQ(linears[2].parts[0].tensor, "model.layers.3.mlp.gate_proj.weight");
  EXPECT_EQ(linears[2].shape.out, 2 * 4864);
  EXPECT_EQ(linears[3].shape.in, 4864);
  for (const LinearSpec& linear : linears) {
    int64_t rows = 0;
    for (const LinearPart& part : linear.parts) rows += part.n_rows;
    EXPECT_EQ(rows, linear.shape.out) << name(linear.role);
  }
  EXPECT_EQ(spec.lm_head().parts[0].tensor, "model.embed_tokens.weight");
  EXPECT_EQ(make_model_spec(llama3_8b()).lm_head().parts[0].tensor, "lm_head.weight");
}

TEST(ModelSpec, BiasFlagsAreLlamasAlone) {
  HfConfig config = llama3_8b();
  config.attention_bias = config.mlp_bias = true;
  const ModelSpec llama = make_model_spec(config);
  EXPECT_TRUE(llama.qkv_bias && llama.attention_out_bias && llama.mlp_bias);
  config.architecture = "Qwen2ForCausalLM";
  config.attention_bias = false;
  const ModelSpec qwen = make_model_spec(config);
  EXPECT_TRUE(qwen.qkv_bias);
  EXPECT_FALSE(qwen.attention_out_bias || qwen.mlp_bias);
}

TEST(ModelSpec, ResolvesHeads) {
  HfConfig config = llama3_8b();
  config.n_kv_heads = 0;
  config.head_dim = 64;
  const ModelSpec spec = make_model_spec(config);
  EXPECT_EQ(spec.n_kv_heads, 32);
  EXPECT_EQ(spec.linears_of_layer(0)[1].shape.in, 32 * 64);
}

struct Refusal {
  const char* says;  // what the message must contain, beside the path
  Errc code;
  std::function<void(HfConfig&)> spoil;
};

TEST(ModelSpec, RefusesNamingPathAndField) {
  const Refusal refusals[] = {
      {"architectures: there is no support for 'GPT2LMHeadModel'; there is for Qwen2ForCausalLM, LlamaForCausalLM",
       Errc::kUnsupported, [](HfConfig& c) { c.architecture = "GPT2LMHeadModel"; }},
      {"hidden_act: wanted silu, got 'gelu'", Errc::kUnsupported, [](HfConfig& c) { c.hidden_act = "gelu"; }},
      {"partial_rotary_factor: wanted 1, got 0.5", Errc::kUnsupported,
       [](HfConfig& c) { c.partial_rotary_factor = 0.5; }},
      {"layer_types: wanted full_attention, got 'sliding_attention'", Errc::kUnsupported,
       [](HfConfig& c) {
         c.layer_types = {"full_attention", "sliding_attention"};
       }},
      {"use_sliding_window", Errc::kUnsupported, [](HfConfig& c) { c.use_sliding_window = true; }},
      {"torch_dtype", Errc::kUnsupported, [](HfConfig& c) { c.dtype = DType::kF8E4M3; }},
      {"torch_dtype: wanted bfloat16, float16 or float32, got none", Errc::kUnsupported,
       [](HfConfig& c) { c.dtype.reset(); }},
      {"model_type: wanted 'llama' as architectures is 'LlamaForCausalLM', got 'qwen2'", Errc::kBadFile,
       [](HfConfig& c) { c.model_type = "qwen2"; }},
      {"rope_scaling.rope_type: wanted default, linear or llama3, got 'yarn'", Errc::kUnsupported,
       [](HfConfig& c) { c.rope_scaling.type = "yarn"; }},
      {"rope_scaling.factor", Errc::kBadFile, [](HfConfig& c) { c.rope_scaling.factor = 0; }},
      {"rope_scaling.original_max_position_embeddings", Errc::kBadFile,
       [](HfConfig& c) { c.rope_scaling.original_max_position_embeddings = 0; }},
      {"rope_scaling.low_freq_factor", Errc::kBadFile, [](HfConfig& c) { c.rope_scaling.low_freq_factor = 0; }},
      {"rope_scaling.high_freq_factor", Errc::kBadFile, [](HfConfig& c) { c.rope_scaling.high_freq_factor = 1; }},
      {"vocab_size", Errc::kBadFile, [](HfConfig& c) { c.vocab_size = 0; }},
      {"hidden_size: wanted 1 to", Errc::kBadFile, [](HfConfig& c) { c.hidden_size = -4; }},
      {"intermediate_size", Errc::kBadFile, [](HfConfig& c) { c.intermediate_size = int64_t{1} << 40; }},
      {"num_hidden_layers", Errc::kBadFile, [](HfConfig& c) { c.n_layers = 0; }},
      {"num_attention_heads", Errc::kBadFile, [](HfConfig& c) { c.n_heads = 0; }},
      {"max_position_embeddings", Errc::kBadFile, [](HfConfig& c) { c.max_position_embeddings = 0; }},
      {"num_key_value_heads: wanted a divisor of num_attention_heads = 32, got 5", Errc::kBadFile,
       [](HfConfig& c) { c.n_kv_heads = 5; }},
      {"hidden_size: wanted a multiple of num_attention_heads = 24", Errc::kBadFile,
       [](HfConfig& c) { c.n_heads = 24; }},
      {"head_dim: rotary", Errc::kBadFile, [](HfConfig& c) { c.head_dim = 63; }},
      {"rms_norm_eps", Errc::kBadFile, [](HfConfig& c) { c.rms_norm_eps = 0; }},
      {"rope_theta", Errc::kBadFile, [](HfConfig& c) { c.rope_theta = -1; }},
  };
  EXPECT_NO_THROW(make_model_spec(llama3_8b()));
  for (const Refusal& refusal : refusals) {
    HfConfig config = llama3_8b();
    refusal.spoil(config);
    try {
      make_model_spec(config);
      ADD_FAILURE() << "accepted: " << refusal.says;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), refusal.code) << error.what();
      EXPECT_EQ(std::string(error.what()).rfind("m/config.json: ", 0), 0u) << error.what();
      EXPECT_NE(std::string(error.what()).find(refusal.says), std::string::npos) << error.what();
    }
  }
}

// One matrix of each dtype, [1, 1], and a vector of F64.
std::string weights_of(const std::vector<DType>& dtypes) {
  std::string header = R"({"v": {"dtype": "F64", "shape": [1], "data_offsets": [0, 8]})";
  int64_t end = 8;
  for (size_t i = 0; i < dtypes.size(); ++i) {
    const int64_t begin = end;
    end += size_of(dtypes[i]);
    header += fmt::format(R"(, "m{}": {{"dtype": "{}", "shape": [1, 1], "data_offsets": [{}, {}]}})", i,
                          name(dtypes[i]), begin, end);
  }
  header += "}";
  std::string file(8, '\0');
  file[0] = static_cast<char>(header.size() & 0xff);
  file[1] = static_cast<char>(header.size() >> 8);
  return file + header + std::string(static_cast<size_t>(end), '\0');
}

TEST(ModelSpec, ADtypeThatIsNotNamedIsTheStoredOne) {
  const auto dtype_of = [](const std::vector<DType>& stored, const std::string& named) {
    const TemporaryDirectory directory;
    directory.write("config.json", R"({"architectures": ["LlamaForCausalLM"], "vocab_size": 8, "hidden_size": 8,
      "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "max_position_embeddings": 8)" +
                                       named + "}");
    directory.write("model.safetensors", weights_of(stored));
    return read_model_spec(directory.path()).dtype;
  };
  EXPECT_EQ(dtype_of({DType::kF16, DType::kF16}, ""), DType::kF16);
  EXPECT_EQ(dtype_of({DType::kBF16}, ""), DType::kBF16);
  EXPECT_EQ(dtype_of({DType::kF16, DType::kBF16, DType::kF16}, ""), DType::kF32);
  EXPECT_EQ(dtype_of({DType::kF16}, R"(, "dtype": "bfloat16")"), DType::kBF16);
  try {
    dtype_of({DType::kF64}, "");
    ADD_FAILURE() << "accepted F64";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("model.safetensors: tensor 'm0': wanted BF16, F16 or F32, got F64"),
              std::string::npos)
        << error.what();
  }
}

}  // namespace
}  // namespace trimeter
