// A model in another format where only its speed matters: nearest codes, nothing is searched.
#pragma once
#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "base/thread_pool.h"
#include "spec/format.h"

namespace trimeter {

// A directory, or a GGUF file with a format of GGUF. Where activations have a static scale it is that of one of the
// project's calibration texts. Throws Error as run_quantize() and GgufCheckpoint do.
void quantize_nearest(const std::filesystem::path& model, const Format& format, const std::filesystem::path& output,
                      bool force, const std::shared_ptr<ThreadPool>& threads,
                      const std::function<void(const std::string& what, int done, int total)>& on_progress);

}  // namespace trimeter
