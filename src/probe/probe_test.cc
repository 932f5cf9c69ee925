#include "probe/probe.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "base/cpu.h"
#include "base/thread_pool.h"
#include "probe/best_of.h"
#include "probe/build_id.h"
#include "probe/machine_speed.h"
#include "probe/micro_table.h"
#include "probe/parts.h"
#include "schemes/scheme.h"

namespace trimeter {
namespace {

TEST(Micro, ReadSeesEveryByte) {
  const MicroTable* tables[] = {&scalar::micro, &avx2::micro, &avx512::micro, &avx512_bf16::micro};
  for (const Isa isa : runnable_isas()) {
    std::vector<char> data(2048, 0);
    const auto read = tables[static_cast<size_t>(isa)]->read;
    EXPECT_EQ(read(data.data(), 2048), 0u);
    for (size_t at = 0; at < data.size(); ++at) {
      data[at] = 1;
      EXPECT_NE(read(data.data(), 2048), 0u) << name(isa) << " byte " << at;
      data[at] = 0;
    }
    data[1600] = 1;
    EXPECT_EQ(read(data.data(), 1536), 0u) << "beyond the end";
  }
}

TEST(Probe, DotRatesAreThoseThatTheIsaHas) {
  ThreadPool team(1);
  for (const Isa isa : runnable_isas()) {
    HardwareProfile profile;
    measure_dot_rates(profile, team, isa);
    EXPECT_GT(profile.rates.at("fp32"), 0);
    EXPECT_EQ(profile.rates.count("int8"), isa == Isa::kAvx2 || isa == Isa::kAvx512Bf16 ? 1u : 0u);
    EXPECT_EQ(profile.rates.count("bf16"), isa == Isa::kAvx512Bf16 ? 1u : 0u);
  }
}

TEST(Probe, KernelRatesCoverTheTokenCountsAndGrowWithThem) {
  ThreadPool team(1);
  HardwareProfile profile;
  profile.read_bandwidth = {{1 << 20, 1, 1e10}};
  measure_scheme(profile, team, "bf16", active_isa());
  const auto seconds = [&](int64_t n_tokens) {
    const auto rate = profile.kernel_rate("bf16", name(active_isa()), n_tokens);
    EXPECT_TRUE(rate.found);
    return rate.seconds_per_weight + rate.seconds_per_output / 256;
  };
  EXPECT_GT(seconds(1), 0);
  EXPECT_GT(seconds(128), seconds(16));  // eight times the work
  for (const KernelRate& rate : profile.kernels) {
    EXPECT_GT(rate.seconds_per_weight, 0);
    EXPECT_GE(rate.seconds_per_output, 0);
    EXPECT_GE(rate.overlap, 0);
    EXPECT_LE(rate.overlap, 1);
  }
}

TEST(Probe, AMeasurementIsWhole) {
  int n_reports = 0;
  const std::vector<std::string> schemes = {"bf16", "int4_g128_zp"};
  const HardwareProfile profile = measure_hardware(1, schemes, [&](const std::string&, int done, int total) {
    EXPECT_LE(done, total);
    ++n_reports;
  });
  EXPECT_EQ(n_reports, 3 * (5 + std::ssize(schemes)) + 1);
  EXPECT_EQ(to_json(hardware_profile_from_json(to_json(profile), "p.json")), to_json(profile));
  for (const std::string& scheme : schemes) EXPECT_TRUE(profile.kernel_rate(scheme, profile.isa, 16).found) << scheme;
  for (const char* dtype : {"BF16", "F16", "F32", "F8_E4M3", "I8"})
    EXPECT_GT(profile.attention_seconds_per_kv_element.at(dtype) + profile.attention_seconds_per_query_element, 0);
  // What the ledger itemises has a rate of its own.
  for (const char* op : {"embed", "rms_norm", "rope", "kv_write", "silu_mul"})
    EXPECT_GT(profile.elementwise_seconds_per_byte.at(op), 0) << op;
  EXPECT_GT(profile.sampling_seconds_per_logit, 0);
}

class ProbeCache : public testing::Test {
 protected:
  void SetUp() override {
    directory_ = std::filesystem::temp_directory_path() / fmt::format("trimeter_probe_test_{}", getpid());
    std::filesystem::create_directories(directory_);
    setenv("XDG_CACHE_HOME", directory_.c_str(), 1);
    machine_.name = cpu_info().model;
    machine_.isa = name(active_isa());
    machine_.build = build_id();
    machine_.read_bandwidth = {{1 << 20, 1, 1e9}};
  }
  void TearDown() override {
    unsetenv("XDG_CACHE_HOME");
    std::filesystem::remove_all(directory_);
  }
  std::string load(const std::filesystem::path& path, int n_threads = 1) {
    return to_json(load_or_measure(path, n_threads, wanted_, [&](const std::vector<std::string>& schemes) {
      ++n_measured_;
      machine_.kernels.clear();
      for (const std::string& scheme : schemes)
        machine_.kernels.push_back({.scheme = scheme, .isa = machine_.isa, .seconds_per_weight = 1e-9});
      return machine_;
    }));
  }

