#include "cost/hardware.h"

#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace trimeter {
namespace {

constexpr int64_t kMiB = int64_t{1} << 20;

HardwareProfile sample_profile() {
  HardwareProfile profile;
  profile.name = "a machine";
  profile.isa = "avx2";
  profile.measured_at = "2026-11-23T15:00:00Z";
  profile.build = "0.1.0";
  profile.threads = 2;
  profile.n_multiprocessors = 3;
  profile.memory_bytes = 4096 * kMiB;
  profile.l2_bytes = kMiB;
  profile.l3_bytes = 32 * kMiB;
  profile.read_bandwidth = {{4 * kMiB, 1, 40e9}, {64 * kMiB, 1, 10e9}, {4 * kMiB, 2, 80e9}, {64 * kMiB, 2, 20e9}};
  profile.rates = {{"bf16", 2e11}, {"fp32", 1e11}};
  profile.kernels = {{"bf16", "avx2", 1, 1e-10, 2e-9, 3e-10, 1}, {"bf16", "avx2", 5, 3e-10, 6e-9, 3e-10, 0.5}};
  profile.attention_seconds_per_call = 1e-7;
  profile.attention_seconds_per_kv_element = {{"BF16", 2e-10}};
  profile.attention_seconds_per_query_element = 3e-10;
  profile.elementwise_seconds_per_byte = {{"norm", 1e-11}};
  profile.sampling_seconds_per_logit = 1e-9;
  profile.barrier_s = 1e-6;
  profile.step_overhead_s = 2e-6;
  profile.layer_overhead_s = 3e-6;
  return profile;
}

TEST(Hardware, BandwidthIsLogLogOverTheWorkingSet) {
  const HardwareProfile profile = sample_profile();
  EXPECT_NEAR(profile.read_bandwidth_bytes_per_s(1, 4 * kMiB), 40e9, 1);
  // 16 MiB is half way from 4 to 64 on a log scale, and 20e9 half way from 40e9 to 10e9.
  EXPECT_NEAR(profile.read_bandwidth_bytes_per_s(1, 16 * kMiB), 20e9, 1);
  EXPECT_NEAR(profile.read_bandwidth_bytes_per_s(1, kMiB), 40e9, 1);
  EXPECT_NEAR(profile.read_bandwidth_bytes_per_s(1, 1024 * kMiB), 10e9, 1);
}

TEST(Hardware, BandwidthIsLinearOverThreadsAndFlatBeyondWhatWasMeasured) {
  HardwareProfile profile = sample_profile();
  EXPECT_NEAR(profile.read_bandwidth_bytes_per_s(2, 64 * kMiB), 20e9, 1);
  EXPECT_NEAR(profile.read_bandwidth_bytes_per_s(8, 64 * kMiB), 20e9, 1);
  profile.read_bandwidth.push_back({64 * kMiB, 4, 30e9});
  EXPECT_NEAR(profile.read_bandwidth_bytes_per_s(3, 64 * kMiB), 25e9, 1);
}

TEST(Hardware, ACardsLayersHaveAnOverheadByRows) {
  HardwareProfile profile = sample_profile();
  EXPECT_EQ(profile.layer_overhead_s_of(64), 3e-6);
  EXPECT_EQ(profile.step_overhead_s_of(64), 2e-6);
  profile.kind = "cuda";
  profile.layer_overheads = {{16, 2e-5}, {1, 1e-5}};
  profile.launched_layer_s = 4e-5;
  profile.launched_layers["fp8_e4m3"] = 6e-5;
  profile.step_overheads = {{1, 2e-5}, {256, 2e-4}};
  profile.layer_times = {{"fp8_e4m3", 1024, 4096, 16, 4, 64, 1, 128, {{1, 1e-5}, {16, 2e-5}}},
                         {"fp8_e4m3", 1024, 4096, 16, 4, 64, 32, 0, {{512, 9e-5}}}};
  profile.head_times = {{"bf16", 256, 4096, {{64, 3e-5}}}};
  const HardwareProfile back = hardware_profile_from_json(to_json(profile), "file");
  EXPECT_EQ(to_json(back), to_json(profile));
  ASSERT_EQ(back.layer_times.size(), 2u);
  EXPECT_EQ(back.layer_times[0].times[1].seconds, 2e-5);
  EXPECT_EQ(back.layer_times[1].n_new, 32);
  EXPECT_EQ(back.head_times.at(0).vocab_size, 4096);
  EXPECT_DOUBLE_EQ(back.step_overhead_s_of(1), 2e-5);
  EXPECT_DOUBLE_EQ(back.step_overhead_s_of(500), 2e-4);
  EXPECT_DOUBLE_EQ(back.layer_overhead_s_of(1), 1e-5);
  EXPECT_DOUBLE_EQ(back.layer_overhead_s_of(4), 1.2e-5);
  EXPECT_DOUBLE_EQ(back.layer_overhead_s_of(100), 2e-5);
  EXPECT_DOUBLE_EQ(back.launched_layer_s, 4e-5);
  EXPECT_EQ(back.launched_layers, profile.launched_layers);
}

TEST(Hardware, KernelRatesInterpolateAndGrowBeyondTheLast) {
  const HardwareProfile profile = sample_profile();
  const auto middle = profile.kernel_rate("bf16", "avx2", 3);
  EXPECT_TRUE(middle.found);
  EXPECT_DOUBLE_EQ(middle.seconds_per_weight, 2e-10);
  EXPECT_DOUBLE_EQ(middle.seconds_per_output, 4e-9);
  EXPECT_DOUBLE_EQ(middle.overlap, 0.75);
  EXPECT_DOUBLE_EQ(profile.kernel_rate("bf16", "avx2", 10).seconds_per_weight, 6e-10);
  EXPECT_DOUBLE_EQ(profile.kernel_rate("bf16", "avx2", 10).seconds_per_input, 3e-10);
  EXPECT_DOUBLE_EQ(profile.kernel_rate("bf16", "avx2", 10).overlap, 0.5);
  EXPECT_FALSE(profile.kernel_rate("bf16", "avx512", 1).found);
  EXPECT_FALSE(profile.kernel_rate("fp8_e4m3", "avx2", 1).found);
}

TEST(Hardware, JsonKeepsEveryField) {
  const std::string text = to_json(sample_profile());
  EXPECT_EQ(to_json(hardware_profile_from_json(text, "p.json")), text);
  // A field that neither direction knows would pass the line above: count what the document holds.
  const auto document = nlohmann::json::parse(text);
  EXPECT_EQ(document.size(), 23u);
  EXPECT_EQ(document["read_bandwidth"].size(), 4u);
  EXPECT_EQ(document["kernels"][1]["seconds_per_output"], 6e-9);
  EXPECT_EQ(document["kernels"][1]["overlap"], 0.5);
  EXPECT_EQ(hardware_profile_from_json(text, "p.json").barrier_s, 1e-6);
}

TEST(Hardware, MalformedFilesAreNamedWithFieldWantedAndGot) {
  const auto message_of = [](const std::string& text) {
    try {
      hardware_profile_from_json(text, "p.json");
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Errc::kBadFile);
      return std::string(error.what());
    }
    return std::string("no error");
  };
  const auto broken = [&](const std::function<void(nlohmann::json&)>& change) {
    nlohmann::json document = nlohmann::json::parse(to_json(sample_profile()));
    change(document);
    return message_of(document.dump());
  };
  using nlohmann::json;
  EXPECT_NE(message_of("{\"schema\": 1").find("p.json: hardware profile: wanted JSON"), std::string::npos);
  EXPECT_EQ(message_of("[]"), "p.json: hardware profile: the file: wanted an object, got []");
  EXPECT_EQ(broken([](json& d) { d["schema"] = 7; }), "p.json: hardware profile: schema: wanted 1, got 7");
  EXPECT_EQ(broken([](json& d) { d.erase("barrier_s"); }),
            "p.json: hardware profile: barrier_s: wanted a value, got no such field");
  EXPECT_EQ(broken([](json& d) { d["threads"] = 0; }),
            "p.json: hardware profile: threads: wanted an integer of at least 1, got 0");
  EXPECT_EQ(broken([](json& d) { d["read_bandwidth"][2]["bytes_per_s"] = 0; }),
            "p.json: hardware profile: read_bandwidth[2].bytes_per_s: wanted a number above 0, got 0");
  EXPECT_EQ(broken([](json& d) { d["read_bandwidth"] = json::array(); }),
            "p.json: hardware profile: read_bandwidth: wanted an array of at least 1 entries, got []");
  EXPECT_EQ(broken([](json& d) { d["rates"]["bf16"] = "fast"; }),
            "p.json: hardware profile: rates.bf16: wanted a number above 0, got \"fast\"");
  EXPECT_EQ(broken([](json& d) { d["kernels"][0]["n_tokens"] = 1.5; }),
            "p.json: hardware profile: kernels[0].n_tokens: wanted an integer of at least 1, got 1.5");
  const json layer = {{"scheme", "bf16"}, {"hidden_size", 64}, {"intermediate_size", 64},
                      {"n_heads", 6},     {"n_kv_heads", 4},   {"head_dim", 64},
                      {"n_new", 1},       {"n_context", 0},    {"times", {{{"n_rows", 1}, {"seconds", 1e-6}}}}};
  EXPECT_EQ(broken([&](json& d) { d["layer_times"] = {layer}; }),
            "p.json: hardware profile: layer_times[0].n_heads: wanted a multiple of n_kv_heads, 4, got 6");
  EXPECT_EQ(broken([&](json& d) {
              d["layer_times"] = {layer};
              d["layer_times"][0]["n_heads"] = 4;
              d["layer_times"][0]["n_new"] = 2;
            }),
            "p.json: hardware profile: layer_times[0].times: wanted rows in multiples of n_new, 2, got 1");
  EXPECT_EQ(broken([](json& d) { d["kind"] = "tpu"; }),
            "p.json: hardware profile: kind: wanted \"cpu\" or \"cuda\", got \"tpu\"");
}

}  // namespace
}  // namespace trimeter
