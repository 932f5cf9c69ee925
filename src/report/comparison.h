// The reports of `trimeter compare`, from the record alone.
#pragma once
#include "record/record.h"
#include "report/document.h"

namespace trimeter {

// The table of the three meters, kernels, memory, reconciliation, ordering, quality, outputs, verdict.
Document comparison_report(const Record& record);

// What is predicted, shown before anything is measured.
Document prediction_report(const Record& record);

}  // namespace trimeter
