// What the algorithms are for: on the demo model, with the project's own calibration texts and passages, they keep the
// model's distribution better than nearest codes of the same grid.
#include <gtest/gtest.h>

#include "lab/quality_of_formats.h"

namespace trimeter {
namespace {

TEST(QuantizationQuality, FourBitsAreChosenBetterThanRounded) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "minutes of calibration: a question of quality, not of memory";
#endif
  QualityOfFormats quality(source_dir() / "models/demo", 4);
  ASSERT_GT(quality.n_tokens(), 1000);
  const auto mean_kld = [&](const char* algorithm) {
    Format int4 = format("awq");
    int4.algorithm = algorithm;
    return quality.mean_kld(int4);
  };
  const double rtn = mean_kld("rtn"), awq = mean_kld("awq"), gptq = mean_kld("gptq");
  EXPECT_GT(awq, 0);
  EXPECT_LT(awq, 0.8 * rtn) << awq << " and " << rtn;  // 0.64 over all passages (decision 0003)
  EXPECT_GT(gptq, 0);
  EXPECT_LT(gptq, 0.5 * rtn) << gptq << " and " << rtn;  // 0.34 over these
}

}  // namespace
}  // namespace trimeter
