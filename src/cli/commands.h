// Each command adds itself, its options and what it does to the program's command line.
#pragma once
#include <CLI/CLI.hpp>

namespace trimeter {

void add_compare(CLI::App& program);
void add_quantize(CLI::App& program);
void add_generate(CLI::App& program);
void add_eval(CLI::App& program);
void add_hardware(CLI::App& program);
void add_formats(CLI::App& program);
void add_bench(CLI::App& program);
void add_synth(CLI::App& program);

}  // namespace trimeter
