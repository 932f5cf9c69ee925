#include "io/hf_config.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "io/temporary_directory.h"

namespace trimeter {
namespace {

using nlohmann::json;

json llama() {
  return json::parse(R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "bfloat16",
    "vocab_size": 128256, "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16,
    "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 64, "max_position_embeddings": 131072,
    "rms_norm_eps": 1e-05, "rope_theta": 500000.0, "hidden_act": "silu", "attention_bias": false, "mlp_bias": false,
    "bos_token_id": 128000, "eos_token_id": [128001, 128008, 128009], "tie_word_embeddings": true,
    "rope_scaling": {"factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
                     "original_max_position_embeddings": 8192, "rope_type": "llama3"}})");
}

// llama() with `patch` merged in: a null removes a field (RFC 7396).
HfConfig read_patched(const char* patch) {
  const TemporaryDirectory directory;
  json config = llama();
  config.merge_patch(json::parse(patch));
  directory.write("config.json", config.dump());
  return read_hf_config(directory.path());
}

TEST(HfConfig, Llama32) {
  const HfConfig c = read_patched("{}");
  EXPECT_EQ(c.architecture, "LlamaForCausalLM");
  EXPECT_EQ(c.model_type, "llama");
  EXPECT_EQ(c.dtype, DType::kBF16);
  EXPECT_EQ(c.vocab_size, 128256);
  EXPECT_EQ(c.hidden_size, 2048);
  EXPECT_EQ(c.intermediate_size, 8192);
  EXPECT_EQ(c.n_layers, 16);
  EXPECT_EQ(c.n_heads, 32);
  EXPECT_EQ(c.n_kv_heads, 8);
  EXPECT_EQ(c.head_dim, 64);
  EXPECT_EQ(c.max_position_embeddings, 131072);
  EXPECT_EQ(c.rms_norm_eps, 1e-5);
  EXPECT_EQ(c.rope_theta, 500000);
  EXPECT_EQ(c.rope_scaling.type, "llama3");
  EXPECT_EQ(c.rope_scaling.factor, 32);
  EXPECT_EQ(c.rope_scaling.low_freq_factor, 1);
  EXPECT_EQ(c.rope_scaling.high_freq_factor, 4);
  EXPECT_EQ(c.rope_scaling.original_max_position_embeddings, 8192);
  EXPECT_TRUE(c.tie_word_embeddings);
  EXPECT_EQ(c.attention_bias, false);
  EXPECT_EQ(c.mlp_bias, false);
  EXPECT_EQ(c.eos_token_ids, (std::vector<int32_t>{128001, 128008, 128009}));
  EXPECT_EQ(c.bos_token_id, 128000);
  EXPECT_EQ(c.quantization, "");
}

TEST(HfConfig, DemoModel) {
  const char* source = std::getenv("TRIMETER_SOURCE_DIR");
  ASSERT_NE(source, nullptr);
  const std::filesystem::path directory = std::filesystem::path(source) / "models/demo";
  const HfConfig c = read_hf_config(directory);
  EXPECT_EQ(c.architecture, "Qwen2ForCausalLM");
  EXPECT_EQ(c.head_dim, 64);
  EXPECT_EQ(c.rope_scaling.type, "default");
  EXPECT_FALSE(c.attention_bias);  // not in the file
  EXPECT_EQ(c.eos_token_ids, std::vector<int32_t>{4095});
  const HfGenerationConfig g = read_hf_generation_config(directory);
  EXPECT_EQ(g.eos_token_ids, (std::vector<int32_t>{4095, 4093}));
  EXPECT_EQ(g.do_sample, false);
  EXPECT_FALSE(g.temperature);
}

TEST(HfConfig, AbsentFieldsHaveTransformersDefaults) {
  const HfConfig c = read_patched(R"({"torch_dtype": null, "num_key_value_heads": null, "head_dim": null,
      "rms_norm_eps": null, "rope_theta": null, "rope_scaling": null, "tie_word_embeddings": null,
      "eos_token_id": null, "bos_token_id": null})");
  EXPECT_FALSE(c.dtype);
  EXPECT_EQ(c.n_kv_heads, 32);
  EXPECT_EQ(c.head_dim, 64);
  EXPECT_EQ(c.rms_norm_eps, 1e-6);
  EXPECT_EQ(c.rope_theta, 10000);
  EXPECT_EQ(c.rope_scaling.type, "default");
  EXPECT_FALSE(c.tie_word_embeddings);
  EXPECT_TRUE(c.eos_token_ids.empty());
  EXPECT_FALSE(c.bos_token_id);
}

