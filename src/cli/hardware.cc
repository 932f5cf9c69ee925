// trimeter hardware: measure this machine.
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <set>

#include "base/cpu.h"
#include "base/error.h"
#include "base/gpu.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "io/file.h"
#include "lab/output_file.h"
#include "probe/probe.h"
#include "report/text.h"
#include "schemes/gpu_plan.h"
#include "spec/format.h"

namespace trimeter {
namespace {

struct Flags {
  std::string json;
  std::string device = EngineOptions{}.device;
  int threads = 0;
  bool force = false;
};

// "GPU none: ...", or its name, compute capability and memory.
std::string gpu_line(const GpuProbe& gpus) {
  if (gpus.devices.empty()) return "GPU       none: " + gpus.why_none;
  std::string line = "GPU       ";
  for (size_t i = 0; i < gpus.devices.size(); ++i) {
    const GpuInfo& gpu = gpus.devices[i];
    line += fmt::format("{}{} (compute capability {}.{}, {})", i ? "; " : "", gpu.name, gpu.compute_capability / 10,
                        gpu.compute_capability % 10, bytes_text(gpu.memory_bytes));
  }
  return line;
}

Document document_of(const HardwareProfile& p, const std::string& kept) {
  Document document;
  document.title = fmt::format("{}: {}, {} thread{}, {}", p.name, p.isa, p.threads, p.threads == 1 ? "" : "s",
                               bytes_text(p.memory_bytes));
  document.subtitles = {fmt::format("measured {}; kept in {}", p.measured_at, kept.empty() ? "no file" : kept),
                        gpu_line(probe_gpus())};

  Table bandwidth;
  bandwidth.columns = {{"", "working set"}, {"", "threads"}, {"", "GB/s"}};
  for (const BandwidthPoint& point : p.read_bandwidth)
    bandwidth.add({{bytes_text(point.working_set_bytes)},
                   {std::to_string(point.threads)},
                   {fmt::format("{:.1f}", point.bytes_per_s / 1e9)}});
  document.sections.push_back({"Read bandwidth", "", {bandwidth}});

  Table rates;
  rates.columns = {{"", "arithmetic", Align::kLeft}, {"", "GOP/s"}};
  for (const auto& [arithmetic, rate] : p.rates) rates.add({{arithmetic}, {fmt::format("{:.0f}", rate / 1e9)}});
  document.sections.push_back({"Peak rates of dot products", "multiply and add counted apart, all threads", {rates}});

  Table kernels;
  kernels.columns = {{"", "scheme", Align::kLeft}, {"", "tokens"}, {"", "Gweights/s a thread"}};
  for (const KernelRate& k : p.kernels)
    kernels.add({{k.scheme}, {std::to_string(k.n_tokens)}, {fmt::format("{:.2f}", 1e-9 / k.seconds_per_weight)}});
  document.sections.push_back({"Kernels, weights in cache", "", {kernels}});

  const bool is_gpu = p.kind == "cuda";
  Items fixed{{is_gpu ? "kernel in a graph" : "barrier", time_text(p.barrier_s)},
              {"layer", time_text(p.layer_overhead_s)},
              {"step", time_text(p.step_overhead_s)}};
  if (is_gpu) {
    fixed.push_back({"kernel by itself", time_text(p.launch_s)});
    fixed.push_back({"layer of a step that is no graph", time_text(p.launched_layer_s)});
    fixed.push_back({"such a step", time_text(p.launched_step_s)});
  }
  document.sections.push_back({"Fixed costs", "", {std::move(fixed)}});
  return document;
}

void hardware(const Flags& flags) {
  std::optional<OutputFile> json;
  if (!flags.json.empty()) json.emplace(flags.json, kProfileMark, flags.force);
  Progress progress = stderr_progress();
  const auto tell = [&](const std::string& what, int done, int total) { progress.update(what, done, total); };
  EngineOptions options;
  options.device = flags.device;
  const bool on_card = engine_target(options).is_gpu();
  const std::filesystem::path cache = on_card ? gpu_cache_path() : hardware_cache_path(flags.threads);
  std::error_code failed;
  if (flags.force && std::filesystem::exists(cache, failed) && !std::filesystem::remove(cache, failed))
    throw Error(Errc::kIo, "{}: cannot remove: {}", cache.string(), failed.message());
  std::set<std::string> schemes;
  for (const Format& format : all_formats())
    if (!on_card || gpu_refuses(scheme(format.scheme).info(), current_gpu().compute_capability).empty())
      schemes.insert(format.scheme);
  const std::vector<std::string> wanted(schemes.begin(), schemes.end());
  const HardwareProfile profile =
      on_card ? load_or_measure_gpu(wanted, tell) : load_or_measure(flags.threads, wanted, tell);
  progress.finish();
  print(document_of(profile, cache.string()));
  if (json) json->write(to_json(profile));
}

}  // namespace

void add_hardware(CLI::App& program) {
  const auto flags = std::make_shared<Flags>();
  CLI::App* command = program.add_subcommand("hardware", "measure this machine into a profile, which is kept");
  command->add_option("--json", flags->json, "write the profile to this file, too");
  command->add_option("--device", flags->device, "cpu, or cuda: the first card")->capture_default_str();
  command->add_option("--threads", flags->threads, "threads [one per CPU]")->check(CLI::Range(0, 1024));
  command->add_flag("--force", flags->force, "measure again, and overwrite files that trimeter did not write");
  command->footer(
      "Examples:\n"
      "  trimeter hardware\n"
      "  trimeter hardware --force --json this-machine.json");
  command->callback([flags] { hardware(*flags); });
}

}  // namespace trimeter
