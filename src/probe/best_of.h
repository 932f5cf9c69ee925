// Of several measurements of the same machine, each figure at its best: whatever else ran beside one of them only ever
// made it slower.
#pragma once
#include "cost/hardware.h"
#include "probe/parts.h"

namespace trimeter {

// Both must have the same points in the same order, as two passes over the same parts have.
void keep_best(HardwareProfile& best, const HardwareProfile& other);
void keep_best(FixedCosts& best, const FixedCosts& other);

}  // namespace trimeter
