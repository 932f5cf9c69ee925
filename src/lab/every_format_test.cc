// Every line of the list, loaded and calibrated as a user gets it, answers prompts in words and keeps the model's
// distribution in sight.
#include <gtest/gtest.h>

#include <cstdio>

#include "base/log.h"
#include "engine/engine.h"
#include "lab/evaluation_set.h"
#include "lab/subject.h"
#include "meters/quality.h"
#include "model/forward_harness.h"
#include "spec/format.h"

namespace trimeter {
namespace {

[[maybe_unused]] const bool kQuiet = (init_logging("warning"), true);

TEST(EveryFormat, AnswersInWordsOnTheDemoModel) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "minutes of calibration: a question of quality, not of memory";
#endif
  const Subject subject = read_subject(source_dir() / "models/demo");
  const EvaluationSet set = read_evaluation_set(source_dir() / "data");
  EngineOptions options;
  options.model = subject.directory;
  options.calibration = set.calibration;
  options.device_memory_bytes = int64_t{48} << 20;
  options.threads = std::make_shared<ThreadPool>(2);
  options.kv_memory = std::make_shared<KvMemory>();

  std::vector<std::string> names;
  for (const Format& row : all_formats()) names.push_back(row.name);
  for (const KvFormat& kv : all_kv_formats()) names.push_back("w4a16+" + kv.name);
  std::vector<std::unique_ptr<Engine>> engines;
  std::vector<NamedEngine> named;
  for (const std::string& name : names) {
    options.format = name;
    engines.push_back(make_engine(options));
    named.push_back({name, engines.back().get()});
  }

  QualityWorkload workload;
  workload.max_tokens = 40;
  for (const EvaluationPrompt& prompt : interleaved_prompts(set, 18))
    workload.prompts.push_back({prompt.prompt, prompt.chat ? subject.encode_chat({{"user", prompt.prompt}})
                                                           : subject.encode_text(prompt.prompt)});
  for (size_t i = 0; i < set.passages.size(); i += 8)
    workload.passages.push_back(subject.encode_text(set.passages[i].text));
  const QualityReport report = measure_quality(named, workload);
  const RecordQuality& baseline = report.formats.front().quality;
  for (const auto& [format, quality] : report.formats) {
    std::printf("[ %-12s ] perplexity x %.3f  KLD %.5f  top-1 %.3f  garbage %d of %zu\n", format.c_str(),
                quality.perplexity_ratio, quality.kld.mean, quality.top1_agreement, static_cast<int>(quality.n_garbage),
                quality.outputs.size());
    // The model alone loops on some prompts; Q2_K, the coarsest, has 1.17 and 0.7 here.
    EXPECT_LE(quality.n_garbage, baseline.n_garbage + 5) << format;
    EXPECT_LT(quality.perplexity_ratio, 1.3) << format;
    EXPECT_GT(quality.top1_agreement, 0.6) << format;
    for (const auto& output : quality.outputs) EXPECT_FALSE(output.text.empty()) << format << ": " << output.prompt;
  }
}

}  // namespace
}  // namespace trimeter
