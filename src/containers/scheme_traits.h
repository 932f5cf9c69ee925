// What the configs of quantized checkpoints say of a linear, in their own words, and the scheme that is.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

#include "schemes/scheme.h"

namespace trimeter {

struct SchemeTraits {
  enum class Type { kInt, kFloat };
  enum class Scales { kTensor, kChannel, kGroup, kBlock };  // kBlock: 128 x 128
  enum class Inputs { k16Bit, kPerToken, kStatic };         // static: one scale per tensor, from the checkpoint

  Type type = Type::kInt;
  int bits = 4;
  Scales scales = Scales::kGroup;
  int64_t group_size = 0;  // of kGroup
  bool zero_points = false, act_order = false;
  Inputs inputs = Inputs::k16Bit;

  bool operator==(const SchemeTraits&) const = default;
  int64_t n_groups(int64_t in) const { return scales == Scales::kGroup ? in / group_size : 1; }
  int middle() const { return 1 << (bits - 1); }
  std::string text() const;  // "int4 weights per-group(128) with zero points, 16-bit activations"
};

inline constexpr int64_t kScaleBlock = 128;  // rows and columns of Scales::kBlock

// nullptr: a scheme of floats, or of blocks that are no codes with scales.
const SchemeTraits* traits_of(const Scheme& scheme);
// Throws Error(kUnsupported), opened by `where`, if there is no such scheme.
const Scheme& scheme_of(const SchemeTraits& traits, const std::string& where);

}  // namespace trimeter
