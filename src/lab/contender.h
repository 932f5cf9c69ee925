// What takes part in a comparison: the model in a format, or another checkpoint of the same model.
#pragma once
#include <filesystem>
#include <string>

#include "engine/engine.h"
#include "lab/subject.h"
#include "spec/format.h"

namespace trimeter {

// An entry of --formats: MODEL in a format, or a directory or GGUF file that is quantized already.
struct Contender {
  std::string name;
  std::filesystem::path path;
  ModelSpec spec;
  Format format;
};

// "fp8", "./demo-awq", "demo.gguf+kv-int8". Throws Error for a name there is not, and for a checkpoint that is not the
// model but for its numbers: the same shapes, the same tokenizer.
Contender make_contender(const EngineOptions& engine, const Subject& model, const std::string& name);

}  // namespace trimeter
