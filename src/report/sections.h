// The sections of comparison.h, one file each or a few that belong together.
#pragma once
#include <string>

#include "record/record.h"
#include "report/document.h"

namespace trimeter {

Section meters_section(const Record& record);
Section phases_section(const Record& record);
Section kernels_section(const Record& record);
Section memory_section(const Record& record);
Section reconciliation_section(const Record& record);
Section ordering_section(const Record& record);
Section tails_section(const Record& record);
Section outputs_section(const Record& record);
Section verdict_section(const Record& record);

// A meter's value in the meter's own unit: "12,140", "3.41 ms"; "-" for 0, which a workload without such a phase has.
std::string meter_text(const std::string& meter, double value);
std::string interval_text(const std::string& meter, const Sampled& sampled);

}  // namespace trimeter
