#include <algorithm>
#include <numeric>
#include <random>

#include "kernels/ops.h"
#include "probe/parts.h"
#include "probe/team_time.h"
#include "schemes/scheme.h"
#include "tensor/buffer.h"
#include "tensor/logits.h"

namespace trimeter {
namespace {

std::vector<float> random_floats(int64_t n) {
  std::mt19937 random(1);
  std::uniform_real_distribution<float> value(-1, 1);
  std::vector<float> values(static_cast<size_t>(n));
  for (float& x : values) x = value(random);
  return values;
}

// One KV head of one layer, 256 tokens, for each member of a team.
struct Cache {
  static constexpr int64_t kTokens = 256, kHeadDim = 64, kMostGroup = 4;
  KvLayout layout;
  Buffer memory{kTokens / 16 * layout.block_bytes(), "attention probe"};
  std::vector<int32_t> block_table;
  std::vector<float> q = random_floats(kMostGroup * kHeadDim), out = random_floats(kMostGroup * kHeadDim);

  Cache(DType dtype, Isa isa) : layout{1, 1, kHeadDim, 16, dtype}, block_table(kTokens / 16) {
    std::iota(block_table.rbegin(), block_table.rend(), 0);
    for (int64_t t = 0; t < kTokens; ++t)
      kv_write(view(), 0, block_table[static_cast<size_t>(t / 16)], t % 16, q.data(), q.data(), {}, isa);
  }
  KvView view() { return {layout, memory.data()}; }
};

}  // namespace

// per_call + n * head_dim * (per_kv + group * per_query), solved from three points of the 16-bit cache; another dtype
// differs in what its elements take. Noise must not make a part negative.
void measure_attention(HardwareProfile& profile, ThreadPool& team, Isa isa) {
  constexpr int64_t kShort = 32, kLong = Cache::kTokens, kMostGroup = Cache::kMostGroup;
  const auto measure = [&](DType dtype) {
    std::vector<Cache> caches;
    for (int thread = 0; thread < team.size(); ++thread) caches.emplace_back(dtype, isa);
    const auto seconds = [&](int64_t n_context, int64_t group) {
      return time_per_call(team, [&](int thread) {
        Cache& cache = caches[static_cast<size_t>(thread)];
        attention(cache.view(), 0, 0, cache.block_table.data(), n_context, cache.q.data(), group, 0.125f, {},
                  cache.out.data(), isa);
      });
    };
    const double short_s = seconds(kShort, 1), long_s = seconds(kLong, 1);
    const double one = std::max(0.0, (long_s - short_s) / static_cast<double>((kLong - kShort) * Cache::kHeadDim));
    if (dtype == DType::kBF16) {
      const double more_s = seconds(kLong, kMostGroup) - long_s;
      profile.attention_seconds_per_query_element =
          std::clamp(more_s / static_cast<double>(kLong * Cache::kHeadDim * (kMostGroup - 1)), 0.0, one);
      profile.attention_seconds_per_call = std::max(0.0, short_s - one * static_cast<double>(kShort * Cache::kHeadDim));
    }
    profile.attention_seconds_per_kv_element[std::string(name(dtype))] =
        std::max(0.0, one - profile.attention_seconds_per_query_element);
  };
  for (const DType dtype : {DType::kBF16, DType::kF16, DType::kF32, DType::kF8E4M3, DType::kI8}) measure(dtype);
}

// Bytes per element are the ledger's (spec/step_ledger.cc).
void measure_elementwise(HardwareProfile& profile, ThreadPool& team, Isa isa) {
  constexpr int64_t kWidth = 512, kHeads = 8, kHeadDim = 64, kVocab = 8192;
  struct Scratch {
    std::vector<float> x = random_floats(kWidth), y = random_floats(kWidth), g = random_floats(kWidth);
    std::vector<float> logits = random_floats(kVocab);
    KvLayout layout{1, kHeads, kHeadDim, 16, DType::kBF16};
    Buffer kv{layout.block_bytes(), "KV write probe"};
    volatile int32_t token = 0;
  };
  std::vector<std::unique_ptr<Scratch>> scratches;
  for (int thread = 0; thread < team.size(); ++thread) scratches.push_back(std::make_unique<Scratch>());
  const auto seconds = [&](auto&& work) {
    return time_per_call(team, [&](int thread) { work(*scratches[static_cast<size_t>(thread)]); });
  };

  const double f32 = sizeof(float);
  auto& rates = profile.elementwise_seconds_per_byte;
  rates["rms_norm"] = seconds([&](Scratch& s) { rms_norm(s.x.data(), s.g.data(), 1e-6, kWidth, s.y.data(), isa); }) /
                      (kWidth * 2 * f32);
  rates["rope"] =
      seconds([&](Scratch& s) { rope(s.x.data(), kHeads, kHeadDim, s.g.data(), s.g.data() + kHeadDim / 2, isa); }) /
      (kWidth * 2 * f32);
  rates["silu_mul"] =
      seconds([&](Scratch& s) { silu_mul(s.g.data(), s.x.data(), kWidth, s.y.data(), isa); }) / (kWidth * 3 * f32);
  rates["kv_write"] = seconds([&](Scratch& s) {
                        kv_write({s.layout, s.kv.data()}, 0, 0, 3, s.g.data(), s.g.data(), {}, isa);
                      }) /
                      (2 * kWidth * f32);

  const Scheme& dense = scheme("bf16");
  const std::vector<float> rows = random_floats(kPanelRows * kWidth);
  const DenseRows part{reinterpret_cast<const std::byte*>(rows.data()), DType::kF32, kPanelRows};
  ThreadPool alone(1);
  const PackedWeight embedding = dense.pack(dense.quantize_rtn({&part, 1}, {kPanelRows, kWidth}), alone);
  rates["embed"] = seconds([&](Scratch& s) { dense.unpack_row(embedding, 5, s.y.data()); }) / (kWidth * (2 + f32));
  profile.sampling_seconds_per_logit = seconds([&](Scratch& s) { s.token = argmax(s.logits); }) / kVocab;
}

}  // namespace trimeter
