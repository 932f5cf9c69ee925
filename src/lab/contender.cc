#include "lab/contender.h"

#include <algorithm>

#include "base/error.h"
#include "containers/gguf_model.h"
#include "containers/model_path.h"
#include "io/file.h"
#include "io/json.h"

namespace trimeter {
namespace {

void check_same_tokenizer(const Subject& model, const std::filesystem::path& other) {
  if (const char* file = "tokenizer.json"; !is_gguf(model.directory) && !is_gguf(other)) {
    if (read_file(model.directory / file) != read_file(other / file))
      throw Error(Errc::kBadArgument, "{}: wanted the tokenizer of {}, got another", (other / file).string(),
                  model.directory.string());
    return;
  }
  // Ids that no text comes to have a name in a GGUF file, in tokenizer.json they have none.
  const Tokenizer &a = model.tokenizer, b = open_tokenizer(other);
  for (int32_t id = 0; id < std::min(a.vocab_size(), b.vocab_size()); ++id)
    if (const auto x = a.token_bytes(id), y = b.token_bytes(id); !x.empty() && !y.empty() && x != y)
      throw Error(Errc::kBadArgument, "{}: token {}: wanted that of {}, '{}', got '{}'", other.string(), id,
                  model.directory.string(), printable(x), printable(y));
}

void check_same_model(const Subject& model, const Contender& other) {
  const auto check = [&](const char* what, const auto& wanted, const auto& got) {
    if (wanted != got)
      throw Error(Errc::kBadArgument, "{}: {}: wanted that of {}, {}, got {}", other.path.string(), what,
                  model.directory.string(), wanted, got);
  };
  const ModelSpec &a = model.spec, &b = other.spec;
  check("architecture", a.architecture, b.architecture);
  check("vocab_size", a.vocab_size, b.vocab_size);
  check("hidden_size", a.hidden_size, b.hidden_size);
  check("intermediate_size", a.intermediate_size, b.intermediate_size);
  check("num_hidden_layers", a.n_layers, b.n_layers);
  check("num_attention_heads", a.n_heads, b.n_heads);
  check("num_key_value_heads", a.n_kv_heads, b.n_kv_heads);
  check("head_dim", a.head_dim, b.head_dim);
  check_same_tokenizer(model, other.path);
}

bool is_path(const std::string& name) {
  std::error_code ignored;
  return name.find('/') != name.npos || is_gguf(name) || std::filesystem::is_directory(name, ignored);
}

// "DIR+kv-fp8": DIR in its own format with another KV cache, unless there is something of the whole name.
void take_path(const std::string& name, EngineOptions& options) {
  const std::filesystem::path model(without_kv_format(name));
  options.model = name;
  std::error_code ignored;
  if (std::filesystem::exists(name, ignored) || !std::filesystem::exists(model, ignored)) return;
  options.model = model;
  options.format = fmt::format("{}+{}", kOwnFormat, kv_format_of(name)->name);
}

}  // namespace

Contender make_contender(const EngineOptions& engine, const Subject& model, const std::string& name) {
  EngineOptions options = engine;
  if (!is_path(name) && !is_path(std::string(without_kv_format(name)))) {
    options.format = name;
    return {name, model.directory, model.spec, engine_format(options, model.spec)};
  }
  take_path(name, options);
  Contender contender{name, options.model, open_model_spec(options.model), {}};
  check_same_model(model, contender);
  contender.format = engine_format(options, contender.spec);
  return contender;
}

}  // namespace trimeter
