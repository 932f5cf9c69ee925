#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "schemes/kernel_test.h"
#include "tensor/numeric.h"

namespace trimeter {
namespace {

const Scheme& fp8() { return scheme("fp8_e4m3"); }

// Every code but the NaNs, each at several places of the packed form.
CanonicalWeight all_codes(int64_t n_rows = 128) {
  CanonicalWeight weight;
  weight.shape = {n_rows, 256};
  weight.scales = {1.0f};
  for (int64_t i = 0; i < n_rows; ++i)
    for (int64_t k = 0; k < 256; ++k) {
      const auto code = static_cast<uint8_t>(k + 37 * i);
      weight.codes.push_back((code & 0x7f) == 0x7f ? 0 : code);
    }
  return weight;
}

// An input of 448 is the code of 448 with scale 1, and every e4m3 times 448 is a float: exact, with scales that are
// powers of two.
TEST(Fp8E4M3, EveryCodeDecodesExactlyOnEveryIsa) {
  ThreadPool pool(1);
  for (const Scheme* scheme : all_schemes()) {
    if (!scheme->info().name.starts_with("fp8_e4m3")) continue;
    CanonicalWeight weight = all_codes(300);
    const bool per_row = scheme->info().name.starts_with("fp8_e4m3_channel"), per_block = scheme->info().group_size > 0;
    if (per_row || per_block) weight.scales.clear();
    for (int i = 0; i < (per_row ? 300 : per_block ? 3 * 2 : 0); ++i)
      weight.scales.push_back(std::ldexp(1.0f, i * 5 % 17 - 8));
    if (scheme->info().static_input) weight.input_scale = 1;
    const PackedWeight packed = scheme->pack(weight, pool);
    for (const Isa isa : runnable_isas()) {
      const std::vector<float> y = multiply_all(*scheme, packed, diagonal(256, 448), 256, isa);
      for (int64_t k = 0; k < 256; ++k)
        for (int64_t i = 0; i < 300; ++i) {
          const float scale = weight.scales[per_row ? i : per_block ? i / 128 * 2 + k / 128 : 0];
          ASSERT_EQ(y[k * 300 + i], e4m3_to_float(weight.codes[i * 256 + k]) * scale * 448)
              << scheme->info().name << " " << name(isa) << " row " << i << " k " << k;
        }
    }
  }
}

// Codes of x * (1 / s), clamped; a tie goes to even.
TEST(Fp8E4M3, StaticInputsHaveTheWeightsScaleOnEveryIsa) {
  CanonicalWeight weight;
  weight.shape = {1, 2};
  weight.scales = {1.0f};
  weight.codes = {e4m3_from_float(1.0f), 0};
  weight.input_scale = 0.3f;
  const Scheme& scheme = trimeter::scheme("fp8_e4m3_static");
  ThreadPool pool(1);
  const PackedWeight packed = scheme.pack(weight, pool);
  const std::vector<float> inputs = {0.1f, 1e-4f, 5.1f, -0.7f, 500.0f, -500.0f, 134.4f, 0.0f, 0.3f * 17, 0.3f * 27};
  std::vector<float> x;
  for (const float value : inputs) x.insert(x.end(), {value, 1e6f});  // what is beside it doesn't matter
  for (const Isa isa : runnable_isas()) {
    const std::vector<float> y = multiply_all(scheme, packed, x, std::ssize(inputs), isa);
    for (size_t i = 0; i < inputs.size(); ++i)
      ASSERT_EQ(y[i], e4m3_to_float(e4m3_from_float(inputs[i] * (1 / 0.3f))) * 0.3f) << name(isa) << " " << inputs[i];
  }
  for (const float bad :
       {0.0f, -1.0f, std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    CanonicalWeight refused = weight;
    refused.input_scale = bad;
    EXPECT_THROW(scheme.pack(refused, pool), Error) << bad;
  }
  weight.scales[0] = std::numeric_limits<float>::infinity();
  EXPECT_THROW(scheme.pack(weight, pool), Error);
}

// A large value is felt by its own group alone.
TEST(Fp8E4M3, GroupsOfATokenHaveScalesOfTheirOwnOnEveryIsa) {
  CanonicalWeight weight;
  weight.shape = {2, 256};
  weight.scales = {1.0f, 1.0f};
  weight.codes.resize(2 * 256);
  weight.codes[0] = weight.codes[256 + 128] = e4m3_from_float(1.0f);  // row 0 reads x[0], row 1 x[128]
  const Scheme& scheme = trimeter::scheme("fp8_e4m3_block128");
  ThreadPool pool(1);
  const PackedWeight packed = scheme.pack(weight, pool);
  std::vector<float> x(256);
  x[0] = 1e-9f;
  x[1] = 3.7e-9f;
  x[128] = 17.3f;
  x[255] = -4000.0f;
  const auto rounded = [](float value, float amax) {
    const float scale = amax / 448;
    return e4m3_to_float(e4m3_from_float(value / scale)) * scale;
  };
  for (const Isa isa : runnable_isas()) {
    const std::vector<float> y = multiply_all(scheme, packed, x, 1, isa);
    EXPECT_EQ(y[0], rounded(1e-9f, 3.7e-9f)) << name(isa);
    EXPECT_EQ(y[1], rounded(17.3f, 4000)) << name(isa);
  }
}

TEST(Fp8E4M3, ScalesOfRowsAndBlocksAreThoseOfTheirLargest) {
  std::vector<float> values(200 * 256, 0.25f);
  values[3 * 256 + 200] = -2.0f;   // row 3, block (0, 1)
  values[150 * 256 + 100] = 4.0f;  // row 150, block (1, 0)
  const DenseRows part{reinterpret_cast<const std::byte*>(values.data()), DType::kF32, 200};
  EXPECT_EQ(scheme("fp8_e4m3_block128").quantize_rtn({&part, 1}, {200, 256}).scales,
            (std::vector<float>{0.25f / 448, 2.0f / 448, 4.0f / 448, 0.25f / 448}));
  const CanonicalWeight rows = scheme("fp8_e4m3_channel").quantize_rtn({&part, 1}, {200, 256});
  ASSERT_EQ(rows.scales.size(), 200u);
  EXPECT_EQ(rows.scales[2], 0.25f / 448);
  EXPECT_EQ(rows.scales[3], 2.0f / 448);
  EXPECT_EQ(rows.scales[150], 4.0f / 448);
  EXPECT_EQ(scheme("fp8_e4m3_channel").bytes({200, 256}).scales, 208 * 4);
  EXPECT_EQ(scheme("fp8_e4m3_block128").bytes({200, 256}).scales, 4 * 4);
  EXPECT_NE(scheme("fp8_e4m3_block128").refuses({128, 192}).find("multiple of the group size 128"), std::string::npos);
}

// Likewise for the codes of the input, at half steps too, where rounding goes to even.
TEST(Fp8E4M3, InputsAreRoundedAsTheScalarFormulaOnEveryIsa) {
  std::vector<float> x;
  for (int code = 0; code < 0x7f; ++code) {
    const float a = e4m3_to_float(static_cast<uint8_t>(code)), b = e4m3_to_float(static_cast<uint8_t>(code + 1));
    for (const float value : {a, code < 0x7e ? (a + b) / 2 : a, std::nextafter(a, 1000.0f)}) {
      x.push_back(std::min(value, 448.0f));
      x.push_back(-x.back());
    }
  }
  const int64_t n = static_cast<int64_t>(x.size());
  CanonicalWeight weight;
  weight.shape = {1, 2};
  weight.scales = {1.0f};
  weight.codes = {e4m3_from_float(1.0f), 0};
  ThreadPool pool(1);
  const PackedWeight packed = fp8().pack(weight, pool);
  std::vector<float> inputs;
  for (const float value : x) inputs.insert(inputs.end(), {value, 448.0f});  // 448 makes the token's scale 1
  for (const Isa isa : runnable_isas()) {
    const std::vector<float> y = multiply_all(fp8(), packed, inputs, n, isa);
    for (int64_t i = 0; i < n; ++i) ASSERT_EQ(y[i], e4m3_to_float(e4m3_from_float(x[i]))) << name(isa) << " " << x[i];
  }
}

TEST(Fp8E4M3, OneScaleOverAllParts) {
  const std::vector<float> small(128, 0.5f), large(128, -3.5f);
  const auto part = [](const std::vector<float>& v) {
    return DenseRows{reinterpret_cast<const std::byte*>(v.data()), DType::kF32, 1};
  };
  const DenseRows parts[] = {part(small), part(large)};
  const CanonicalWeight weight = fp8().quantize_rtn(parts, {2, 128});
  ASSERT_EQ(weight.scales, std::vector<float>{3.5f / 448});
  EXPECT_EQ(e4m3_to_float(weight.codes[0]), 64);
  EXPECT_EQ(e4m3_to_float(weight.codes[128]), -448);
}

// The scale may move by an ulp, since amax = 448 * scale was rounded; the codes may not.
TEST(Fp8E4M3, QuantizingWhatWasDequantizedGivesTheSameCodes) {
  CanonicalWeight weight = all_codes();
  weight.scales = {0.0123f};
  const std::vector<float> values = fp8().dequantize(weight);
  const DenseRows part{reinterpret_cast<const std::byte*>(values.data()), DType::kF32, weight.shape.out};
  const CanonicalWeight again = fp8().quantize_rtn({&part, 1}, weight.shape);
  EXPECT_EQ(again.codes, weight.codes);
  EXPECT_NEAR(again.scales[0], weight.scales[0], weight.scales[0] * 0x1p-23);
}

const nlohmann::json& golden_file() {
  static const nlohmann::json parsed = [] {
    const char* root = std::getenv("TRIMETER_SOURCE_DIR");
    std::ifstream file(std::string(root ? root : ".") + "/tests/golden/fp8/online.json");
    return nlohmann::json::parse(file);
  }();
  return parsed;
}

// tests/golden/make_fp8_golden.py: values at which a quotient and a product with a reciprocal round to different codes.
TEST(Fp8E4M3, WeightsAreThoseOfVllmsOperatorInTorch) {
  for (const nlohmann::json& golden : golden_file().at("weights")) {
    const std::vector<uint16_t> values = golden["weight_bf16"];
    DenseRows parts[] = {{reinterpret_cast<const std::byte*>(values.data()), DType::kBF16, 2},
                         {reinterpret_cast<const std::byte*>(&values[2 * 128]), DType::kBF16, 4}};
    const CanonicalWeight weight = fp8().quantize_rtn(parts, {6, 128});
    EXPECT_EQ(weight.scales, std::vector<float>{golden["scale"].get<float>()});
    EXPECT_EQ(weight.codes, golden["codes"].get<std::vector<uint8_t>>());
  }
}

// A weight of ones at k alone shows code times scale.
TEST(Fp8E4M3, ActivationsAreThoseOfVllmsOperatorInTorchOnEveryIsa) {
  CanonicalWeight identity;
  identity.shape = {128, 128};
  identity.scales = {1.0f};
  identity.codes.resize(128 * 128);
  for (size_t k = 0; k < 128; ++k) identity.codes[k * 129] = e4m3_from_float(1.0f);
  ThreadPool pool(1);
  const PackedWeight packed = fp8().pack(identity, pool);
  for (const nlohmann::json& golden : golden_file().at("tokens")) {
    std::vector<float> x;
    for (const int32_t bits : golden["x_f32"]) x.push_back(std::bit_cast<float>(bits));
    const std::vector<uint8_t> codes = golden["codes"];
    const auto scale = golden["scale"].get<float>();
    for (const Isa isa : runnable_isas()) {
      const std::vector<float> y = multiply_all(fp8(), packed, x, 1, isa);
      for (size_t k = 0; k < 128; ++k)
        ASSERT_EQ(y[k], e4m3_to_float(codes[k]) * scale) << name(isa) << " " << x[k] << " of scale " << scale;
    }
  }
}

// Rounding to 4 significant bits: at most 2^-4 of the value, or half the subnormal step; and some value is far off.
TEST(Fp8E4M3, QuantizationErrorIsBoundedFromBothSides) {
  std::vector<float> values;
  for (int i = 0; i < 1024; ++i) values.push_back(std::sin(static_cast<float>(i) * 0.7f) * 0.02f);
  const DenseRows part{reinterpret_cast<const std::byte*>(values.data()), DType::kF32, 8};
  const CanonicalWeight weight = fp8().quantize_rtn({&part, 1}, {8, 128});
  const std::vector<float> decoded = fp8().dequantize(weight);
  double worst = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    const double error = std::fabs(double{decoded[i]} - values[i]);
    ASSERT_LE(error, std::max(std::fabs(values[i]) * 0x1.01p-4, double{weight.scales[0]} * 0x1p-10));
    worst = std::max(worst, error / std::fabs(values[i]));
  }
  EXPECT_GT(worst, 0.04);
}

TEST(Fp8E4M3, ZeroWeightsAndZeroInputsAreZero) {
  const std::vector<float> zeros(256);
  const DenseRows part{reinterpret_cast<const std::byte*>(zeros.data()), DType::kF32, 2};
  const CanonicalWeight weight = fp8().quantize_rtn({&part, 1}, {2, 128});
  EXPECT_GT(weight.scales[0], 0);
  EXPECT_EQ(fp8().dequantize(weight), zeros);
}

TEST(Fp8E4M3, RefusesWhatIsNotFinite) {
  std::vector<float> values(128, 1.0f);
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    values[77] = bad;
    const DenseRows part{reinterpret_cast<const std::byte*>(values.data()), DType::kF32, 1};
    EXPECT_THROW(fp8().quantize_rtn({&part, 1}, {1, 128}), Error);
  }
  ThreadPool pool(1);
  CanonicalWeight weight = all_codes();
  weight.codes[300] = 0xff;
  EXPECT_THROW(fp8().pack(weight, pool), Error);
}

}  // namespace
}  // namespace trimeter
