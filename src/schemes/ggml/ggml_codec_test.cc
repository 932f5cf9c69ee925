// ggml's blocks against the gguf package and ggml itself (tests/golden/make_ggml_golden.py).
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "schemes/ggml/codec.h"
#include "tensor/numeric.h"

namespace trimeter {
namespace {

constexpr GgmlType kBlockTypes[] = {GgmlType::kQ8_0, GgmlType::kQ4_0, GgmlType::kQ4_1, GgmlType::kQ5_0,
                                    GgmlType::kQ5_1, GgmlType::kQ2_K, GgmlType::kQ3_K, GgmlType::kQ4_K,
                                    GgmlType::kQ5_K, GgmlType::kQ6_K};

template <class T>
std::vector<T> golden(const std::string& file) {
  const char* source = std::getenv("TRIMETER_SOURCE_DIR");
  std::ifstream in(std::filesystem::path(source == nullptr ? "." : source) / "tests/golden/ggml" / file,
                   std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(in), {}};
  EXPECT_FALSE(bytes.empty()) << file;
  std::vector<T> values(bytes.size() / sizeof(T));
  std::memcpy(values.data(), bytes.data(), values.size() * sizeof(T));
  return values;
}

std::string golden_name(GgmlType type) {  // "Q4_K"
  std::string text(name(type));
  text[0] = 'Q';
  return text;
}

int64_t n_values(GgmlType type, size_t n_bytes) {
  return static_cast<int64_t>(n_bytes) / info(type).block_bytes * info(type).block_elements;
}

class GgmlCodec : public testing::TestWithParam<GgmlType> {
 protected:
  const GgmlType type = GetParam();
  std::vector<float> dequantize(const std::vector<uint8_t>& blocks) const {
    std::vector<float> values(n_values(type, blocks.size()));
    dequantize_ggml(type, blocks.data(), static_cast<int64_t>(values.size()), values.data());
    return values;
  }
  std::vector<uint8_t> quantize(const std::vector<float>& values) const {
    const auto n = static_cast<int64_t>(values.size());
    std::vector<uint8_t> blocks(row_bytes(type, n));
    quantize_ggml(type, values.data(), n, blocks.data());
    return blocks;
  }
};

TEST_P(GgmlCodec, DequantizesAsTheGgufPackageBitForBit) {
  const auto want = golden<uint32_t>(golden_name(type) + ".f32");
  const std::vector<float> got = dequantize(golden<uint8_t>(golden_name(type) + ".blocks"));
  ASSERT_EQ(got.size(), 1024u);
  ASSERT_EQ(want.size(), got.size());
  for (size_t i = 0; i < got.size(); ++i)
    ASSERT_EQ(bits_from_float(got[i]), want[i]) << i << ": " << got[i] << ", wanted " << float_from_bits(want[i]);
}

TEST_P(GgmlCodec, QuantizesToTheSameBlocksAsGgml) {
  const auto want = golden<uint8_t>(golden_name(type) + ".quantized");
  const std::vector<uint8_t> got = quantize(golden<float>("input.f32"));
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i)
    ASSERT_EQ(got[i], want[i]) << "block " << i / info(type).block_bytes << " byte " << i % info(type).block_bytes;
}

INSTANTIATE_TEST_SUITE_P(Types, GgmlCodec, testing::ValuesIn(kBlockTypes),
                         [](const auto& test) { return golden_name(test.param); });

TEST(GgmlFloats, AreTheirOwnCodes) {
  const std::vector<float> values = {0.5f, -3.0f, 1.0f / 3, 65504.0f};
  for (const GgmlType type : {GgmlType::kF32, GgmlType::kF16, GgmlType::kBF16}) {
    std::vector<uint8_t> blocks(row_bytes(type, 4));
    quantize_ggml(type, values.data(), 4, blocks.data());
    std::vector<float> again(4);
    dequantize_ggml(type, blocks.data(), 4, again.data());
    for (int i = 0; i < 4; ++i) {
      const float want = type == GgmlType::kF32   ? values[i]
                         : type == GgmlType::kF16 ? f16_to_float(f16_from_float(values[i]))
                                                  : bf16_to_float(bf16_from_float(values[i]));
      EXPECT_EQ(again[i], want) << name(type);
    }
  }
}

}  // namespace
}  // namespace trimeter