TEST(HfConfig, NullIsAbsent) {
  const TemporaryDirectory directory;
  json config = llama();
  config["head_dim"] = nullptr;
  config["rope_scaling"] = nullptr;
  directory.write("config.json", config.dump());
  EXPECT_EQ(read_hf_config(directory.path()).head_dim, 64);
}

TEST(HfConfig, NewAndOldNames) {
  const HfConfig v5 =
      read_patched(R"({"torch_dtype": null, "dtype": "float16", "rope_theta": null, "rope_scaling": null,
      "rope_parameters": {"rope_theta": 250000.0, "rope_type": "linear", "factor": 2}, "eos_token_id": 7})");
  EXPECT_EQ(v5.dtype, DType::kF16);
  EXPECT_EQ(v5.rope_theta, 250000);
  EXPECT_EQ(v5.rope_scaling.type, "linear");
  EXPECT_EQ(v5.rope_scaling.factor, 2);
  EXPECT_EQ(v5.eos_token_ids, std::vector<int32_t>{7});

  const HfConfig old = read_patched(R"({"rope_scaling": {"rope_type": null, "type": "yarn", "factor": 4.0}})");
  EXPECT_EQ(old.rope_scaling.type, "yarn");
  EXPECT_EQ(old.rope_scaling.original_max_position_embeddings, 8192);
}

TEST(HfConfig, QuantizationIsTextInTheFilesOrder) {
  const TemporaryDirectory directory;
  std::string text = llama().dump();
  text.insert(1, R"("quantization_config": {"quant_method": "gptq", "dynamic": {"b": 1, "a": 2}},)");
  directory.write("config.json", text);
  EXPECT_EQ(read_hf_config(directory.path()).quantization, R"({"quant_method":"gptq","dynamic":{"b":1,"a":2}})");
}

struct Bad {
  const char* patch;
  const char* message;  // behind the path
};
const Bad kBad[] = {
    {R"({"architectures": null})", "field 'architectures': wanted a list with one name, got none"},
    {R"({"architectures": []})", "field 'architectures': wanted a list with one name, got []"},
    {R"({"architectures": "LlamaForCausalLM"})", "got \"LlamaForCausalLM\""},
    {R"({"torch_dtype": "int8"})", "field 'torch_dtype': wanted bfloat16, float16 or float32, got 'int8'"},
    {R"({"torch_dtype": null, "dtype": "complex64"})",
     "field 'dtype': wanted bfloat16, float16 or float32, got 'complex64'"},
    {R"({"dtype": "float16"})", "field 'dtype': wanted 'bfloat16' as torch_dtype has it, got 'float16'"},
    {R"({"torch_dtype": null, "dtype": 16})", "field 'dtype': wanted a string, got 16"},
    {R"({"hidden_size": null})",
     "field 'hidden_size': wanted an integer in [1, 1048576], got none (architecture 'LlamaForCausalLM')"},
    {R"({"hidden_size": 0})", "field 'hidden_size': wanted an integer in [1, 1048576], got 0"},
    {R"({"hidden_size": "2048"})", "field 'hidden_size': wanted an integer in [1, 1048576], got \"2048\""},
    {R"({"hidden_size": 2048.5})", "field 'hidden_size': wanted an integer in [1, 1048576], got 2048.5"},
    {R"({"vocab_size": -5})", "field 'vocab_size': wanted an integer in [1, 16777216], got -5"},
    {R"({"vocab_size": 18446744073709551615})", "got 18446744073709551615"},
    {R"({"intermediate_size": 2147483649})", "field 'intermediate_size': wanted an integer in [1, 1048576], got 21474"},
    {R"({"num_hidden_layers": 1e99})", "field 'num_hidden_layers': wanted an integer in [1, 4096], got 1e+99"},
    {R"({"max_position_embeddings": 2147483648})",
     "field 'max_position_embeddings': wanted an integer in [1, 2147483647], got 2147483648"},
    {R"({"num_key_value_heads": 5})", "field 'num_key_value_heads': wanted a divisor of num_attention_heads 32, got 5"},
    {R"({"num_key_value_heads": 0})", "field 'num_key_value_heads': wanted an integer in [1, 4096], got 0"},
    {R"({"head_dim": 63})", "field 'head_dim': wanted an even number, got 63"},
    {R"({"head_dim": null, "hidden_size": 2050})",
     "field 'num_attention_heads': wanted a divisor of hidden_size 2050, got 32"},
    {R"({"head_dim": null, "hidden_size": 32})", "field 'head_dim': wanted an even number, got 1"},
    {R"({"rms_norm_eps": 0})", "field 'rms_norm_eps': wanted a number in (0, 1], got 0"},
    {R"({"rms_norm_eps": true})", "field 'rms_norm_eps': wanted a number in (0, 1], got true"},
    {R"({"rope_theta": -1.0})", "field 'rope_theta': wanted a number in (0, 1e+30], got -1"},
    {R"({"rope_scaling": 4})", "field 'rope_scaling': wanted an object, got 4"},
    {R"({"rope_scaling": {"factor": null}})",
     "field 'rope_scaling': field 'factor': wanted a number in (0, 1e+30], got none"},
    {R"({"rope_scaling": {"low_freq_factor": null}})", "field 'low_freq_factor': wanted a number"},
    {R"({"rope_scaling": {"high_freq_factor": null}})", "field 'high_freq_factor': wanted a number"},
    {R"({"rope_scaling": {"original_max_position_embeddings": null}})", "field 'original_max_position_embeddings': "},
    {R"({"rope_scaling": {"high_freq_factor": 1.0}})", "wanted more than low_freq_factor 1, got 1"},
    {R"({"rope_parameters": {"full_attention": {"rope_theta": 1e6}}})", "got one for 'full_attention'"},
    {R"({"tie_word_embeddings": 1})", "field 'tie_word_embeddings': wanted true or false, got 1"},
    {R"({"eos_token_id": [1, -2]})", "field 'eos_token_id': wanted an integer in [0, 2147483647], got -2"},
    {R"({"eos_token_id": "x"})", "field 'eos_token_id': wanted an integer in [0, 2147483647], got"},
    {R"({"bos_token_id": [1]})", "field 'bos_token_id': wanted an integer in [0, 2147483647], got [1]"},
};

