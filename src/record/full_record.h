// For tests: a record whose every field differs from its default and from its neighbours.
#pragma once
#include "record/record.h"

namespace trimeter {

class FullRecord {
 public:
  Record make() {
    Record r;
    r.version = "0.1.0";
    r.commit = "0123abcd";
    r.started = "2026-11-23T15:48:02Z";
    r.predicted_at = "2026-11-23T15:48:03Z";
    r.measured_from = "2026-11-23T15:48:04Z";
    r.model = {"models/demo", "Qwen2ForCausalLM", "bf16", 5769472};
    r.hardware = {"a CPU",
                  "cuda",
                  "avx2",
                  3,
                  count(),
                  number(),
                  {{"bf16", number()}, {"fp32", number()}},
                  "2026-11-22T10:00:00Z",
                  RecordSpeed{sampled(), sampled(), sampled()}};
    r.workload = {count(), count(), count(), number(), count(), 0.9, count(), count(), count(), count(), count()};
    r.runs = {run("bf16", 8101), run("awq", 8102)};
    r.runs[0].measured->ratio_to_baseline.reset();
    r.kv_buffer_bytes = count();
    r.noise_floor = quality();
    r.reconciliation = {{"awq", "kv_blocks", number(), number(), number(), true, 0.005, "a term"}};
    r.ordering["kv_blocks"] = {{"awq", "bf16"}, {"bf16", "awq"}, true, "a tie"};
    r.verdict = {"latency", "awq", "bandwidth", "it is so"};
    return r;
  }

 private:
  double number() { return 0.125 + static_cast<double>(next_++); }
  int64_t count() { return next_++; }
  Sampled sampled() { return Sampled::of({number(), number(), number()}); }
  MemoryBreakdown memory() { return {count(), count(), count(), count(), count(), count(), count(), count()}; }
  RecordQuality quality() {
    const RecordKld kld{number(), number(), number(), number(), number(), number(), number()};
    return {number(),
            number(),
            number(),
            number(),
            count(),
            kld,
            0.75,
            0.5,
            0.25,
            count(),
            {{"a prompt", "a text", 3, true, "repeats"}, {"another", "the same", {}, false, "none"}}};
  }
  RecordPhase phase() {
    return {number(),
            sampled(),
            {{"an operation", number(), sampled(), number(), number(), number()},
             {"another one", number(), sampled(), number(), number(), number()}}};
  }
  RecordRun run(const std::string& format, int64_t blocks) {
    RecordPredicted predicted{
        number(), number(), number(),   number(), number(),
        blocks,   memory(), "overhead", "bf16",   {{"weights", number()}, {"attention", number()}}};
    RecordMeasured measured{sampled(), sampled(), sampled(), sampled(), sampled(), sampled(),
                            count(),   count(),   count(),   memory(),  quality()};
    const RecordFloor floor{number(), number(), number(), number(),     number(),
                            number(), number(), number(), "arithmetic", "bandwidth"};
    const RecordProfile profile{phase(), phase()};
    return {format, count(), {"fp8", "bf16", {"a line", "another line"}}, predicted, measured, floor, profile};
  }

  int64_t next_ = 1;
};

inline Record full_record() { return FullRecord().make(); }

}  // namespace trimeter
