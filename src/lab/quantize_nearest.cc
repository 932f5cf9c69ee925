#include "lab/quantize_nearest.h"

#include "containers/gguf_writer.h"
#include "lab/evaluation_set.h"
#include "lab/quantize.h"
#include "model/layer_quantizer.h"

namespace trimeter {

void quantize_nearest(const std::filesystem::path& model, const Format& format, const std::filesystem::path& output,
                      bool force, const std::shared_ptr<ThreadPool>& threads,
                      const std::function<void(const std::string& what, int done, int total)>& on_progress) {
  if (format.container == "gguf") {
    GgufCheckpoint(model, gguf_file_type_of(format)).write(output, [&](int done, int total) {
      on_progress("tensors", done, total);
    });
    return;
  }
  QuantizeOptions options;
  options.format = format.name;
  if (const Algorithm& own = find_algorithm(format);
      own.scaling != Scaling::kNone || own.rounding != Rounding::kNearest)
    options.algorithm = "rtn";
  if (needs_calibration(recipe_format(options))) {
    options.calibration = read_calibration_texts(find_data_directory(""));
    options.calibration.resize(1);
  }
  options.model = model;
  options.output = output;
  options.force = force;
  options.threads = threads;
  options.on_progress = on_progress;
  run_quantize(options);
}

}  // namespace trimeter
