// The grid of integer weights: w = (q - z) * s, q a code of `bits` bits, with a scale s and a zero point z for each row
// and group of inputs. Without zero points z is the middle, 2^(bits-1), and codes are two's complement with the sign
// bit flipped, as GPTQ and compressed-tensors pack them. Scales are rounded to what they are stored in, fp16 or f32,
// before codes are chosen.
#pragma once
#include <cstdint>
#include <span>

namespace trimeter {

struct IntegerGrid {
  int bits;            // 4 or 8
  bool zero_points;    // z is stored; else the middle
  int64_t group_size;  // inputs that share s and z; 0: a whole row
  bool f32_scales = false;

  int max_code() const { return (1 << bits) - 1; }
  int middle() const { return 1 << (bits - 1); }

  struct Point {
    float scale = 0;
    uint8_t zero = 0;
  };
  // Around the values' range, which is first multiplied by `shrink`:
  //   with zero points  s = (max(w, 0) - min(w, 0)) / max_code, z = clamp(-round(min / s)): AutoAWQ's
  //                     pseudo_quantize_tensor with the range widened to hold 0, as its zero point assumes
  //   symmetric         s = 2 max|w| / max_code (GPTQ's and compressed-tensors' symmetric scale)
  Point fit(std::span<const float> values, float shrink = 1) const;
  // The nearest, ties to even, clamped to the codes there are.
  uint8_t code(float value, Point p) const;
  void code(std::span<const float> values, Point p, uint8_t* codes) const;
  float value(uint8_t code, Point p) const { return static_cast<float>(code - p.zero) * p.scale; }
};

}  // namespace trimeter
