// The report of `trimeter bench`, from the record alone: llama-bench's table, with the floor beside each figure.
#pragma once
#include "record/record.h"
#include "report/document.h"

namespace trimeter {

Document bench_report(const Record& record);

}  // namespace trimeter
