// Measures this machine into a HardwareProfile: read bandwidth, dot-product rates, the kernels of every scheme,
// attention, elementwise operations, barriers and fixed costs. Takes some ten seconds.
#pragma once
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "cost/hardware.h"

namespace trimeter {

using ProbeProgress = std::function<void(const std::string& what, int done, int total)>;

// With the active ISA and 1 to n_threads threads (<= 0: one per CPU), and the kernels of these schemes. Everything is
// measured in several passes, of which each figure's best is kept: a neighbour's burst does not last through all.
HardwareProfile measure_hardware(int n_threads, const std::vector<std::string>& schemes,
                                 const ProbeProgress& on_progress);

// Where this machine's profile is kept: $XDG_CACHE_HOME/trimeter (or ~/.cache/trimeter)/hardware-<hash of CPU model,
// ISA and threads>.json. Empty if there is neither variable.
std::filesystem::path hardware_cache_path(int n_threads);

// The kept profile if it is of this machine and this build of the program and has the schemes' kernels; otherwise a new
// measurement, of the kept one's schemes too, which is kept. A kept file that can't be read, or a place that can't be
// written, is a warning in the log, not an error.
HardwareProfile load_or_measure(int n_threads, const std::vector<std::string>& schemes,
                                const ProbeProgress& on_progress);
// The same at a place and with a measurement of the caller's; an empty path keeps nothing.
using Measure = std::function<HardwareProfile(const std::vector<std::string>& schemes)>;
HardwareProfile load_or_measure(const std::filesystem::path& path, int n_threads,
                                const std::vector<std::string>& schemes, const Measure& measure);
// The same of the current card, in a file of its own. Throws Error(kUnsupported) without one.
HardwareProfile load_or_measure_gpu(const std::vector<std::string>& schemes, const ProbeProgress& on_progress);
HardwareProfile measure_gpu(const std::vector<std::string>& schemes, const ProbeProgress& on_progress);
std::filesystem::path gpu_cache_path();

// Measures in any case, and keeps it.
HardwareProfile measure_and_keep(int n_threads, const std::vector<std::string>& schemes,
                                 const ProbeProgress& on_progress);

}  // namespace trimeter
