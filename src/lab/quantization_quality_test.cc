// What the algorithms are for: on the demo model, with the project's own calibration texts and passages, they keep the
// model's distribution better than nearest codes of the same grid.
#include <gtest/gtest.h>

#include <cstdio>
#include <map>
#include <string>

#include "lab/quality_of_formats.h"

namespace trimeter {
namespace {

// As the literature orders them: eight bits far better than four, and four bits that were chosen better than rounded.
TEST(QuantizationQuality, FormatsAreInTheLiteraturesOrder) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "minutes of calibration: a question of quality, not of memory";
#endif
  QualityOfFormats quality(source_dir() / "models/demo", 4);
  ASSERT_GT(quality.n_tokens(), 1000);
  std::map<std::string, double> kld;
  for (const char* name : {"w8a16", "int8", "fp8", "fp8-static", "gptq", "awq", "w4a16"}) {
    kld[name] = quality.mean_kld(format(name));
    std::printf("[ mean KLD ] %-10s %.6f\n", name, kld[name]);
    EXPECT_GT(kld[name], 0) << name;
  }
  // awq's grid has zero points, w4a16's and gptq's has none.
  kld["awq's nearest"] = quality.mean_kld(rtn_format(format("awq"), quality.subject().spec));
  std::printf("[ mean KLD ] %-10s %.6f (awq's grid, nearest codes)\n", "rtn", kld["awq's nearest"]);
  EXPECT_LT(kld["awq"], 0.8 * kld["awq's nearest"]);
  EXPECT_LT(kld["gptq"], 0.5 * kld["w4a16"]);
  for (const char* eight : {"w8a16", "int8", "fp8", "fp8-static"})
    for (const char* four : {"gptq", "awq"}) EXPECT_LT(kld[eight], 0.5 * kld[four]) << eight << ", " << four;
}

}  // namespace
}  // namespace trimeter
