// For tests: a checkpoint with activation outliers as large models have them, made of one without by exact arithmetic.
#pragma once
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "base/error.h"
#include "io/file.h"
#include "spec/model_spec.h"
#include "tensor/numeric.h"

namespace trimeter {

// Copies the bf16 checkpoint in `from` to `to`, with every 29th channel of what the norms put out 16, 32 or 64 times
// larger (the norms' weights) and the linears' columns that read it as much smaller. Powers of two are exact in bf16
// and through every sum, so that the logits are the same to the bit.
inline void plant_outliers(const std::filesystem::path& from, const std::filesystem::path& to, const ModelSpec& spec) {
  TM_CHECK(spec.dtype == DType::kBF16, "outliers are planted in bf16");
  for (const auto& entry : std::filesystem::directory_iterator(from))
    if (entry.path().filename() != "model.safetensors")
      std::filesystem::copy_file(entry.path(), to / entry.path().filename());
  std::string file = read_file(from / "model.safetensors");
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, file.data(), sizeof header_bytes);
  const nlohmann::json header = nlohmann::json::parse(file.substr(sizeof header_bytes, header_bytes));
  // Element [row, channel] of every row, times the channel's factor or its reciprocal.
  const auto scale = [&](const std::string& tensor, int64_t n_rows, bool up) {
    char* data =
        file.data() + sizeof header_bytes + header_bytes + header.at(tensor).at("data_offsets")[0].get<int64_t>();
    for (int64_t row = 0; row < n_rows; ++row)
      for (int64_t channel = 7; channel < spec.hidden_size; channel += 29) {
        const float factor = static_cast<float>(16 << channel % 3);
        char* at = data + 2 * (row * spec.hidden_size + channel);
        uint16_t bits = 0;
        std::memcpy(&bits, at, sizeof bits);
        bits = bf16_from_float(up ? bf16_to_float(bits) * factor : bf16_to_float(bits) / factor);
        std::memcpy(at, &bits, sizeof bits);
      }
  };
  for (int layer = 0; layer < spec.n_layers; ++layer) {
    const std::string prefix = "model.layers." + std::to_string(layer) + ".";
    scale(prefix + "input_layernorm.weight", 1, true);
    scale(prefix + "post_attention_layernorm.weight", 1, true);
    for (const LinearSpec& linear : spec.linears_of_layer(layer))
      if (linear.role == LinearRole::kQkv || linear.role == LinearRole::kGateUp)
        for (const LinearPart& part : linear.parts) scale(part.tensor, part.n_rows, false);
  }
  write_file_atomic(to / "model.safetensors", file);
}

}  // namespace trimeter