  std::filesystem::path directory_;
  HardwareProfile machine_;
  std::vector<std::string> wanted_ = {"bf16"};
  int n_measured_ = 0;
};

TEST_F(ProbeCache, LiesInTheUsersCacheByMachineAndThreads) {
  EXPECT_EQ(hardware_cache_path(1).parent_path(), directory_ / "trimeter");
  EXPECT_NE(hardware_cache_path(1), hardware_cache_path(2));
  EXPECT_EQ(hardware_cache_path(0), hardware_cache_path(cpu_info().n_cpus));
}

TEST_F(ProbeCache, AMachineIsMeasuredOnce) {
  const auto path = hardware_cache_path(1);
  const std::string measured = load(path);
  EXPECT_EQ(to_json(read_hardware_profile(path)), measured);
  EXPECT_EQ(load(path), measured);
  EXPECT_EQ(n_measured_, 1);
}

TEST_F(ProbeCache, ASchemeThatIsLackingIsMeasuredWithThoseThatWereThere) {
  const auto path = directory_ / "profile.json";
  load(path);
  wanted_ = {"fp32"};
  load(path);
  EXPECT_EQ(n_measured_, 2);
  wanted_ = {"bf16", "fp32"};
  load(path);
  EXPECT_EQ(n_measured_, 2);
}

TEST(BestOf, EachFigureIsTheBestOfItsPasses) {
  HardwareProfile a, b;
  a.read_bandwidth = {{1 << 20, 1, 2e9}, {1 << 24, 1, 1e9}};
  b.read_bandwidth = {{1 << 20, 1, 1e9}, {1 << 24, 1, 3e9}};
  a.rates = {{"fp32", 5}};
  b.rates = {{"fp32", 6}};
  a.kernels = {{.scheme = "x", .isa = "i", .seconds_per_weight = 2, .seconds_per_input = 1}};
  b.kernels = {{.scheme = "x", .isa = "i", .seconds_per_weight = 1, .seconds_per_input = 2}};
  a.elementwise_seconds_per_byte = {{"rope", 3}};
  b.elementwise_seconds_per_byte = {{"rope", 4}};
  a.attention_seconds_per_call = 1;
  b.attention_seconds_per_call = 2;
  a.sampling_seconds_per_logit = 2;
  b.sampling_seconds_per_logit = 1;
  keep_best(a, b);
  EXPECT_EQ(a.read_bandwidth[0].bytes_per_s, 2e9);
  EXPECT_EQ(a.read_bandwidth[1].bytes_per_s, 3e9);
  EXPECT_EQ(a.rates.at("fp32"), 6);
  EXPECT_EQ(a.kernels[0].seconds_per_weight, 1);
  EXPECT_EQ(a.kernels[0].seconds_per_input, 1);
  EXPECT_EQ(a.elementwise_seconds_per_byte.at("rope"), 3);
  EXPECT_EQ(a.attention_seconds_per_call, 1);
  EXPECT_EQ(a.sampling_seconds_per_logit, 1);
}

TEST(MachineSpeed, IsAShareOfTheProfile) {
  ThreadPool team(1);
  HardwareProfile profile;
  profile.threads = 1;
  profile.kernels = {{"bf16", std::string(name(active_isa())), kSpeedTokens, 1e-20, 0, 0, 1}};  // no core is as fast
  profile.read_bandwidth = {{1 << 20, 1, 1}};
  profile.barrier_s = 1;
  const MachineSpeed speed = machine_speed(profile, team);
  EXPECT_LT(speed.arithmetic, 0.001);
  EXPECT_GT(speed.bandwidth, 1000);
  EXPECT_GT(speed.barrier, 1000);
  EXPECT_FALSE(describes(speed));
  EXPECT_TRUE(describes({1.1, 0.9, 1}));
  EXPECT_TRUE(describes({1, 1, 0.1}));
  EXPECT_FALSE(describes({1, 0.7, 1}));
  EXPECT_FALSE(describes({1.3, 1, 1}));
  EXPECT_FALSE(describes({1, 1, 3}));
}

TEST_F(ProbeCache, AnotherMachineOrBuildOrABrokenFileIsMeasuredAnew) {
  const auto path = directory_ / "profile.json";
  int n_expected = 0;
  const auto expect_anew = [&](const std::string& kept) {
    std::ofstream(path) << kept;
    const std::string measured = load(path);
    EXPECT_EQ(n_measured_, ++n_expected);
    EXPECT_EQ(to_json(read_hardware_profile(path)), measured);
  };
  HardwareProfile other = machine_;
  other.build = "another";
  expect_anew(to_json(other));
  other = machine_;
  other.name = "another";
  expect_anew(to_json(other));
  other = machine_;
  other.isa = "another";
  expect_anew(to_json(other));
  other = machine_;
  other.threads = 7;
  expect_anew(to_json(other));
  expect_anew("{");
}

TEST_F(ProbeCache, AnUnwritablePlaceIsNoError) {
  std::ofstream(directory_ / "file") << "not a directory";
  const std::string measured = load(directory_ / "file" / "profile.json");
  EXPECT_EQ(load({}), measured);
  EXPECT_EQ(n_measured_, 2);
}

}  // namespace
}  // namespace trimeter
