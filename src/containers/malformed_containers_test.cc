// What tests/malformed/make_containers.py makes is refused, each with the message that says why.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <functional>
#include <map>

#include "base/error.h"
#include "containers/container.h"
#include "containers/kv_scales.h"
#include "containers/stored_quantization.h"
#include "io/file.h"
#include "io/temporary_directory.h"

namespace trimeter {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMaxBytes = 1 << 20;

fs::path source_dir() {
  const char* source = std::getenv("TRIMETER_SOURCE_DIR");
  return source == nullptr ? "." : source;
}

std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

using Table = std::map<std::string, std::string>;

// Every file of the folder is in the table, or is one that is accepted; the table has no other.
void check_folder(const fs::path& folder, Table wanted, const std::function<std::string(const fs::path&)>& answer) {
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().stem(), got = answer(entry.path());
    const bool fine = name.starts_with("ok_") || name.ends_with("_ok");
    EXPECT_EQ(got, fine ? "accepted" : wanted[name]) << name;
    wanted.erase(name);
  }
  EXPECT_TRUE(wanted.empty()) << wanted.begin()->first;
}

TEST(MalformedContainers, ConfigsAreRefused) {
  const std::string group = "c: field 'config_groups': field 'group_0': ", weights = group + "field 'weights': ",
                    inputs = group + "field 'input_activations': ", kv = "c: field 'kv_cache_scheme': ";
  const Table wanted = {
      {"bad_awq_bits", "c: field 'bits': wanted 4, got 3"},
      {"bad_awq_group_0", "c: field 'group_size': wanted -1 or a positive number, got 0"},
      {"bad_awq_group_text", "c: field 'group_size': wanted an integer in [-1, 1048576], got \"128\""},
      {"bad_awq_kept", "c: field 'modules_to_not_convert': wanted a list of strings, got \"lm_head\""},
      {"bad_awq_kv",
       "c: field 'kv_cache_scheme': wanted none, got "
       "{\"dynamic\":false,\"num_bits\":8,\"strategy\":\"tensor\",\"symmetric\":true,\"type\":\"float\"}"},
      {"bad_awq_negative_bits", "c: field 'bits': wanted an integer in [1, 64], got -4"},
      {"bad_awq_no_bits", "c: field 'bits': wanted a number, got none"},
      {"bad_awq_no_zero_point", "c: field 'zero_point': wanted true, got false"},
      {"bad_awq_two_bits", "c: field 'w_bit': wanted 4, as 'bits' has it, got 8"},
      {"bad_awq_version", "c: field 'version': wanted gemm, got \"gemv_fast\""},
      {"bad_ct_actorder", weights + "field 'actorder': wanted group, weight, static, true or false, got \"random\""},
      {"bad_ct_bits", weights + "field 'num_bits': wanted 4 or 8 (integers), 8 (floats), got 3"},
      {"bad_ct_block", weights + "field 'block_structure': wanted [128, 128], got [64,64]"},
      {"bad_ct_dynamic_weights", weights + "field 'dynamic': wanted false, got true"},
      {"bad_ct_float_4_bits", weights + "field 'num_bits': wanted 4 or 8 (integers), 8 (floats), got 4"},
      {"bad_ct_group_size", weights + "field 'group_size': wanted a positive number, got 0"},
      {"bad_ct_group_text", group + "wanted an object, got \"W4A16\""},
      {"bad_ct_groups_list", "c: field 'config_groups': wanted an object, got []"},
      {"bad_ct_ignore", "c: field 'ignore': wanted a list of strings, got {\"lm_head\":true}"},
      {"bad_ct_ignore_regex",
       "c: field 'ignore': wanted a regular expression, got '(?P<x': syntax error in subpattern name (missing "
       "terminator?)"},
      {"bad_ct_inputs_alone", weights + "wanted weights quantized with their activations, got null"},
      {"bad_ct_inputs_bits", inputs + "field 'num_bits': wanted 8, got 4"},
      {"bad_ct_inputs_local", inputs + "field 'dynamic': wanted true or false, got \"local\""},
      {"bad_ct_inputs_static", inputs + "field 'strategy': wanted tensor for static activations, got \"token\""},
      {"bad_ct_inputs_strategy", inputs + "field 'strategy': wanted token for dynamic activations, got \"channel\""},
      {"bad_ct_inputs_type", inputs + "field 'type': wanted that of the weights, got \"float\""},
      {"bad_ct_inputs_zero_points", inputs + "field 'symmetric': wanted true, got false"},
      {"bad_ct_kv_bits", kv + "field 'num_bits': wanted 8, got 4"},
      {"bad_ct_kv_dynamic", kv + "field 'dynamic': wanted false, got true"},
      {"bad_ct_kv_heads", kv + "field 'strategy': wanted tensor, got \"attn_head\""},
      {"bad_ct_kv_int8", kv + "field 'type': wanted float, got \"int\""},
      {"bad_ct_kv_zero_points", kv + "field 'symmetric': wanted true, got false"},
      {"bad_ct_layout",
       "c: field 'format': wanted pack-quantized, int-quantized, float-quantized, naive-quantized, mixed-precision, "
       "dense, got \"nvfp4-pack-quantized\""},
      {"bad_ct_layout_dense",
       group + "field 'format': wanted a layout of int4 weights, as 'weights' has them, got \"dense\""},
      {"bad_ct_layout_group", group + "field 'format': wanted pack-quantized, int-quantized, float-quantized, "
                                      "naive-quantized, mixed-precision, dense, got \"marlin-24\""},
      {"bad_ct_layout_of_4_bits",
       group + "field 'format': wanted a layout of int4 weights, as 'weights' has them, got \"int-quantized\""},
      {"bad_ct_layout_of_float",
       group + "field 'format': wanted a layout of int4 weights, as 'weights' has them, got \"float-quantized\""},
      {"bad_ct_layout_of_int",
       group + "field 'format': wanted a layout of float8 weights, as 'weights' has them, got \"pack-quantized\""},
      {"bad_ct_negative_bits", weights + "field 'num_bits': wanted an integer in [1, 64], got -8"},
      {"bad_ct_no_block", weights + "field 'block_structure': wanted [128, 128], got none"},
      {"bad_ct_no_group_size", weights + "field 'group_size': wanted a positive number, got none"},
      {"bad_ct_no_groups", "c: field 'config_groups': wanted an object, got none"},
      {"bad_ct_no_targets", group + "field 'targets': wanted a list of strings, got none"},
      {"bad_ct_observer", weights + "field 'observer': wanted a string, got [\"minmax\"]"},
      {"bad_ct_outputs", group + "field 'output_activations': wanted null, got "
                                 "{\"dynamic\":true,\"num_bits\":8,\"strategy\":\"token\",\"type\":\"int\"}"},
      {"bad_ct_sparse", "c: field 'sparsity_config': wanted null, got {\"format\":\"sparse-24-bitmask\"}"},
      {"bad_ct_strategy", weights + "field 'strategy': wanted tensor, channel, group or block, got \"tensor_group\""},
      {"bad_ct_target_class", group + "field 'targets': wanted Linear, modules' names or regexes, got \"Embedding\""},
      {"bad_ct_target_regex",
       group +
           "field 'targets': wanted a regular expression, got '*proj': quantifier does not follow a repeatable item"},
      {"bad_ct_transform", "c: field 'transform_config': wanted null, got {\"config_groups\":{\"u\":{}}}"},
      {"bad_ct_type", weights + "field 'type': wanted int or float, got \"uint\""},
      {"bad_empty", "c: field 'quant_method': wanted a string, got none"},
      {"bad_fp8_block", "c: field 'weight_block_size': wanted [128, 128], got [64,64]"},
      {"bad_fp8_block_count", "c: field 'weight_block_size': wanted [128, 128], got [128]"},
      {"bad_fp8_block_static", "c: field 'activation_scheme': wanted dynamic, with blocks, got \"static\""},
      {"bad_fp8_format", "c: field 'fmt': wanted e4m3, got \"e5m2\""},
      {"bad_fp8_ignored", "c: field 'ignored_layers': wanted a list of strings, got \"lm_head\""},
      {"bad_fp8_kv", "c: field 'kv_cache_scheme': wanted static, got \"dynamic\""},
      {"bad_fp8_no_scheme", "c: field 'activation_scheme': wanted a string, got none"},
      {"bad_fp8_scheme", "c: field 'activation_scheme': wanted static or dynamic, got \"per-head\""},
      {"bad_gptq_bits", "c: field 'bits': wanted 4 or 8, got 3"},
      {"bad_gptq_bits_float", "c: field 'bits': wanted an integer in [1, 64], got 4.5"},
      {"bad_gptq_desc_act", "c: field 'desc_act': wanted true or false, got \"yes\""},
      {"bad_gptq_dynamic", "c: field 'dynamic': wanted an object, got [\"-:.*\"]"},
      {"bad_gptq_group", "c: field 'group_size': wanted an integer in [-1, 1048576], got -128"},
      {"bad_gptq_inside",
       "c: field 'modules_in_block_to_quantize': wanted a list of lists of strings, got \"mlp.up_proj\""},
      {"bad_gptq_layout", "c: field 'checkpoint_format': wanted gptq or gptq_v2, got \"marlin\""},
      {"bad_gptq_no_bits", "c: field 'bits': wanted an integer in [1, 64], got none"},
      {"bad_gptq_no_group", "c: field 'group_size': wanted an integer in [-1, 1048576], got none"},
      {"bad_gptq_pack", "c: field 'pack_dtype': wanted int32, got \"int16\""},
      {"bad_gptq_rule_bits", "c: field 'dynamic': field '.*': field 'bits': wanted 4 or 8, got 2"},
      {"bad_gptq_rule_body", "c: field 'dynamic': field '+:.*': wanted an object, got 4"},
      {"bad_gptq_rule_layout",
       "c: field 'dynamic': field '.*': field 'format': wanted that of all modules, got \"gptq_v2\""},
      {"bad_gptq_rule_out",
       "c: field 'dynamic': field '-:.*': wanted {}, as '-:' leaves a module in floats, got {\"bits\":8}"},
      {"bad_gptq_rule_regex",
       "c: field 'dynamic': field '-:(': wanted a regular expression, got '(': missing closing parenthesis"},
      {"bad_gptq_two_layouts", "c: field 'format': wanted 'gptq_v2', as 'checkpoint_format' has it, got \"gptq\""},
      {"bad_method", "c: field 'quant_method': wanted awq, gptq, compressed-tensors or fp8, got \"bitsandbytes\""},
      {"bad_method_type", "c: field 'quant_method': wanted a string, got 4"},
      {"bad_no_object", "c: wanted an object, got []"},
      {"bad_truncated", "c: not valid JSON (UTF-8) at byte 45 of 44"},
      {"bad_twice", "c: duplicate key 'quant_method': wanted each key once in an object"},
  };
  check_folder(source_dir() / "tests/fuzz/corpus/quantization_config", wanted, [](const fs::path& path) {
    return message_of([&] { parse_quantization(read_file(path, kMaxBytes), "c"); });
  });
}

