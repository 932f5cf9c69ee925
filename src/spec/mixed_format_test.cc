#include "spec/mixed_format.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "spec/ledger.h"

namespace trimeter {
namespace {

ModelSpec two_layers() {
  HfConfig config;
  config.path = "config.json";
  config.architecture = "Qwen2ForCausalLM";
  config.dtype = DType::kF16;
  config.vocab_size = 64;
  config.hidden_size = config.intermediate_size = 128;
  config.n_layers = 2;
  config.n_heads = 2;
  config.max_position_embeddings = 64;
  config.tie_word_embeddings = true;
  return make_model_spec(config);
}

std::vector<std::string> kept(const std::string& pattern) {
  const ModelSpec spec = two_layers();
  const std::string patterns[] = {pattern};
  const Format mixed = keep_16bit(spec, format("awq"), patterns);
  std::vector<std::string> modules;
  for (const LinearSpec& linear : spec.linears())
    if (&linear_scheme(spec, mixed, linear) == &scheme("fp16")) modules.push_back(module_name(linear));
  return modules;
}

TEST(MixedFormat, PatternsNameModulesAndTheirParts) {
  using Names = std::vector<std::string>;
  EXPECT_EQ(kept("model.layers.1.mlp.down_proj"), Names{"model.layers.1.mlp.down_proj"});
  EXPECT_EQ(kept("*.o_proj"), (Names{"model.layers.0.self_attn.o_proj", "model.layers.1.self_attn.o_proj"}));
  EXPECT_EQ(kept("model.layers.0.self_attn.k_proj"), Names{"model.layers.0.self_attn.qkv_proj"});
  EXPECT_EQ(kept("model.layers.?.*gate*"),
            (Names{"model.layers.0.mlp.gate_up_proj", "model.layers.1.mlp.gate_up_proj"}));
  EXPECT_EQ(kept("*layers.1.*").size(), 4u);
  EXPECT_EQ(kept("*").size(), 8u);
}

TEST(MixedFormat, APatternThatMatchesNothingIsRefused) {
  for (const char* pattern :
       {"down_proj", "model.layers.2.*", "*.o_proj.weight", "", "*gate_up", "model.layers.1?.*"}) {
    try {
      kept(pattern);
      ADD_FAILURE() << pattern;
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), Errc::kBadArgument);
      EXPECT_EQ(std::string(e.what()), "keep in 16 bits '" + std::string(pattern) +
                                           "': no decoder linear has such a name; the first one is "
                                           "'model.layers.0.self_attn.qkv_proj'");
    }
  }
}

TEST(MixedFormat, TheLedgerCountsWhatIsKept) {
  const ModelSpec spec = two_layers();
  const std::string patterns[] = {"model.layers.0.mlp.down_proj", "*.q_proj"};
  const Format plain = format("awq");
  const int64_t before = weight_ledger(spec, plain).linear_bytes;
  const int64_t after = weight_ledger(spec, keep_16bit(spec, plain, patterns)).linear_bytes;
  const auto grows = [&](MatShape shape) {
    return scheme("fp16").bytes(shape).total() - scheme(plain.scheme).bytes(shape).total();
  };
  EXPECT_EQ(after - before, grows({128, 128}) + 2 * grows({384, 128}));
}

}  // namespace
}  // namespace trimeter
