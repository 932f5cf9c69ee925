#include "lab/bench_profile.h"

#include <sstream>

#include "base/error.h"

namespace trimeter {
namespace {

using Phase = StepProfile EngineProfile::*;

void add_floor(RecordOperation& operation, const std::vector<OpFloor>& floor) {
  std::istringstream names(operation.name);
  for (std::string name; std::getline(names, name, '+');)
    for (const OpFloor& op : floor) {
      if (op.name != name) continue;
      operation.bytes += op.bytes;
      operation.operations += op.operations;
      operation.floor_s += op.seconds();
    }
}

// Of a round's steps together, or of one of them.
RecordPhase phase_record(std::span<const EngineProfile> rounds, Phase phase, bool per_step,
                         const std::vector<OpFloor>& floor) {
  const StepProfile& first = rounds[0].*phase;
  const auto parts = [&](const StepProfile& round) { return per_step ? static_cast<double>(round.n_steps) : 1.0; };
  RecordPhase record;
  record.steps = static_cast<double>(first.n_steps);
  std::vector<double> seconds;
  for (const EngineProfile& round : rounds) seconds.push_back((round.*phase).seconds / parts(round.*phase));
  record.seconds = Sampled::of(seconds);
  for (size_t i = 0; i < first.operations.size(); ++i) {
    RecordOperation operation{.name = first.operations[i].name,
                              .calls = static_cast<double>(first.operations[i].n_calls) / parts(first),
                              .seconds = {}};
    seconds.clear();
    for (const EngineProfile& round : rounds) {
      const StepProfile& steps = round.*phase;
      TM_CHECK(steps.operations.size() == first.operations.size() && steps.operations[i].name == operation.name,
               "operation {} of a round is not that of the first", i);
      seconds.push_back(steps.operations[i].seconds / parts(steps));
    }
    operation.seconds = Sampled::of(seconds);
    add_floor(operation, floor);
    record.operations.push_back(std::move(operation));
  }
  return record;
}

}  // namespace

RecordProfile profile_record(std::span<const EngineProfile> rounds, const WorkloadFloor& floor) {
  RecordProfile record{.prompt = phase_record(rounds, &EngineProfile::prefill, false, floor.prompt), .decode = {}};
  if (rounds[0].decode.n_steps > 0) record.decode = phase_record(rounds, &EngineProfile::decode, true, floor.decode);
  return record;
}

}  // namespace trimeter
