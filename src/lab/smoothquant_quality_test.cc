// SmoothQuant's reason: a model with activation outliers, int8 with it and without.
#include <gtest/gtest.h>

#include <cstdio>

#include "io/temporary_directory.h"
#include "lab/planted_outliers.h"
#include "lab/quality_of_formats.h"

namespace trimeter {
namespace {

// Per-token scales must reach the outliers, 16 to 64 times the rest, whose codes are left with two or three of their
// eight bits; migration gives them back.
TEST(SmoothQuantQuality, BeatsPlainInt8OnPlantedOutliers) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "minutes of calibration: a question of quality, not of memory";
#endif
  const std::filesystem::path demo = source_dir() / "models/demo";
  const TemporaryDirectory planted;
  plant_outliers(demo, planted.path(), read_subject(demo).spec);
  QualityOfFormats plain(demo, 8), outliers(planted.path(), 8);
  EXPECT_EQ(plain.baseline(), outliers.baseline()) << "the function is not preserved";

  Format rtn = format("int8");
  rtn.algorithm = "rtn";
  const double without = plain.mean_kld(rtn), nearest = outliers.mean_kld(rtn);
  const double smoothed = outliers.mean_kld(format("int8"));
  EXPECT_GT(nearest, 4 * without) << "the outliers do no harm";
  EXPECT_LT(smoothed, nearest / 4) << smoothed << " and " << nearest;
  EXPECT_GT(smoothed, 0);
  std::printf("[ int8 mean KLD ] plain model %.6f, planted outliers %.6f, smoothed %.6f\n", without, nearest, smoothed);
}

}  // namespace
}  // namespace trimeter
