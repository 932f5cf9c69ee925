#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <set>
#include <system_error>

#include "base/error.h"
#include "base/gpu.h"
#include "base/log.h"
#include "base/target.h"
#include "io/file.h"
#include "probe/build_id.h"
#include "probe/probe.h"

namespace trimeter {
namespace {

namespace fs = std::filesystem;

fs::path cache_directory() {
  if (const char* xdg = std::getenv("XDG_CACHE_HOME"); xdg != nullptr && *xdg != '\0')
    return fs::path(xdg) / "trimeter";
  if (const char* home = std::getenv("HOME"); home != nullptr && *home != '\0')
    return fs::path(home) / ".cache/trimeter";
  return {};
}

// FNV-1a, 64 bits: a file name has to be the same for every build, which std::hash does not promise.
uint64_t hash_of(const std::string& text) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (const char c : text) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3u;
  return hash;
}

struct Machine {
  std::string name, isa;
  int threads;
};

int threads_or_all(int n_threads) { return n_threads > 0 ? n_threads : cpu_info().n_cpus; }

// Whether the file is there and is of this machine and this build. One that can't be read is warned of and measured
// anew.
bool read_kept(const fs::path& path, const Machine& machine, HardwareProfile& profile) {
  std::error_code error;
  if (path.empty() || !fs::exists(path, error)) return false;
  try {
    profile = read_hardware_profile(path);
  } catch (const Error& bad) {
    TM_WARN("Measuring the hardware anew: {}", bad.what());
    return false;
  }
  return profile.build == build_id() && profile.name == machine.name && profile.isa == machine.isa &&
         profile.threads == machine.threads;
}

void keep(const fs::path& path, const HardwareProfile& profile) {
  try {
    if (path.empty()) throw Error(Errc::kIo, "neither XDG_CACHE_HOME nor HOME is set");
    std::error_code error;
    fs::create_directories(path.parent_path(), error);
    if (error) throw Error(Errc::kIo, "{}: {}", path.parent_path().string(), error.message());
    write_file_atomic(path, to_json(profile));
  } catch (const Error& unwritable) {
    TM_WARN("The hardware profile is not kept, the next run measures again: {}", unwritable.what());
  }
}

Machine this_cpu(int n_threads) {
  return {cpu_info().model, std::string(name(active_isa())), threads_or_all(n_threads)};
}

Machine this_gpu() {
  const GpuInfo gpu = current_gpu();
  return {gpu.name, name(Target::gpu(gpu.compute_capability)), 1};
}

fs::path path_of(const Machine& machine) {
  const fs::path directory = cache_directory();
  if (directory.empty()) return {};
  const std::string key = fmt::format("{}|{}|{}", machine.name, machine.isa, machine.threads);
  return directory / fmt::format("hardware-{:016x}.json", hash_of(key));
}

HardwareProfile load_or_measure(const fs::path& path, const Machine& machine, const std::vector<std::string>& schemes,
                                const Measure& measure) {
  HardwareProfile profile;
  std::set<std::string> wanted(schemes.begin(), schemes.end());
  if (read_kept(path, machine, profile)) {
    std::set<std::string> kept;
    for (const KernelRate& rate : profile.kernels) kept.insert(rate.scheme);
    if (std::ranges::includes(kept, wanted)) return profile;
    wanted.merge(kept);
  }
  profile = measure({wanted.begin(), wanted.end()});
  keep(path, profile);
  return profile;
}

}  // namespace

fs::path gpu_cache_path() { return path_of(this_gpu()); }

std::string build_id() {
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  if (error) return "unknown";
  const auto size = fs::file_size(program, error);
  const auto time = fs::last_write_time(program, error);
  return error ? "unknown" : fmt::format("{} bytes of {}", size, time.time_since_epoch().count());
}

fs::path hardware_cache_path(int n_threads) { return path_of(this_cpu(n_threads)); }

HardwareProfile load_or_measure(const fs::path& path, int n_threads, const std::vector<std::string>& schemes,
                                const Measure& measure) {
  return load_or_measure(path, this_cpu(n_threads), schemes, measure);
}

HardwareProfile load_or_measure_gpu(const std::vector<std::string>& schemes, const ProbeProgress& on_progress) {
  return load_or_measure(gpu_cache_path(), this_gpu(), schemes,
                         [&](const std::vector<std::string>& all) { return measure_gpu(all, on_progress); });
}

#ifndef TM_CUDA
HardwareProfile measure_gpu(const std::vector<std::string>&, const ProbeProgress&) {
  TM_CHECK(false, "a card of a program without CUDA: {}", current_gpu().name);
}
#endif

HardwareProfile load_or_measure(int n_threads, const std::vector<std::string>& schemes,
                                const ProbeProgress& on_progress) {
  return load_or_measure(hardware_cache_path(n_threads), n_threads, schemes, [&](const std::vector<std::string>& all) {
    return measure_hardware(n_threads, all, on_progress);
  });
}

HardwareProfile measure_and_keep(int n_threads, const std::vector<std::string>& schemes,
                                 const ProbeProgress& on_progress) {
  const HardwareProfile profile = measure_hardware(n_threads, schemes, on_progress);
  keep(hardware_cache_path(n_threads), profile);
  return profile;
}

}  // namespace trimeter
