#include "cost/advise.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/error.h"
#include "base/integers.h"
#include "cost/meters.h"
#include "cost/step_time.h"
#include "record/meter_title.h"

namespace trimeter {
namespace {

// Broken, not merely worse: half again the perplexity, one next token in three another, or more garbage than chance
// gives.
constexpr double kBrokenPerplexityRatio = 1.5;
constexpr double kBrokenTop1Agreement = 0.67;
// A bound whose seconds fall by less than this share of all is not what the choice bought out of.
constexpr double kLeastSaving = 0.05;
// Threads that waited longer than this share of the time were not alone on the machine.
constexpr double kBusyMachine = 0.05;
constexpr double kGarbageSignificance = 0.05;

constexpr std::pair<Objective, std::string_view> kObjectives[] = {{Objective::kThroughput, "throughput"},
                                                                  {Objective::kLatency, "latency"},
                                                                  {Objective::kCapacity, "capacity"},
                                                                  {Objective::kQuality, "quality"}};

const PredictedMeter& meter_of(Objective objective) {
  if (objective == Objective::kLatency) return predicted_meter("itl_s");
  if (objective == Objective::kCapacity) return predicted_meter("kv_blocks");
  return predicted_meter("generation_tokens_per_s");
}

Sampled figure(const RecordRun& run, const PredictedMeter& meter) {
  return run.measured ? meter.measured(*run.measured) : Sampled::of({meter.predicted(run.predicted)});
}

const RecordQuality* quality_of(const RecordRun& run) {
  return run.measured && run.measured->quality ? &*run.measured->quality : nullptr;
}

// One-sided sign test over the prompts on which just one of the two gives garbage: the chance that a format no worse
// than the baseline has at least as many of them against it. A small model loops in greedy decoding by itself, and a
// format that moves a few prompts into a loop and a few out of it has broken nothing.
double chance_of_garbage(const RecordQuality& quality, const RecordQuality& baseline) {
  int n_worse = 0, n_better = 0;
  for (size_t i = 0; i < std::min(quality.outputs.size(), baseline.outputs.size()); ++i) {
    n_worse += quality.outputs[i].garbage && !baseline.outputs[i].garbage;
    n_better += baseline.outputs[i].garbage && !quality.outputs[i].garbage;
  }
  const int n = n_worse + n_better;
  double term = std::pow(0.5, n), chance = 0;  // Binom(n, 1/2).pmf(k), from k = n downwards
  for (int k = n; k >= n_worse; --k) {
    chance += term;
    term *= static_cast<double>(k) / static_cast<double>(n - k + 1);
  }
  return chance;
}

// Why the format's output is no model's any more; empty if it is.
std::string broken(const RecordRun& run, const RecordRun& baseline) {
  const RecordQuality* quality = quality_of(run);
  if (quality == nullptr || &run == &baseline) return "";
  const RecordQuality* usual = quality_of(baseline);
  if (usual != nullptr && chance_of_garbage(*quality, *usual) < kGarbageSignificance)
    return fmt::format("{} of its {} outputs are garbage ({} of {}'s)", quality->n_garbage, quality->outputs.size(),
                       usual->n_garbage, baseline.format);
  if (quality->perplexity_ratio - 2 * quality->perplexity_ratio_se > kBrokenPerplexityRatio)
    return fmt::format("its perplexity is {:.2f}x {}'s", quality->perplexity_ratio, baseline.format);
  if (quality->top1_agreement < kBrokenTop1Agreement)
    return fmt::format("it agrees with {} on {:.0f}% of next tokens", baseline.format, quality->top1_agreement * 100);
  return "";
}

// candidate / baseline as a factor of the better direction (above 1: better), with its interval.
struct Gain {
  double factor = 1, low = 1, high = 1;
  bool paired = false;  // by round
  bool shown() const { return low > 1; }
};

Gain gain_over(const RecordRun& candidate, const RecordRun& baseline, const PredictedMeter& meter) {
  const Sampled a = figure(candidate, meter), b = figure(baseline, meter);
  if (&candidate == &baseline || a.median <= 0 || b.median <= 0) return {};
  if (meter.name == "generation_tokens_per_s" && candidate.measured && candidate.measured->ratio_to_baseline) {
    const Sampled& ratio = *candidate.measured->ratio_to_baseline;
    return {ratio.median, ratio.ci95_low, ratio.ci95_high, true};
  }
  // Without pairs: the quotient of the intervals' far ends, which is wider than it needs to be.
  const Gain rise = {a.median / b.median, a.ci95_low / b.ci95_high, a.ci95_high / b.ci95_low};
  if (meter.higher_is_better) return rise;
  return {1 / rise.factor, 1 / rise.high, 1 / rise.low};
}

// "tok/s 1.08x bf16's (paired by round, 95% interval 1.03 to 1.14)"
std::string speed_text(const RecordRun& run, const RecordRun& baseline, Objective objective) {
  const PredictedMeter& meter = meter_of(objective == Objective::kLatency ? objective : Objective::kThroughput);
  const Gain gain = gain_over(run, baseline, meter);
  const std::string what = objective == Objective::kLatency ? "speed of a token" : meter_title(std::string(meter.name));
  if (!run.measured) return fmt::format("{} {:.2f}x {}'s (predicted)", what, gain.factor, baseline.format);
  return fmt::format("{} {:.2f}x {}'s ({}95% interval {:.2f} to {:.2f}{})", what, gain.factor, baseline.format,
                     gain.paired ? "paired by round, " : "", gain.low, gain.high,
                     gain.low <= 1 && gain.high >= 1 ? ": no difference shown" : "");
}

const MemoryBreakdown& memory_of(const RecordRun& run) {
  return run.measured ? run.measured->memory : run.predicted.memory;
}

int64_t block_bytes_of(const RecordRun& run) {
  if (run.measured) return run.measured->block_bytes;
  return run.predicted.kv_blocks > 0 ? run.predicted.memory.kv_bytes / run.predicted.kv_blocks : 0;
}

// "KV blocks 2.31x (2,103 against 909 of 24,576 bytes in place of 49,152)",
// "KV blocks 1.18x (1,055 against 894: weights smaller by 5.11 MB, 104 blocks of 49,152 bytes)"
std::string blocks_text(const RecordRun& run, const RecordRun& baseline) {
  const PredictedMeter& meter = predicted_meter("kv_blocks");
  const auto count = [&](const RecordRun& r) { return static_cast<int64_t>(figure(r, meter).median); };
  const int64_t ours = count(run), theirs = count(baseline);
  if (ours == theirs) return fmt::format("as many KV blocks ({})", with_commas(ours));
  std::string text = fmt::format("KV blocks {:.2f}x ({} against {}",
                                 theirs > 0 ? static_cast<double>(ours) / static_cast<double>(theirs) : 0,
                                 with_commas(ours), with_commas(theirs));
  const int64_t saved = memory_of(baseline).weights_bytes - memory_of(run).weights_bytes;
  const int64_t block_bytes = block_bytes_of(run);
  if (block_bytes != block_bytes_of(baseline))
    text += fmt::format(" of {} bytes in place of {}", with_commas(block_bytes), with_commas(block_bytes_of(baseline)));
  else if (saved != 0 && block_bytes > 0)
    text += fmt::format(": weights {} by {:.2f} MB, {} blocks of {} bytes", saved > 0 ? "smaller" : "larger",
                        static_cast<double>(std::abs(saved)) / 1e6, with_commas(std::abs(saved) / block_bytes),
                        with_commas(block_bytes));
  return text + ")";
}

std::string quality_text(const RecordRun& run) {
  const RecordQuality* quality = quality_of(run);
  return quality == nullptr
             ? "quality not measured"
             : fmt::format("KLD {:.4f}, top-1 agreement {:.1f}%", quality->kld.mean, quality->top1_agreement * 100);
}

std::string describe(const RecordRun& run, const RecordRun& baseline, Objective objective) {
  const std::string why = broken(run, baseline);
  return fmt::format("{}: {}, {}, {}{}", run.format, speed_text(run, baseline, objective), blocks_text(run, baseline),
                     quality_text(run), why.empty() ? "" : "; not to be used: " + why);
}

// Indistinguishable from the baseline: no further from it than it is from itself at another batch size.
bool equal_quality(const Record& record, const RecordRun& run) {
  const RecordQuality* quality = quality_of(run);
  const double floor = record.noise_floor ? record.noise_floor->kld.mean : 0;
  return quality != nullptr && quality->kld.mean <= floor;
}

double kld_of(const RecordRun& run) { return quality_of(run) ? quality_of(run)->kld.mean : 0; }

// The best run whose gain over the baseline is shown; among those that the measurement can't tell apart, the one whose
// output is nearest to the baseline's.
const RecordRun& choose(const Record& record, Objective objective) {
  const RecordRun& baseline = record.runs.front();
  const PredictedMeter& meter = meter_of(objective);
  const RecordRun* best = &baseline;
  for (const RecordRun& run : record.runs) {
    if (!gain_over(run, baseline, meter).shown() || !broken(run, baseline).empty()) continue;
    if (objective == Objective::kQuality && !equal_quality(record, run)) continue;
    if (best == &baseline) {
      best = &run;
      continue;
    }
    const Sampled a = figure(run, meter), b = figure(*best, meter);
    const bool better = meter.higher_is_better ? a.median > b.median : a.median < b.median;
    if (intervals_overlap(a, b) ? kld_of(run) < kld_of(*best) : better) best = &run;
  }
  return *best;
}

// What the choice has less of than the baseline: the bound whose seconds fell most in the prediction.
std::string bought_out_of(const RecordRun& choice, const RecordRun& baseline, Objective objective) {
  if (&choice == &baseline) return "nothing";
  if (objective == Objective::kCapacity || baseline.predicted.binds == "capacity") return "capacity";
  std::map<std::string, double> saved;
  double total = 0;
  for (const auto& [term, seconds] : baseline.predicted.terms) total += seconds;
  const auto count = [&](const RecordRun& run, double sign) {
    for (const auto& [term, seconds] : run.predicted.terms) {
      const bool moves = term == kWeightsBandwidthTerm || term == kLmHeadBandwidthTerm;
      saved[moves ? "bandwidth" : term == kOverheadTerm ? "overhead" : "arithmetic"] += sign * seconds;
    }
  };
  count(baseline, 1);
  count(choice, -1);
  const auto most =
      std::max_element(saved.begin(), saved.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  return most == saved.end() || most->second < kLeastSaving * total ? "unpredicted" : most->first;
}

std::string reason(const Record& record, const RecordRun& choice, Objective objective) {
  const RecordRun& baseline = record.runs.front();
  std::string text;
  if (&choice == &baseline) {
    if (record.runs.size() == 1)
      text = fmt::format("{} is the only format that was run", baseline.format);
    else if (objective == Objective::kQuality)
      text = fmt::format("no other format is both equal to {} in output and shown to be faster", baseline.format);
    else
      text = fmt::format(
          "no usable format is shown to be better than {} in {}: a difference within the 95% interval is none",
          baseline.format, meter_title(std::string(meter_of(objective).name)));
  } else {
    text = describe(choice, baseline, objective);
  }
  for (const RecordRun& run : record.runs)
    if (&run != &choice && &run != &baseline) text += ".\n" + describe(run, baseline, objective);
  text += ".";
  const auto& speed = record.hardware.speed;
  if (speed && speed->cpu_wait && speed->cpu_wait->median > kBusyMachine)
    text += fmt::format(
        "\nCaution: the machine was shared, its threads waited {:.0f}% of the time for a CPU. KV blocks and quality do "
        "not "
        "depend on that; speeds do: measure again on a quiet machine.",
        100 * speed->cpu_wait->median);
  return text;
}

}  // namespace

std::string_view name(Objective objective) {
  for (const auto& [value, text] : kObjectives)
    if (value == objective) return text;
  TM_CHECK(false, "objective {} has no name", static_cast<int>(objective));
}

Objective objective_from_name(std::string_view wanted) {
  for (const auto& [value, text] : kObjectives)
    if (text == wanted) return value;
  throw Error(Errc::kBadArgument, "objective '{}': wanted throughput, latency, capacity or quality", wanted);
}

RecordVerdict advise(const Record& record, Objective objective) {
  TM_CHECK(!record.runs.empty(), "a verdict needs at least the baseline's run");
  const RecordRun& choice = choose(record, objective);
  return {std::string(name(objective)), choice.format, bought_out_of(choice, record.runs.front(), objective),
          reason(record, choice, objective)};
}

}  // namespace trimeter
