// How ggml chooses the scale (and minimum) of a sub-block: least weighted squared error over candidate scales near the
// obvious one, each refitted to the codes that it gives. Float sums run in the order of the values, so that the chosen
// codes are ggml's own.
#pragma once
#include <cstdint>
#include <span>

namespace trimeter::ggml {

// Nearest integer, ties to even, for |x| < 2^22.
int nearest(float x);

// x ~ scale (code - half), codes 0 to 2 half - 1; weights x^2. Returns the scale, which may be negative.
float fit_symmetric(std::span<const float> x, int half, int8_t* codes);
// The same grid: from the obvious scale on, single codes are moved (up to five rounds) while the fit gets better.
float fit_symmetric_by_steps(std::span<const float> x, int half, int8_t* codes);

struct AffineSearch {
  int levels;           // codes 0 to levels
  float first, step;    // candidate i: (levels + first + i step) / (max - min)
  int last;             // i = 0 to last
  bool absolute_error;  // weighted |error| instead of its square
};
struct AffineFit {
  float scale, minimum;  // x ~ scale code - minimum, minimum >= 0
};
AffineFit fit_affine(std::span<const float> x, const float* weights, const AffineSearch& search, uint8_t* codes);

}  // namespace trimeter::ggml
