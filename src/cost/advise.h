// The verdict: which format for a stated objective, what that choice buys out of, and the arithmetic behind it.
#pragma once
#include <string>
#include <string_view>

#include "record/record.h"

namespace trimeter {

enum class Objective { kThroughput, kLatency, kCapacity, kQuality };
std::string_view name(Objective objective);
// Throws Error(kBadArgument) with the names there are.
Objective objective_from_name(std::string_view name);

// From the measured figures of each run, or the predicted ones where nothing was measured (and says which). The first
// run is the baseline; a difference within the measurement's spread is no reason to leave it. A format whose output is
// broken is never recommended.
RecordVerdict advise(const Record& record, Objective objective);

}  // namespace trimeter
