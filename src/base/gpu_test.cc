#include "base/gpu.h"

#include <gtest/gtest.h>

namespace trimeter {
namespace {

TEST(Gpu, EitherDevicesOrTheReasonWhyNot) {
  const GpuProbe probe = probe_gpus();
  EXPECT_EQ(probe.devices.empty(), !probe.why_none.empty());
#ifndef TM_CUDA
  EXPECT_NE(probe.why_none.find("without CUDA"), std::string::npos);
#endif
  for (const GpuInfo& gpu : probe.devices) {
    EXPECT_FALSE(gpu.name.empty());
    EXPECT_GE(gpu.compute_capability, 50);
    EXPECT_GT(gpu.memory_bytes, int64_t{1} << 30);
  }
}

}  // namespace
}  // namespace trimeter
