#include "containers/container.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "base/error.h"
#include "containers/packing.h"
#include "containers/stored_quantization.h"
#include "io/safetensors_writer.h"
#include "io/temporary_directory.h"
#include "spec/ledger.h"
#include "tensor/numeric.h"

namespace trimeter {
namespace {

constexpr int64_t kHidden = 256, kInner = 384;

ModelSpec small_model() {
  ModelSpec spec;
  spec.architecture = "LlamaForCausalLM";
  spec.vocab_size = 64;
  spec.hidden_size = kHidden;
  spec.intermediate_size = kInner;
  spec.n_layers = 2;
  spec.n_heads = 4;
  spec.n_kv_heads = 2;
  spec.head_dim = 64;
  spec.tie_word_embeddings = true;
  return spec;
}

struct Random {
  std::mt19937 bits{11};
  std::vector<float> floats(int64_t n) {
    std::normal_distribution<float> normal(0.01f, 0.05f);
    std::vector<float> values(n);
    for (float& value : values) value = normal(bits);
    return values;
  }
};

// A fused linear in a scheme, with everything that it may carry set to something that is not the default.
CanonicalWeight random_weight(const Scheme& scheme, MatShape shape, Random& random) {
  const std::vector<float> values = random.floats(shape.out * shape.in);
  const DenseRows rows{reinterpret_cast<const std::byte*>(values.data()), DType::kF32, shape.out};
  CanonicalWeight weight = scheme.quantize_rtn(std::span(&rows, 1), shape);
  const SchemeTraits& traits = *traits_of(scheme);
  if (traits.inputs == SchemeTraits::Inputs::kStatic) weight.input_scale = 0.0123f;
  if (traits.act_order) {
    weight.group_of_input.resize(shape.in);
    for (int64_t k = 0; k < shape.in; ++k)
      weight.group_of_input[k] = static_cast<int32_t>(k % traits.n_groups(shape.in));
  }
  return weight;
}

struct Files {
  TemporaryDirectory directory;
  std::vector<TensorInfo> infos;
  std::map<std::string, std::vector<std::byte>> bytes;

