#include "base/cuda/cuda.h"

#include <gtest/gtest.h>

#include <cstring>

#include "base/cuda/needs_gpu.h"
#include "base/error.h"

namespace trimeter::cuda {
namespace {

TEST(Cuda, AFailedCallSaysWhichAndWhere) {
  try {
    TM_CUDA_CHECK(cudaErrorInvalidValue);
    FAIL() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::kIo);
    const std::string what = error.what();
    for (const char* part : {"cudaErrorInvalidValue", "cuda_test.cc", "CUDA device"})
      EXPECT_NE(what.find(part), std::string::npos) << what;
  }
}

TEST(Cuda, BuffersAreCounted) {
  TM_NEEDS_GPU();
  const int64_t before = device_bytes().now;
  {
    DeviceBuffer a(1000, "a"), b(24, "b"), empty(0, "none");
    EXPECT_EQ(device_bytes().now, before + 1024);
    b = DeviceBuffer();
    EXPECT_EQ(device_bytes().now, before + 1000);
    EXPECT_EQ(empty.data(), nullptr);
  }
  EXPECT_EQ(device_bytes().now, before);
  EXPECT_GE(device_bytes().peak, before + 1024);
}

TEST(Cuda, AnArenaIsCountedAsFarAsItIsTaken) {
  TM_NEEDS_GPU();
  const int64_t before = device_bytes().now;
  {
    DeviceArena arena(1024, "arena");
    EXPECT_EQ(device_bytes().now, before);
    const DeviceBuffer a = arena.take(300, "a"), b = arena.take(512, "b"), beyond = arena.take(4, "beyond");
    EXPECT_EQ(device_bytes().now, before + 816);
    EXPECT_EQ(b.data() - a.data(), 512);
    EXPECT_EQ(b.size(), 512);
    EXPECT_NE(beyond.data(), nullptr);
    EXPECT_EQ(arena.take(0, "none").data(), nullptr);
  }
  EXPECT_EQ(device_bytes().now, before);
}

TEST(Cuda, MoreThanTheCardHasIsAnErrorAndNothingElse) {
  TM_NEEDS_GPU();
  const int64_t total = device_memory().total_bytes;
  EXPECT_THROW(DeviceBuffer(2 * total, "all of it twice"), Error);
  EXPECT_EQ(DeviceBuffer(16, "a little").size(), 16);
  EXPECT_EQ(cudaGetLastError(), cudaSuccess);
}

TEST(Cuda, AGraphRunsWhatWasRecorded) {
  TM_NEEDS_GPU();
  const Stream stream;
  const DeviceBuffer device(4, "device");
  PinnedBuffer host(4, "host");
  Graph graph;
  EXPECT_TRUE(graph.empty());
  graph.capture(stream, [&] {
    TM_CUDA_CHECK(cudaMemsetAsync(device.data(), 7, 4, stream.get()));
    TM_CUDA_CHECK(cudaMemcpyAsync(host.data(), device.data(), 4, cudaMemcpyDeviceToHost, stream.get()));
  });
  std::memset(host.data(), 0, 4);
  const Event begin, end;
  begin.record(stream);
  graph.launch(stream);
  end.record(stream);
  stream.synchronize();
  EXPECT_EQ(*host.as<uint32_t>(), 0x07070707u);
  EXPECT_GT(end.seconds_since(begin), 0);
}

}  // namespace
}  // namespace trimeter::cuda
