// Steps of Forward: tokens/s, and the bytes of weights that they read per second beside what this machine reads.
//
// Usage: bench_forward MODEL [FORMAT [THREADS]]
#include "model/forward.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <numeric>

#include "base/clock.h"
#include "base/stats.h"

namespace trimeter {
namespace {

constexpr int kRounds = 15;

// Bytes/s of the team summing a buffer as large as the weights, again and again: where they live, this lives.
double read_rate(ThreadPool& pool, const Buffer& buffer) {
  constexpr int kPasses = 8;
  std::vector<int64_t> sums(static_cast<size_t>(pool.size()) * 8);
  const double begin_s = now_s();
  pool.run([&](int thread) {
    const auto [begin, end] = pool.share(buffer.size() / 8, thread, 64);
    for (int pass = 0; pass < kPasses; ++pass) {
      int64_t sum = pass;
      for (int64_t i = begin; i < end; ++i) sum ^= buffer.as<int64_t>()[i] + pass;
      sums[static_cast<size_t>(thread) * 8] += sum;
    }
  });
  const double elapsed_s = now_s() - begin_s;
  return std::accumulate(sums.begin(), sums.end(), int64_t{0}) == 1
             ? 0
             : static_cast<double>(buffer.size()) * kPasses / elapsed_s;
}

// Seconds of one step of `batch` sequences with `n_new` tokens each after `context`, logits of each one's last.
double step_seconds(Forward& forward, const KvView& kv, int batch, int n_new, int context, int repeat) {
  const int blocks_per_seq = (context + n_new + 15) / 16;
  std::vector<int32_t> tokens(static_cast<size_t>(batch * n_new)), blocks(static_cast<size_t>(batch * blocks_per_seq)),
      rows(static_cast<size_t>(batch));
  std::iota(blocks.begin(), blocks.end(), 0);
  for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<int32_t>(i * 37 % 250);
  std::vector<StepSeq> seqs(static_cast<size_t>(batch));
  for (int s = 0; s < batch; ++s) {
    seqs[static_cast<size_t>(s)] = {s * n_new, n_new, context, blocks.data() + s * blocks_per_seq};
    rows[static_cast<size_t>(s)] = (s + 1) * n_new - 1;
  }
  const double begin_s = now_s();
  for (int i = 0; i < repeat; ++i) {
    forward.run({tokens, seqs}, kv);
    forward.logits(rows);
  }
  return (now_s() - begin_s) / repeat;
}

void bench(const std::filesystem::path& directory, const std::string& format_name, int threads) {
  ThreadPool pool(threads);
  const Format row = format(format_name);
  const ModelSpec spec = make_model_spec(read_hf_config(directory));
  LoadOptions options;
  for (int i = 0; i < 8; ++i) {
    options.calibration.emplace_back(128);
    for (int j = 0; j < 128; ++j) options.calibration.back()[static_cast<size_t>(j)] = (i * 131 + j * 37) % 250;
  }
  const ModelWeights weights = load_weights(directory, spec, row, options, pool);
  const EngineLimits limits{.max_model_len = 1024, .max_num_seqs = 16, .max_num_batched_tokens = 512, .block_size = 16};
  Forward forward(weights, limits, pool, active_isa());
  const KvLayout layout = kv_layout(spec, row, 16);
  Buffer blocks(layout.block_bytes() * 16 * 64, "KV pool", true);
  const KvView kv{layout, blocks.data()};
  const Buffer like_weights(weights.memory().weights_bytes, "read buffer", true);

  struct Case {
    const char* what;
    int batch, n_new, context, repeat;
  };
  constexpr Case kCases[] = {{"decode", 1, 1, 100, 64}, {"decode", 1, 1, 800, 64}, {"decode", 4, 1, 100, 16},
                             {"decode", 16, 1, 100, 8}, {"prefill", 1, 256, 0, 1}, {"prefill", 1, 512, 0, 1}};
  std::vector<double> rates;
  std::vector<std::vector<double>> seconds(std::size(kCases));
  for (int round = 0; round < kRounds; ++round) {  // interleaved: what disturbs one disturbs all
    rates.push_back(read_rate(pool, like_weights));
    for (size_t c = 0; c < std::size(kCases); ++c)
      seconds[c].push_back(
          step_seconds(forward, kv, kCases[c].batch, kCases[c].n_new, kCases[c].context, kCases[c].repeat));
  }
  fmt::print("{} {} {} threads {}: weights {:.1f} MB, read {:.1f} GB/s (MAD {:.1f})\n", directory.string(), row.name,
             pool.size(), name(active_isa()), static_cast<double>(weights.memory().weights_bytes) / 1e6,
             median(rates) / 1e9, mad(rates) / 1e9);
  for (size_t c = 0; c < std::size(kCases); ++c) {
    const double s = median(seconds[c]);
    const double rate = static_cast<double>(weights.memory().weights_bytes) / s;
    fmt::print(
        "  {:7} batch {:2} x {:3} tokens after {:3}: {:8.1f} us (MAD {:.1f})  {:8.0f} tok/s  weights {:5.1f} GB/s = "
        "{:3.0f}% of read\n",
        kCases[c].what, kCases[c].batch, kCases[c].n_new, kCases[c].context, s * 1e6, mad(seconds[c]) * 1e6,
        kCases[c].batch * kCases[c].n_new / s, rate / 1e9, 100 * rate / median(rates));
  }
}

}  // namespace
}  // namespace trimeter

int main(int argc, char** argv) {
  if (argc < 2) {
    fmt::print(stderr, "usage: bench_forward MODEL [FORMAT [THREADS]]\n");
    return 2;
  }
  trimeter::bench(argv[1], argc > 2 ? argv[2] : "bf16", argc > 3 ? std::atoi(argv[3]) : 0);
  return 0;
}