TEST(HfConfig, RefusesWithFileFieldWantedAndGot) {
  for (const Bad& bad : kBad) {
    try {
      read_patched(bad.patch);
      ADD_FAILURE() << "accepted " << bad.patch;
    } catch (const Error& e) {
      const std::string message = e.what();
      EXPECT_NE(message.find("config.json: "), std::string::npos) << message;
      EXPECT_NE(message.find(bad.message), std::string::npos) << bad.patch << "\n  " << message;
    }
  }
}

TEST(HfConfig, RefusesWhatIsNoObjectAndWhatIsNotThere) {
  const TemporaryDirectory directory;
  EXPECT_THROW(read_hf_config(directory.path()), Error);
  directory.write("config.json", "[1]");
  EXPECT_THROW(read_hf_config(directory.path()), Error);
}

TEST(HfGenerationConfig, ReadsChecksAndMayBeAbsent) {
  const TemporaryDirectory directory;
  EXPECT_FALSE(read_hf_generation_config(directory.path()).do_sample);
  directory.write("generation_config.json", R"({"do_sample": true, "temperature": 0.7, "top_p": 0.8, "top_k": 20,
      "repetition_penalty": 1.05, "min_p": 0.0, "eos_token_id": 3})");
  const HfGenerationConfig g = read_hf_generation_config(directory.path());
  EXPECT_EQ(g.do_sample, true);
  EXPECT_EQ(g.temperature, 0.7);
  EXPECT_EQ(g.top_p, 0.8);
  EXPECT_EQ(g.top_k, 20);
  EXPECT_EQ(g.repetition_penalty, 1.05);
  EXPECT_EQ(g.min_p, 0.0);
  EXPECT_EQ(g.eos_token_ids, std::vector<int32_t>{3});
  for (const char* bad : {R"({"temperature": -1})", R"({"top_p": 0})", R"({"top_p": 1.5})", R"({"top_k": "x"})",
                          R"({"repetition_penalty": 0})", R"({"do_sample": 1})"}) {
    directory.write("generation_config.json", bad);
    EXPECT_THROW(read_hf_generation_config(directory.path()), Error) << bad;
  }
}

}  // namespace
}  // namespace trimeter