struct Kind {
  const char* prefix;  // of the file's name; a longer one comes first
  const char* container;
  const char* scheme;
};
constexpr Kind kKinds[] = {{"awq", "autoawq", "int4_g32_zp"},
                           {"gptq_order", "gptq", "int4_g32_order"},
                           {"gptq_zeros", "gptq", "int4_g32_zp"},
                           {"gptq", "gptq", "int4_g32"},
                           {"ct_int4", "compressed-tensors", "int4_g32_zp"},
                           {"ct_int8", "compressed-tensors", "int8_static"},
                           {"fp8_block", "vllm-fp8", "fp8_e4m3_block128"},
                           {"fp8", "vllm-fp8", "fp8_e4m3_static"}};

void read_module(const Checkpoint& checkpoint, const std::string& name, ThreadPool& pool) {
  if (name.starts_with("kv")) {
    read_kv_scale(checkpoint, 0);
    return;
  }
  for (const Kind& kind : kKinds)
    if (name.starts_with(kind.prefix)) {
      const StoredMatrix matrix{"m", {8, 64}, *traits_of(scheme(kind.scheme))};
      const CanonicalWeight weight = find_container(kind.container)->read(checkpoint, matrix, pool);
      EXPECT_EQ(weight.codes.size(), 512u);
      return;
    }
  FAIL() << name;
}

