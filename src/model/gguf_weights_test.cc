// Whole models in GGUF files: what is wrong with a nasty one is said, a good one is held as the ledger has it.
#include "model/gguf_weights.h"

#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "containers/gguf_writer.h"
#include "io/temporary_directory.h"
#include "model/forward_harness.h"
#include "schemes/tile.h"
#include "text/tokenizer.h"

namespace trimeter {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

const fs::path kCorpus = source_dir() / "tests/fuzz/corpus/gguf_model";

std::string message_of(const fs::path& path) {
  ThreadPool pool(1);
  try {
    const GgufModel model = GgufModel::open(path);
    model.generation();
    Tokenizer::from_gguf(model.vocabulary(), path.string());
    check_format_fits(model.spec(), model.format());
    load_gguf_weights(model, {}, pool);
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

// A golden model has no tokenizer, which a GGUF file needs: the demo model's, cut to its vocabulary.
void copy_with_tokenizer(const fs::path& model, int64_t vocab_size, const fs::path& to) {
  fs::copy(model, to);
  if (fs::exists(to / "tokenizer.json")) return;
  Json tokenizer = Json::parse(read_file(source_dir() / "models/demo/tokenizer.json"));
  Json vocab = Json::object(), merges = Json::array();
  for (const auto& [token, id] : tokenizer["model"]["vocab"].items())
    if (id < vocab_size) vocab[token] = id;
  for (const Json& merge : tokenizer["model"]["merges"])
    if (const auto pair = merge.get<std::string>(); vocab.contains(std::string(pair).erase(pair.find(' '), 1)))
      merges.push_back(merge);
  tokenizer["model"]["vocab"] = vocab;
  tokenizer["model"]["merges"] = merges;
  tokenizer["added_tokens"] = Json::array();
  std::ofstream(to / "tokenizer.json") << tokenizer;
}

// Written by tests/fuzz/make_gguf_corpus.py.
TEST(GgufWeights, RefusesWithWhatWasWantedAndGot) {
  const std::pair<const char*, const char*> table[] = {
      {"bad_architecture", "metadata 'general.architecture': wanted llama or qwen2, got 'mamba'"},
      {"bad_bias_missing", "no tensor 'blk.0.attn_k.bias'"},
      {"bad_block_nan",
       "tensor 'blk.0.attn_output.weight': ggml_q4_0: weight row 31: wanted finite values, got an infinity or NaN"},
      {"bad_embedding_missing", "no tensor 'token_embd.weight'"},
      {"bad_eos", "tokenizer.ggml.eos_token_id: wanted an id below 4, got 4"},
      {"bad_eot", "metadata 'tokenizer.ggml.eot_token_id': wanted an id below 2^31, got 4294967297"},
      {"bad_epsilon", "rms_norm_eps: wanted a positive number, got -1"},
      {"bad_experts", "metadata 'llama.expert_count': mixtures of experts are not supported, got 8"},
      {"bad_flat", "tensor 'blk.0.attn_q.weight': wanted shape [32, 32], got [1024]"},
      {"bad_float_nan", "tensor 'blk.0.ffn_down.weight': wanted finite values, got an infinity or NaN"},
      {"bad_heads_of_each_layer", "metadata 'llama.attention.head_count': wanted an integer below 2^63, got an array"},
      {"bad_heads_overflow", "num_attention_heads x head_dim: wanted 1 to 2^31 - 1, got 4611686011984936962"},
      {"bad_heads_without_end", "metadata 'llama.attention.head_count': wanted 1 to 2147483647, got 1099511627776"},
      {"bad_kv_heads", "num_key_value_heads: wanted a divisor of num_attention_heads = 2, got 3"},
      {"bad_layer_missing", "no tensor 'blk.1.attn_q.weight'"},
      {"bad_layers_without_tensors", "metadata 'llama.block_count': wanted 1 to 11, got 1099511627776"},
      {"bad_merge", "tokenizer.ggml.merges: wanted 'left right', got another at 0"},
      {"bad_mixed_rows",
       "model.layers.0.self_attn.qkv_proj: 36 rows in ggml_q4_0 beside other schemes: wanted a multiple of 16"},
      {"bad_no_architecture", "metadata 'general.architecture': wanted a string, got none"},
      {"bad_no_byte_tokens", "tokenizer.ggml.tokens: wanted a token '<0x00>', got none"},
      {"bad_no_context", "metadata 'llama.context_length': wanted an integer, got none"},
      {"bad_no_layers", "metadata 'llama.block_count': wanted 1 to 11, got 0"},
      {"bad_no_tokenizer", "metadata 'tokenizer.ggml.model': wanted a string, got none"},
      {"bad_no_tokens", "tokenizer.ggml.tokens: wanted 1 to 4194304 tokens, got 0"},
      {"bad_norm_nan", "tensor 'blk.0.attn_norm.weight': wanted finite values, got nan"},
      {"bad_norm_type", "tensor 'blk.0.attn_norm.weight': wanted f32, f16 or bf16, got q8_0"},
      {"bad_pre",
       "tokenizer.ggml.pre: 'klingon' is not supported (chatglm-bpe, codeshell, command-r, dbrx, deepseek-coder, "
       "deepseek-llm, deepseek-r1-qwen, deepseek-v3, default, exaone, exaone4, falcon, falcon3, glm4, gpt-2, lfm2, "
       "llama-bpe, llama-v3, llama3, megrez, minerva-7b, mpt, olmo, phi-2, pixtral, qwen2, qwen35, refact, smaug-bpe, "
       "smollm, stablelm2, starcoder, tekken are)"},
      {"bad_attn_factor", "metadata 'llama.rope.scaling.attn_factor': wanted 1, got 1.5"},
      {"bad_rope_dims", "metadata 'llama.rope.dimension_count': wanted the heads' 16, got 8"},
      {"bad_rope_freqs",
       "tensor 'rope_freqs.weight': wanted Llama 3.1's rule (factor 8 from wavelengths of 2048 to 8192), so "
       "4.681483 at 6, got 8"},
      {"bad_scores", "tokenizer.ggml.scores: wanted 4, one for each token, got 0"},
      {"bad_shape", "tensor 'blk.0.ffn_down.weight': wanted shape [32, 64], got [32, 32]"},
      {"bad_stranger",
       "tensor 'blk.0.ffn_gate_inp.weight' is not part of the LlamaForCausalLM that the metadata describes"},
      {"bad_tensor_missing", "no tensor 'blk.0.ffn_up.weight'"},
      {"bad_token_twice", "tokenizer.ggml.tokens: wanted each token once, got 'a' as 0 and as 2"},
      {"bad_token_types", "tokenizer.ggml.token_type: wanted 4, one for each token, got 1"},
      {"bad_tokenizer_model", "tokenizer.ggml.model: 'bert' is not supported (gpt2 and llama are)"},
      {"bad_tokens_type", "metadata 'tokenizer.ggml.tokens': wanted an array of strings, got an array"},
      {"bad_too_many_tokens",
       "metadata 'tokenizer.ggml.tokens': wanted at most 4, as token_embd.weight has rows, got 5"},
      {"bad_truncated",
       "tensor 'blk.0.ffn_norm.weight': wanted it within the file's 5564 data bytes, got 128 bytes at offset 5536"},
      {"bad_type", "tensor 'blk.0.attn_v.weight': the type iq4_nl is not supported"},
      {"bad_width", "tensor 'blk.0.attn_q.weight': wanted shape [64, 64], got [32, 32]"},
      {"bad_window", "metadata 'qwen2.attention.sliding_window': sliding windows are not supported, got 4096"},
      {"bad_yarn", "metadata 'llama.rope.scaling.type': wanted none or linear, got 'yarn'"},
  };
  std::map<std::string, std::string> wanted(std::begin(table), std::end(table));
  for (const auto& entry : fs::directory_iterator(kCorpus)) {
    const std::string name = entry.path().stem();
    EXPECT_EQ(message_of(entry.path()),
              name.starts_with("ok_") ? "accepted" : entry.path().string() + ": " + wanted[name])
        << name;
    wanted.erase(name);
  }
  EXPECT_TRUE(wanted.empty()) << wanted.begin()->first;
}

// Ledger, memory and file.
TEST(GgufWeights, AWrittenModelIsHeldAsTheLedgerAndTheFileHaveIt) {
  ThreadPool pool(2);
  int n_models = 0;
  const std::pair<const char*, const char*> models[] = {
      {"tests/golden/logits/qwen2_untied", "gguf-"},  // every format; k-quants fall back to blocks of 32
      {"tests/golden/logits/llama_biases_fp32", "gguf-q4_0"},
      {"models/demo", "gguf-q4_k"}};
  for (const auto& [name, formats] : models) {
    const TemporaryDirectory directory;
    const fs::path path = directory.path() / "a.gguf", model = directory.path() / "model";
    const int64_t vocab_size = read_model_spec(source_dir() / name).vocab_size;
    copy_with_tokenizer(source_dir() / name, vocab_size, model);
    for (const Format& row : all_formats()) {
      if (!row.name.starts_with(formats)) continue;
      const GgufCheckpoint checkpoint(model, gguf_file_type_of(row));
      checkpoint.write(path, {});
      const GgufModel file = GgufModel::open(path);
      int64_t tensor_bytes = 0;
      const Gguf tensors = Gguf::open(path);
      for (const auto& [tensor, held] : tensors.tensors()) tensor_bytes += std::ssize(held.bytes);
      const MemoryBreakdown ledger = weight_ledger(file.spec(), file.format());
      const ModelWeights weights = load_gguf_weights(file, {}, pool);
      EXPECT_EQ(weights.memory().weights_bytes, ledger.weights_bytes) << name << " " << row.name;
      EXPECT_EQ(checkpoint.tensor_bytes(), tensor_bytes) << name << " " << row.name;
      if (vocab_size % kPanelRows == 0) {  // no rows of padding
        EXPECT_EQ(weights.memory().weights_bytes, tensor_bytes) << name << " " << row.name;
      }
      ++n_models;
    }
  }
  EXPECT_EQ(n_models, 12 + 1 + 1);
}

// As llama.cpp takes both.
TEST(GgufWeights, ARopeFactorWithoutATypeIsLinear) {
  for (const char* name : {"ok_factor_without_type.gguf", "ok_scale_linear.gguf"}) {
    const RopeScaling scaling = GgufModel::open(kCorpus / name).spec().rope_scaling;
    EXPECT_EQ(scaling.type, "linear") << name;
    EXPECT_EQ(scaling.factor, 4) << name;
  }
}

TEST(GgufWeights, Llama31sRopeScalingComesBack) {
  const TemporaryDirectory directory;
  const fs::path path = directory.path() / "a.gguf", model = directory.path() / "model";
  const fs::path source = source_dir() / "tests/golden/logits/llama3_sharded";
  copy_with_tokenizer(source, read_model_spec(source).vocab_size, model);
  EXPECT_THROW(GgufCheckpoint(model, gguf_file_type("f32")).write(path, {}), Error);  // of a context of 32
  std::string config = read_file(model / "config.json");
  const std::string small = "\"original_max_position_embeddings\": 32";
  ASSERT_NE(config.find(small), std::string::npos);
  config.replace(config.find(small), small.size(), "\"original_max_position_embeddings\": 8192");
  write_file_atomic(model / "config.json", config);
  const ModelSpec spec = read_model_spec(model);
  ASSERT_EQ(spec.rope_scaling.type, "llama3");
  const GgufCheckpoint checkpoint(model, gguf_file_type("f32"));
  checkpoint.write(path, {});
  const RopeScaling got = GgufModel::open(path).spec().rope_scaling;
  EXPECT_EQ(got.type, "llama3");
  EXPECT_EQ(got.factor, spec.rope_scaling.factor);
  EXPECT_EQ(got.original_max_position_embeddings, 8192);
}

// llama.cpp's converter: weights.reshape(n_heads, 2, head_dim / 2, in).swapaxes(1, 2), of q and k with their biases.
TEST(GgufWeights, LlamasRowsLieInPairsAndComeBack) {
  const TemporaryDirectory directory;
  const fs::path path = directory.path() / "a.gguf", model = directory.path() / "model";
  const ModelSpec spec = read_model_spec(source_dir() / "tests/golden/logits/llama_biases_fp32");
  copy_with_tokenizer(source_dir() / "tests/golden/logits/llama_biases_fp32", spec.vocab_size, model);
  GgufCheckpoint(model, gguf_file_type("f32")).write(path, {});
  const Checkpoint checkpoint = Checkpoint::open(model);
  const Gguf gguf = Gguf::open(path);
  const int64_t half = spec.head_dim / 2;
  for (const char* kind : {"q", "k", "v"}) {
    for (const char* suffix : {"weight", "bias"}) {
      const TensorView& ours = checkpoint.at(fmt::format("model.layers.1.self_attn.{}_proj.{}", kind, suffix));
      const GgufTensor& theirs = gguf.at(fmt::format("blk.1.attn_{}.{}", kind, suffix));
      const size_t row_bytes = ours.bytes.size() / static_cast<size_t>(ours.shape[0]);
      ASSERT_EQ(theirs.bytes.size(), ours.bytes.size());
      for (int64_t head = 0; head < ours.shape[0] / spec.head_dim; ++head)
        for (int64_t second = 0; second < 2; ++second)
          for (int64_t j = 0; j < half; ++j) {
            const int64_t from = head * spec.head_dim + second * half + j;
            const int64_t to = *kind == 'v' ? from : head * spec.head_dim + 2 * j + second;
            EXPECT_EQ(
                std::memcmp(ours.bytes.data() + from * row_bytes, theirs.bytes.data() + to * row_bytes, row_bytes), 0)
                << kind << " " << suffix << " row " << from;
          }
    }
  }
  ThreadPool pool(1);
  const GgufModel file = GgufModel::open(path);
  const ModelWeights got = load_gguf_weights(file, {}, pool),
                     want = load_weights(model, spec, format("fp32"), {}, pool);
  EXPECT_EQ(file.spec().rope_theta, spec.rope_theta);
  for (size_t layer = 0; layer < want.layers.size(); ++layer) {
    const LinearWeight &a = got.layers[layer].qkv, &b = want.layers[layer].qkv;
    EXPECT_EQ(a.bias, b.bias);
    ASSERT_EQ(a.packed.values.size(), b.packed.values.size());
    EXPECT_EQ(std::memcmp(a.packed.values.data(), b.packed.values.data(), static_cast<size_t>(a.packed.values.size())),
              0);
  }
}

}  // namespace
}  // namespace trimeter