  EmitTensor emit() {
    return [this](const TensorInfo& info, std::span<const std::byte> data) {
      EXPECT_EQ(info.bytes(), std::ssize(data)) << info.name;
      infos.push_back(info);
      bytes[info.name].assign(data.begin(), data.end());
    };
  }
  Checkpoint open() const {
    SafetensorsWriter writer(directory.path(), infos);
    for (const TensorInfo& info : infos) writer.write(info.name, bytes.at(info.name));
    writer.finish();
    return Checkpoint::open(directory.path());
  }
};

struct Pair {
  const Container* container;
  const Scheme* scheme;
};

// Every container with every scheme that it writes.
std::vector<Pair> all_pairs() {
  std::vector<Pair> pairs;
  for (const char* name : {"autoawq", "gptq", "gptq-v2", "compressed-tensors", "vllm-fp8"})
    for (const Scheme* scheme : all_schemes())
      if (const SchemeTraits* traits = traits_of(*scheme))
        if (find_container(name)->refuses_to_write({"m", {64, kHidden}, *traits}).empty())
          pairs.push_back({find_container(name), scheme});
  return pairs;
}

Format format_of(const Pair& pair) {
  return {.name = "x",
          .scheme = std::string(pair.scheme->info().name),
          .algorithm = kStoredAlgorithm,
          .container = std::string(pair.container->name()),
          .summary = ""};
}

TEST(Containers, EverySchemeOfCodesHasTraitsOfItsOwn) {
  int n_with_traits = 0;
  for (const Scheme* scheme : all_schemes()) {
    const SchemeTraits* traits = traits_of(*scheme);
    if (const IntegerGrid* grid = scheme->info().grid) {
      ASSERT_NE(traits, nullptr) << scheme->info().name;
      EXPECT_EQ(traits->bits, grid->bits);
      EXPECT_EQ(traits->zero_points, grid->zero_points);
      EXPECT_EQ(traits->scales == SchemeTraits::Scales::kGroup ? traits->group_size : 0, grid->group_size);
    }
    if (traits == nullptr) continue;
    ++n_with_traits;
    EXPECT_EQ(&scheme_of(*traits, "test"), scheme) << scheme->info().name;
    EXPECT_EQ(traits->inputs == SchemeTraits::Inputs::kStatic, scheme->info().static_input) << scheme->info().name;
  }
  EXPECT_GE(n_with_traits, 2);
}

// Written as the un-fused matrices, read back and fused again: the same codes, scales, zero points, orders. A layout
// that mixes up an order, a dimension or an offset in one direction only can't pass; the files of other writers
// (containers_golden_test.cc) say that both directions are right.
TEST(Containers, WhatIsWrittenIsReadBack) {
  const ModelSpec spec = small_model();
  ThreadPool pool(2);
  Random random;
  std::set<const Container*> seen;
  for (const Pair& pair : all_pairs()) {
    seen.insert(pair.container);
    const Format format = format_of(pair);
    for (const LinearSpec& linear : spec.linears_of_layer(0)) {
      SCOPED_TRACE(fmt::format("{} {} {}", format.container, format.scheme, name(linear.role)));
      CanonicalWeight weight = random_weight(*pair.scheme, linear.shape, random);
      if (pair.container->name() == "gptq")  // it has no 0
        for (uint8_t& zero : weight.zeros) zero = std::max<uint8_t>(zero, 1);
      const std::vector<StoredMatrix> matrices = stored_matrices(spec, format, linear);
      ASSERT_EQ(matrices.size(), linear.parts.size());
      Files files;
      write_stored(*pair.container, weight, matrices, files.emit());
      std::vector<TensorInfo> planned;
      for (const StoredMatrix& matrix : matrices)
        for (const TensorInfo& info : pair.container->tensors(matrix)) planned.push_back(info);
      ASSERT_EQ(planned.size(), files.infos.size());
      for (size_t i = 0; i < planned.size(); ++i) EXPECT_EQ(planned[i].name, files.infos[i].name);

      const CanonicalWeight got = read_stored(*pair.container, files.open(), matrices, pool);
      EXPECT_EQ(got.shape.out, weight.shape.out);
      EXPECT_EQ(got.codes, weight.codes);
      EXPECT_EQ(got.scales, weight.scales);
      EXPECT_EQ(got.zeros, weight.zeros);
      EXPECT_EQ(got.scale_dtype, weight.scale_dtype);
      EXPECT_EQ(got.group_of_input, weight.group_of_input);
      EXPECT_EQ(got.input_scale, pair.scheme->info().static_input ? weight.input_scale : 0);
    }
  }
  EXPECT_EQ(seen.size(), 5u);
}

// What the model's dtype has nearest to them; those of W8A8 as they are. Writers hold them in F16, so they are put
// there.
TEST(Containers, ScalesInF32AreRoundedToTheModelsDtypeWhereVllmRoundsThem) {
  ThreadPool pool(2);
  Random random;
  int n_rounded = 0, n_kept = 0;
  for (const DType dtype : {DType::kBF16, DType::kF16}) {
    ModelSpec spec = small_model();
    spec.dtype = dtype;
    const LinearSpec linear = spec.linears_of_layer(0)[0];
    for (const Pair& pair : all_pairs()) {
      const Format format = format_of(pair);
      SCOPED_TRACE(fmt::format("{} {} {}", format.container, format.scheme, name(dtype)));
      const SchemeTraits& traits = *traits_of(*pair.scheme);
      if (traits.scales == SchemeTraits::Scales::kTensor) continue;
      CanonicalWeight weight = random_weight(*pair.scheme, linear.shape, random);
      for (uint8_t& zero : weight.zeros) zero = std::max<uint8_t>(zero, 1);
      for (float& scale : weight.scales) scale *= 1.00037f;
      const std::vector<StoredMatrix> matrices = stored_matrices(spec, format, linear);
      Files files;
      write_stored(*pair.container, weight, matrices, files.emit());
      const bool in_columns = pair.container->name() != "compressed-tensors" && pair.container->name() != "vllm-fp8";
      size_t next = 0;
      for (TensorInfo& info : files.infos) {
        if (info.name.find("scale") == std::string::npos || info.name.ends_with("input_scale")) continue;
        info.dtype = DType::kF32;
        std::vector<float> scales(weight.scales.begin() + next,
                                  weight.scales.begin() + next + info.shape[0] * info.shape[1]);
        next += scales.size();
        files.bytes[info.name] =
            encoded(in_columns ? transposed(scales, info.shape[1], info.shape[0]) : scales, DType::kF32);
      }
      ASSERT_EQ(next, weight.scales.size());
      const CanonicalWeight got = read_stored(*pair.container, files.open(), matrices, pool);
      const bool rounded = traits.inputs == SchemeTraits::Inputs::k16Bit;
      ++(rounded ? n_rounded : n_kept);
      std::vector<float> wanted = weight.scales;
      for (float& scale : wanted)
        if (rounded)
          scale = dtype == DType::kF16 ? f16_to_float(f16_from_float(scale)) : bf16_to_float(bf16_from_float(scale));
      EXPECT_EQ(got.scales, wanted);
      EXPECT_EQ(wanted == weight.scales, !rounded);
      if (rounded) {
        EXPECT_EQ(got.scale_dtype, dtype);
      }
      pair.scheme->pack(got, pool);  // throws for a scale that is not exact in what it is kept in
    }
  }
  EXPECT_GE(n_rounded, 40);
  EXPECT_GE(n_kept, 6);
}

// Written as one scheme, read as the config of another says.
TEST(Containers, TensorsThatTheConfigDeniesAreRefused) {
  const ModelSpec spec = small_model();
  ThreadPool pool(1);
  Random random;
  const Container& container = *find_container("compressed-tensors");
  const LinearSpec linear = spec.linears_of_layer(0)[0];
  const auto message = [&](std::string_view scheme_name, auto deny) -> std::string {
    const Format format{.name = "x",
                        .scheme = std::string(scheme_name),
                        .algorithm = kStoredAlgorithm,
                        .container = "compressed-tensors",
                        .summary = ""};
    std::vector<StoredMatrix> matrices = stored_matrices(spec, format, linear);
    Files files;
    write_stored(container, random_weight(scheme(scheme_name), linear.shape, random), matrices, files.emit());
    for (StoredMatrix& matrix : matrices) deny(matrix.traits);
    try {
      read_stored(container, files.open(), matrices, pool);
    } catch (const Error& error) {
      return error.what();
    }
    return "accepted";
  };
  const auto has = [](const std::string& text, const char* words) { return text.find(words) != std::string::npos; };
  const std::string zeros = message("int4_g128_zp", [](SchemeTraits& traits) { traits.zero_points = false; });
  EXPECT_TRUE(has(zeros, "weight_zero_point': wanted zero points of 0, got others")) << zeros;
  const std::string scale =
      message("int8_static", [](SchemeTraits& traits) { traits.inputs = SchemeTraits::Inputs::kPerToken; });
  EXPECT_TRUE(has(scale, "input_scale': wanted none, as the config has int8 weights per-channel, per-token")) << scale;
}

// bytes(ledger) = bytes(on disk): values and scales, rows being a multiple of 16. Beside them a file has what memory
// need not: GPTQ's zero points of symmetric schemes and its trivial g_idx, shapes, one scale per tensor.
TEST(Containers, BytesOnDiskAreTheLedgers) {
  const ModelSpec spec = small_model();
  for (const Pair& pair : all_pairs()) {
    const Format format = format_of(pair);
    for (const LinearSpec& linear : spec.linears_of_layer(0)) {
      SCOPED_TRACE(fmt::format("{} {} {}", format.container, format.scheme, name(linear.role)));
      int64_t values = 0, scales = 0;
      for (const StoredMatrix& matrix : stored_matrices(spec, format, linear))
        for (const TensorInfo& info : pair.container->tensors(matrix)) {
          const std::string kind = info.name.substr(matrix.module.size());
          const SchemeTraits& traits = matrix.traits;
          if (kind == ".weight" || kind == ".qweight" || kind == ".weight_packed")
            values += info.bytes();
          else if (kind == ".qzeros" || kind == ".weight_zero_point")
            scales += traits.zero_points ? info.bytes() : 0;
          else if (kind == ".scales" || kind.starts_with(".weight_scale"))
            scales += traits.scales == SchemeTraits::Scales::kTensor ? 0 : info.bytes();
          else if (kind.ends_with("g_idx"))
            scales += traits.act_order && matrix.module == module_of(linear.parts[0]) ? info.bytes() : 0;
        }
      const WeightBytes ledger = pair.scheme->bytes(linear.shape);
      EXPECT_EQ(values, ledger.values);
      EXPECT_EQ(scales, ledger.scales);
    }
  }
}

// The config that is written says of every module what it is in, and its lm_head and the kept ones that they are not.
TEST(Containers, ConfigsAreReadBack) {
  const ModelSpec spec = small_model();
  for (const Pair& pair : all_pairs()) {
    Format format = format_of(pair);
    SCOPED_TRACE(format.container + " " + format.scheme);
    format.scheme_of_module["model.layers.1.self_attn.qkv_proj"] = "bf16";
    format.scheme_of_module["model.layers.1.mlp.down_proj"] = "bf16";
    const StoredQuantization stored = parse_quantization(pair.container->config(spec, format), "test");
    EXPECT_EQ(stored.container, format.container);
    std::vector<LinearSpec> linears = spec.linears();
    linears.push_back(spec.lm_head());
    for (const LinearSpec& linear : linears)
      for (const LinearPart& part : linear.parts) {
        const bool kept = linear.role == LinearRole::kLmHead || format.scheme_of_module.count(module_name(linear)) > 0;
        const auto traits = stored.traits_of(linear.role == LinearRole::kLmHead ? "lm_head" : module_of(part));
        EXPECT_EQ(traits.has_value(), !kept) << part.tensor;
        if (traits) {
          EXPECT_EQ(&scheme_of(*traits, "test"), pair.scheme) << traits->text();
        }
      }
  }
}

TEST(Containers, CompressedTensorsHasWordsForAMixOfSchemes) {
  const ModelSpec spec = small_model();
  Format format = format_of({find_container("compressed-tensors"), &scheme("int4_g128")});
  format.scheme_of_module["model.layers.0.mlp.down_proj"] = "int4_g32_zp";
  const StoredQuantization stored = parse_quantization(find_container("compressed-tensors")->config(spec, format), "t");
  EXPECT_EQ(*stored.traits_of("model.layers.0.mlp.down_proj"), *traits_of(scheme("int4_g32_zp")));
  EXPECT_EQ(*stored.traits_of("model.layers.1.mlp.down_proj"), *traits_of(scheme("int4_g128")));
  for (const char* other : {"autoawq", "gptq", "vllm-fp8"})
    EXPECT_THROW(find_container(other)->config(spec, format), Error) << other;
}

// vLLM's requantize_with_max_scale, value by value: through half precision, then times 1 / the largest scale.
TEST(Containers, ScalesOfAFusedTensorBecomeTheLargest) {
  const Container& fp8 = *find_container("vllm-fp8");
  const SchemeTraits traits = *traits_of(scheme("fp8_e4m3"));
  const float scales[] = {0.001f, 0.003f};
  std::vector<StoredMatrix> matrices;
  Files files;
  for (int part = 0; part < 2; ++part) {
    matrices.push_back({fmt::format("p{}", part), {1, 128}, traits});
    CanonicalWeight weight;
    weight.shape = {1, 128};
    for (int code = 0; code < 128; ++code) weight.codes.push_back(static_cast<uint8_t>(code == 127 ? 0x80 : code));
    weight.scales = {scales[part]};
    fp8.write(weight, matrices.back(), files.emit());
  }
  ThreadPool pool(1);
  const CanonicalWeight got = read_stored(fp8, files.open(), matrices, pool);
  EXPECT_EQ(got.scales, std::vector<float>{0.003f});
  for (int code = 0; code < 127; ++code) {
    const float half = f16_to_float(f16_from_float(e4m3_to_float(static_cast<uint8_t>(code)) * 0.001f));
    EXPECT_EQ(got.codes[code], e4m3_from_float(half * (1.0f / 0.003f))) << code;
    EXPECT_EQ(got.codes[128 + code], code);
  }
}

}  // namespace
}  // namespace trimeter
