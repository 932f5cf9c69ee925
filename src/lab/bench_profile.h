#pragma once
#include <span>

#include "base/step_profile.h"
#include "cost/step_floor.h"
#include "record/record.h"

namespace trimeter {

// A profile of each round, beside the floor of the same workload. An operation that does several of the ledger's at
// once
// ("rope+kv_write") has the floor of them all.
RecordProfile profile_record(std::span<const EngineProfile> rounds, const WorkloadFloor& floor);

}  // namespace trimeter
