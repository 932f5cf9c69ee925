#include "cost/reconcile.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "base/error.h"
#include "cost/meters.h"
#include "cost/step_time.h"

namespace trimeter {
namespace {

// A miss that all formats share to within this is the machine's or the engine's, not the format's.
constexpr double kCommonMissBand = 0.1;
// Predictions closer than this part of their band claim no order: the model is not that sharp.
constexpr double kPredictedTie = 0.1;

// Below this share of the time, waiting for a CPU explains no miss of a band.
constexpr double kLeastWait = 0.05;

double megabytes(int64_t bytes) { return static_cast<double>(bytes) / 1e6; }

// "the pool is smaller by 1.50 MB: activation 1.40 MB more than predicted, ...", or that the bytes don't explain it.
std::string explain_blocks(const RecordRun& run) {
  const RecordMeasured& measured = *run.measured;
  const MemoryBreakdown &p = run.predicted.memory, &m = measured.memory;
  const std::pair<const char*, int64_t> differences[] = {{"weights", m.weights_bytes - p.weights_bytes},
                                                         {"activation", m.activation_bytes - p.activation_bytes},
                                                         {"overhead", m.overhead_bytes - p.overhead_bytes}};
  int64_t more = 0;
  std::string parts;
  for (const auto& [what, bytes] : differences) {
    more += bytes;
    if (bytes == 0) continue;
    parts += fmt::format("{}{} {:.2f} MB {} than predicted", parts.empty() ? "" : ", ", what,
                         megabytes(std::abs(bytes)), bytes > 0 ? "more" : "less");
  }
  const int64_t missing_blocks = run.predicted.kv_blocks - measured.kv_blocks;
  const bool adds_up =
      measured.block_bytes > 0 && std::abs(more - missing_blocks * measured.block_bytes) <= measured.block_bytes;
  if (more == 0 || !adds_up) return "unexplained: the bytes of weights, activations and overhead do not account for it";
  return fmt::format("the pool is {} by {:.2f} MB: {}", more > 0 ? "smaller" : "larger", megabytes(std::abs(more)),
                     parts);
}

double share_of(const RecordPredicted& predicted, const char* term) {
  double total = 0;
  for (const auto& [what, seconds] : predicted.terms) total += seconds;
  const auto found = predicted.terms.find(term);
  return found == predicted.terms.end() || total == 0 ? 0 : found->second / total;
}

// The range of measured/predicted over all measured runs, if it is narrow and on one side of 1.
std::string explain_by_all_formats(const Record& record, const PredictedMeter& meter) {
  double lowest = INFINITY, highest = 0;
  int n = 0;
  for (const RecordRun& run : record.runs) {
    if (!run.measured || meter.predicted(run.predicted) <= 0) continue;
    const double ratio = meter.measured(*run.measured).median / meter.predicted(run.predicted);
    lowest = std::min(lowest, ratio);
    highest = std::max(highest, ratio);
    ++n;
  }
  if (n < 2 || highest > lowest * (1 + kCommonMissBand)) return "";
  if (lowest <= 1 && highest >= 1) return "";
  return fmt::format(
      "; all formats missed alike ({:.2f} to {:.2f} of predicted): the machine or the engine, not the format", lowest,
      highest);
}

// The machine's own speed, if that is not its profile's and the miss without it is within the band.
std::string explain_by_machine(const Record& record, const RecordRun& run, const PredictedMeter& meter, double speed) {
  if (!record.hardware.speed) return "";
  const bool reads = run.predicted.binds == "bandwidth";
  const Sampled& machine = reads ? record.hardware.speed->bandwidth : record.hardware.speed->arithmetic;
  if (machine.samples.empty() || std::abs(speed / machine.median - 1) > meter.band) return "";
  return fmt::format(
      "the machine itself ran at {:.2f} of its profile's {} (between the rounds, 95% interval {:.2f} to {:.2f}), which "
      "leaves {:.2f} of the prediction",
      machine.median, reads ? "read bandwidth" : "arithmetic", machine.ci95_low, machine.ci95_high,
      speed / machine.median);
}

// Other programs on the same CPUs. A team of n that waited the share w of its time, and works when all run, had between
// 1 - n w (never two at a time) and 1 - w (all at once) of it.
std::string explain_by_other_programs(const Record& record, const PredictedMeter& meter, double speed) {
  if (!record.hardware.speed || !record.hardware.speed->cpu_wait) return "";
  const Sampled& wait = *record.hardware.speed->cpu_wait;
  if (wait.median < kLeastWait) return "";
  const double least = 1 - record.hardware.threads * wait.median, most = 1 - wait.median;
  if (speed < least * (1 - meter.band) || speed > most * (1 + meter.band)) return "";
  return fmt::format(
      "other programs had the CPUs: threads that were ready to run waited {:.0f}% of the rounds' time (95% interval "
      "{:.0f}% to {:.0f}%), which left a team that meets at barriers {:.2f} to {:.2f} of the machine",
      100 * wait.median, 100 * wait.ci95_low, 100 * wait.ci95_high, std::max(least, 0.0), most);
}

// A busy machine leaves the ratio of two formats as it is: what that misses is the format's own.
std::string own_miss(const Record& record, const RecordRun& run) {
  const RecordRun& baseline = record.runs.front();
  const std::optional<Sampled>& ratio = run.measured->ratio_to_baseline;
  if (&run == &baseline || !ratio || baseline.predicted.generation_tokens_per_s <= 0) return "";
  const double expected = run.predicted.generation_tokens_per_s / baseline.predicted.generation_tokens_per_s;
  const bool outside = expected < ratio->ci95_low || expected > ratio->ci95_high;
  if (!outside || std::abs(ratio->median / expected - 1) <= kThroughputBand) return "";
  return fmt::format(
      "; the ratio to {}, in the same rounds, was predicted {:.3f} and measured {:.3f} ({:.3f} to {:.3f}): unexplained",
      baseline.format, expected, ratio->median, ratio->ci95_low, ratio->ci95_high);
}

std::string explain_speed(const Record& record, const RecordRun& run, const PredictedMeter& meter) {
  const RecordPredicted& predicted = run.predicted;
  const Sampled measured = meter.measured(*run.measured);
  const double expected = meter.predicted(predicted);
  if (measured.ci95_low <= expected && expected <= measured.ci95_high)
    return fmt::format("the measured spread is larger than the gap: 95% interval {:.4g} to {:.4g}", measured.ci95_low,
                       measured.ci95_high);
  if (!predicted.executed.empty() && predicted.executed != run.kernel.executed)
    return fmt::format("executed arithmetic is not the predicted one: {} predicted, {} executed ({} requested)",
                       predicted.executed, run.kernel.executed, run.kernel.requested);
  if (predicted.binds == "capacity" && predicted.kv_blocks != run.measured->kv_blocks)
    return fmt::format("capacity binds, and the pool has {} blocks where {} were predicted", run.measured->kv_blocks,
                       predicted.kv_blocks);
  const double overhead = share_of(predicted, kOverheadTerm);
  const double speed = meter.higher_is_better ? measured.median / expected : expected / measured.median;
  const std::string own = meter.name == "generation_tokens_per_s" ? own_miss(record, run) : "";
  if (const std::string why = explain_by_machine(record, run, meter, speed); !why.empty()) return why + own;
  if (const std::string why = explain_by_other_programs(record, meter, speed); !why.empty()) return why + own;
  if (speed * overhead > 1)
    return "the profile's barriers and fixed cost alone take longer than what was measured: measure the machine again "
           "while it is quiet (trimeter hardware --force)";
  if (overhead > 0.5 && speed < 1)
    return fmt::format("overhead-bound: {:.0f}% of the predicted time is barriers and fixed cost", overhead * 100);
  return "unexplained" + explain_by_all_formats(record, meter);
}

std::vector<const RecordRun*> measured_runs(const Record& record) {
  std::vector<const RecordRun*> runs;
  for (const RecordRun& run : record.runs)
    if (run.measured) runs.push_back(&run);
  return runs;
}

template <class Value>
std::vector<std::string> best_first(std::vector<const RecordRun*> runs, bool higher_is_better, Value value) {
  std::stable_sort(runs.begin(), runs.end(), [&](const RecordRun* a, const RecordRun* b) {
    return higher_is_better ? value(*a) > value(*b) : value(*a) < value(*b);
  });
  std::vector<std::string> names;
  for (const RecordRun* run : runs) names.push_back(run->format);
  return names;
}

RecordOrdering order(const std::vector<const RecordRun*>& runs, const PredictedMeter& meter) {
  const auto predicted = [&](const RecordRun& run) { return meter.predicted(run.predicted); };
  const auto measured = [&](const RecordRun& run) { return meter.measured(*run.measured).median; };
  RecordOrdering ordering;
  ordering.predicted = best_first(runs, meter.higher_is_better, predicted);
  ordering.measured = best_first(runs, meter.higher_is_better, measured);
  std::string ties, equals, reversals;
  for (size_t i = 0; i < runs.size(); ++i) {
    for (size_t j = i + 1; j < runs.size(); ++j) {
      const double claim = predicted(*runs[i]) / predicted(*runs[j]), fact = measured(*runs[i]) / measured(*runs[j]);
      if (intervals_overlap(meter.measured(*runs[i]->measured), meter.measured(*runs[j]->measured)))
        ties += fmt::format("{}{} and {}", ties.empty() ? "" : ", ", runs[i]->format, runs[j]->format);
      else if (std::abs(claim - 1) <= kPredictedTie * meter.band)
        equals += fmt::format("{}{} / {} {:.3f}, measured {:.3f}", equals.empty() ? "" : ", ", runs[i]->format,
                              runs[j]->format, claim, fact);
      else if ((claim > 1) != (fact > 1))
        reversals += fmt::format("{}{} / {} was predicted {:.3f}, measured {:.3f}", reversals.empty() ? "" : "; ",
                                 runs[i]->format, runs[j]->format, claim, fact);
    }
  }
  ordering.holds = reversals.empty();
  ordering.explanation = reversals;
  if (!equals.empty())
    ordering.explanation +=
        fmt::format("{}predicted too close to claim an order: {}", reversals.empty() ? "" : "; ", equals);
  if (!ties.empty())
    ordering.explanation +=
        fmt::format("{}tied within the measured 95% intervals: {}", ordering.explanation.empty() ? "" : "; ", ties);
  return ordering;
}

}  // namespace

std::vector<RecordReconciliation> reconcile(const Record& record) {
  std::vector<RecordReconciliation> rows;
  for (const RecordRun* run : measured_runs(record)) {
    for (const PredictedMeter& meter : predicted_meters()) {
      if (meter.measured(*run->measured).samples.empty()) continue;
      RecordReconciliation row;
      row.format = run->format;
      row.meter = meter.name;
      row.predicted = meter.predicted(run->predicted);
      row.measured = meter.measured(*run->measured).median;
      row.ratio = row.predicted > 0 ? row.measured / row.predicted : 0;
      row.band = meter.band;
      row.within_band = std::abs(row.ratio - 1) <= meter.band;
      if (!row.within_band)
        row.explanation = row.meter == "kv_blocks" ? explain_blocks(*run) : explain_speed(record, *run, meter);
      rows.push_back(row);
    }
  }
  return rows;
}

std::map<std::string, RecordOrdering> compare_orderings(const Record& record) {
  std::map<std::string, RecordOrdering> orderings;
  const auto runs = measured_runs(record);
  if (runs.size() < 2) return orderings;
  for (const PredictedMeter& meter : predicted_meters()) {
    const bool all = std::all_of(runs.begin(), runs.end(),
                                 [&](const RecordRun* run) { return !meter.measured(*run->measured).samples.empty(); });
    if (all) orderings[std::string(meter.name)] = order(runs, meter);
  }
  return orderings;
}

}  // namespace trimeter