TEST(MalformedContainers, TensorsAreRefused) {
  const std::string tensor = "d/model.safetensors: tensor 'm.";
  const Table wanted = {
      {"awq_packed_along_inputs", tensor + "qweight': wanted shape [64, 1], got [8, 8]"},
      {"awq_qweight_dtype", tensor + "qweight': wanted I32, got I64"},
      {"awq_qweight_missing", "d: no tensor 'm.qweight' among its 2"},
      {"awq_qzeros_missing", "d: no tensor 'm.qzeros' among its 2"},
      {"awq_qzeros_shape", tensor + "qzeros': wanted shape [2, 1], got [1, 1]"},
      {"awq_scales_beyond_f16", tensor + "scales': wanted scales that F16, the model's dtype, can hold, got 65520"},
      {"awq_scales_dtype", tensor + "scales': wanted scales in BF16, F16 or F32, got I32"},
      {"awq_scales_missing", "d: no tensor 'm.scales' among its 2"},
      {"awq_scales_nan", tensor + "scales': wanted finite scales, got nan at [1, 7]"},
      {"awq_scales_of_other_groups", tensor + "scales': wanted shape [2, 8], got [1, 8]"},
      {"ct_int4_not_packed", "d: no tensor 'm.weight_packed' among its 4"},
      {"ct_int4_other_shape", tensor + "weight_shape': wanted 8 x 64, got 64 x 8"},
      {"ct_int4_packed_shape", tensor + "weight_packed': wanted shape [8, 8], got [8, 16]"},
      {"ct_int4_scale_shape", tensor + "weight_scale': wanted shape [8, 2], got [8, 1]"},
      {"ct_int4_shape_dtype", tensor + "weight_shape': wanted I32 or I64, got F32"},
      {"ct_int4_shape_missing", "d: no tensor 'm.weight_shape' among its 3"},
      {"ct_int4_zeros_beyond", tensor + "weight_zero_point': wanted zero points in [-8, 7], got 8"},
      {"ct_int4_zeros_missing", "d: no tensor 'm.weight_zero_point' among its 3"},
      {"ct_int4_zeros_shape", tensor + "weight_zero_point': wanted shape [1, 2], got [8, 2]"},
      {"ct_int8_input_scale_negative", tensor + "input_scale': wanted a positive scale, got -0.5"},
      {"ct_int8_input_zero_point", tensor + "input_zero_point': wanted zero points of 0, got others"},
      {"ct_int8_no_input_scale", "d: no tensor 'm.input_scale' among its 2"},
      {"ct_int8_scale_per_tensor", tensor + "weight_scale': wanted shape [8, 1], got [1]"},
      {"ct_int8_weight_dtype", tensor + "weight': wanted I8, got F8_E4M3"},
      {"fp8_block_scale_name", "d: no tensor 'm.weight_scale_inv' among its 2"},
      {"fp8_block_scale_shape", tensor + "weight_scale_inv': wanted shape [1, 1], got [8, 1]"},
      {"fp8_scale_dtype", tensor + "weight_scale': wanted scales in BF16, F16 or F32, got I32"},
      {"fp8_scale_missing", "d: no tensor 'm.weight_scale' among its 2"},
      {"fp8_scale_zero", tensor + "weight_scale': wanted a positive scale, got 0"},
      {"fp8_two_scales", tensor + "weight_scale': wanted one scale, got shape [2]"},
      {"fp8_weight_dtype", tensor + "weight': wanted F8_E4M3, got BF16"},
      {"fp8_weight_nan", tensor + "weight': wanted finite values, got NaN at 511"},
      {"gptq_g_idx_beyond", tensor + "g_idx': wanted groups in [0, 1], got 2 at [63]"},
      {"gptq_g_idx_dtype", tensor + "g_idx': wanted I32, got I64"},
      {"gptq_g_idx_length", tensor + "g_idx': wanted shape [64], got [32]"},
      {"gptq_g_idx_negative", tensor + "g_idx': wanted groups in [0, 1], got -1 at [0]"},
      {"gptq_g_idx_uneven", tensor + "g_idx': wanted 32 inputs in each group, got 33 in group 0"},
      {"gptq_g_idx_without_order",
       tensor + "g_idx': wanted the groups in order, as there is no act-order, got another order"},
      {"gptq_order_without_g_idx", "d: no tensor 'm.g_idx' among its 3"},
      {"gptq_packed_for_8_bits", tensor + "qweight': wanted shape [8, 8], got [16, 8]"},
      {"gptq_qzeros_off_middle", tensor + "qzeros': wanted 7 alone, as sym is true, got 8"},
      {"gptq_qzeros_shape", tensor + "qzeros': wanted shape [2, 1], got [2, 8]"},
      {"gptq_scales_infinite", tensor + "scales': wanted finite scales, got inf at [0, 0]"},
      {"gptq_scales_missing", "d: no tensor 'm.scales' among its 3"},
      {"gptq_truncated",
       tensor + "g_idx': data_offsets [264, 520]: wanted an end within the file's 452 data bytes, got 68 too many"},
      {"gptq_zeros_of_16", tensor + "qzeros': wanted stored zero points up to 14, got 15: in checkpoint_format 'gptq' "
                                    "readers disagree about it"},
      {"kv_negative",
       "d/model.safetensors: tensor 'model.layers.0.self_attn.v_scale': wanted a positive scale, got -1"},
      {"kv_no_k", "d: no tensor 'model.layers.0.self_attn.k_scale' among its 1"},
      {"kv_per_head",
       "d/model.safetensors: tensor 'model.layers.0.self_attn.v_scale': wanted one scale, got shape [2]"},
  };
  ThreadPool pool(1);
  check_folder(source_dir() / "tests/malformed/containers", wanted, [&](const fs::path& path) {
    const TemporaryDirectory directory;
    const std::string place = directory.path().string();
    fs::copy_file(path, directory.path() / "model.safetensors");
    std::string message =
        message_of([&] { read_module(Checkpoint::open(directory.path()), path.stem().string(), pool); });
    if (const size_t at = message.find(place); at != message.npos) message.replace(at, place.size(), "d");
    return message;
  });
}

}  // namespace
}  // namespace trimeter
