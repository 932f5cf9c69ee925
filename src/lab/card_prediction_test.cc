// A card's records against what its profile predicts of them now: a change of the cost model that loses them is seen
// without a card. The predictions in the records are those made before they were measured.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cost/predict.h"
#include "io/temporary_directory.h"
#include "lab/synth.h"
#include "text/golden_files.h"

namespace trimeter {
namespace {

TEST(CardPrediction, AnH200sRecordsAreWithinTwelvePercent) {
  const HardwareProfile hardware = read_hardware_profile(source_dir() / "data/hardware/h200-141gb.json");
  int n_runs = 0;
  for (const char* shape : {"qwen2.5-0.5b", "qwen2.5-7b"}) {
    const TemporaryDirectory directory;
    std::ofstream(directory.path() / "config.json") << synthetic_config(shape_named(shape));
    const ModelSpec spec = read_model_spec(directory.path());
    std::ifstream file(source_dir() / "bench/results" / (std::string("2026-11-30-cuda-h200-") + shape + ".json"));
    const auto record = nlohmann::json::parse(file);
    const auto& workload = record["workload"];
    const EngineLimits limits{.max_model_len = workload["max_model_len"],
                              .max_num_seqs = workload["max_num_seqs"],
                              .max_num_batched_tokens = workload["max_num_batched_tokens"],
                              .block_size = workload["block_size"]};
    for (const auto& run : record["runs"]) {
      const int64_t batch = run["batch"];
      const Format run_format = format(run["format"].get<std::string>());
      const int64_t prompt_tokens = workload["prompt_tokens"].get<int64_t>() / workload["prompts"].get<int64_t>();
      const Workload requests{std::vector<int64_t>(static_cast<size_t>(batch), prompt_tokens), workload["max_tokens"]};
      const RecordPredicted predicted =
          predict({spec, run_format, hardware, limits, requests, workload["device_memory_bytes"],
                   workload["utilization"], Target::gpu(90), hardware.threads, 0});
      const auto ratio = [&](const char* meter, double of) {
        return run["measured"][meter]["median"].get<double>() / of;
      };
      const std::string what = shape + std::string(" ") + run_format.name + " x " + std::to_string(batch);
      EXPECT_NEAR(ratio("decode_tokens_per_s", predicted.decode_tokens_per_s), 1, 0.12) << what;
      EXPECT_NEAR(ratio("generation_tokens_per_s", predicted.generation_tokens_per_s), 1, 0.12) << what;
      // Launched kernel by kernel, a short prompt takes what its host takes; the lab's own band.
      EXPECT_NEAR(ratio("ttft_s", predicted.ttft_s), 1, 0.25) << what;
      ++n_runs;
    }
  }
  EXPECT_EQ(n_runs, 30);
}

}  // namespace
}  // namespace trimeter
