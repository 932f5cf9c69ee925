// A GGUF file's weights, packed as they are.
#pragma once
#include "containers/gguf_model.h"
#include "model/weights.h"

namespace trimeter {

// Linear by linear; gives the file's pages back. Throws Error with file, tensor, wanted and got.
ModelWeights load_gguf_weights(const GgufModel& model, const LoadOptions& options, ThreadPool& pool);

}  // namespace trimeter
