#include "schemes/ggml/search.h"

#include <algorithm>
#include <cmath>

#include "tensor/numeric.h"

namespace trimeter::ggml {
namespace {

constexpr float kNothing = 1e-15f;  // a sub-block whose largest value is below this is zero

float largest_by_size(std::span<const float> x) {
  float largest = 0, size = 0;
  for (const float value : x)
    if (std::fabs(value) > size) {
      size = std::fabs(value);
      largest = value;
    }
  return largest;
}

int code_of(float scaled, int half) { return std::clamp(nearest(scaled), -half, half - 1); }

// Least squares of x ~ scale code under weights x^2: scale = xl / ll.
struct Sums {
  float xl = 0, ll = 0;
  void add(float x, int code) {
    const float w = x * x, l = static_cast<float>(code);
    xl += w * x * l;
    ll += w * l * l;
  }
};

// One round over the values: the code that the others' fit asks for is taken where it betters the fit.
bool move_codes(std::span<const float> x, int half, int8_t* codes, Sums& sums) {
  bool moved = false;
  for (size_t i = 0; i < x.size(); ++i) {
    const float w = x[i] * x[i], l = codes[i];
    Sums others{sums.xl - w * x[i] * l, sums.ll - w * l * l};
    if (!(others.xl > 0)) continue;
    const int code = code_of(x[i] * others.ll / others.xl, half);
    if (code == codes[i]) continue;
    others.add(x[i], code);
    if (others.ll > 0 && others.xl * others.xl * sums.ll > sums.xl * sums.xl * others.ll) {
      codes[i] = static_cast<int8_t>(code);
      sums = others;
      moved = true;
    }
  }
  return moved;
}

}  // namespace

int nearest(float x) { return static_cast<int>(bits_from_float(x + 0x1.8p23f) & 0x7fffffu) - 0x400000; }

float fit_symmetric(std::span<const float> x, int half, int8_t* codes) {
  const float largest = largest_by_size(x);
  if (std::fabs(largest) < kNothing) {
    std::fill_n(codes, x.size(), int8_t{0});
    return 0;
  }
  const auto take = [&](float inverse) {
    for (size_t i = 0; i < x.size(); ++i) codes[i] = static_cast<int8_t>(code_of(inverse * x[i], half) + half);
  };
  const auto sums_of = [&](float inverse) {
    Sums sums;
    for (const float value : x) sums.add(value, code_of(inverse * value, half));
    return sums;
  };
  float inverse = -static_cast<float>(half) / largest;
  take(inverse);
  Sums sums = sums_of(inverse);
  float scale = sums.ll != 0 ? sums.xl / sums.ll : 0.0f, best = scale * sums.xl;
  for (int i = -9; i <= 9; ++i) {
    if (i == 0) continue;
    inverse = -(static_cast<float>(half) + 0.1f * static_cast<float>(i)) / largest;
    sums = sums_of(inverse);
    if (sums.ll > 0 && sums.xl * sums.xl > best * sums.ll) {
      take(inverse);
      scale = sums.xl / sums.ll;
      best = scale * sums.xl;
    }
  }
  return scale;
}

float fit_symmetric_by_steps(std::span<const float> x, int half, int8_t* codes) {
  const float largest = largest_by_size(x);
  if (std::fabs(largest) < kNothing) {
    std::fill_n(codes, x.size(), int8_t{0});
    return 0;
  }
  const float inverse = -static_cast<float>(half) / largest;
  Sums sums;
  for (size_t i = 0; i < x.size(); ++i) {
    codes[i] = static_cast<int8_t>(code_of(inverse * x[i], half));
    sums.add(x[i], codes[i]);
  }
  for (int round = 0; round < 5 && move_codes(x, half, codes, sums); ++round) {
  }
  for (size_t i = 0; i < x.size(); ++i) codes[i] = static_cast<int8_t>(codes[i] + half);
  return sums.ll > 0 ? sums.xl / sums.ll : 0.0f;
}

AffineFit fit_affine(std::span<const float> x, const float* weights, const AffineSearch& search, uint8_t* codes) {
  float low = x[0], high = x[0], sum_w = weights[0], sum_x = sum_w * x[0];
  for (size_t i = 1; i < x.size(); ++i) {
    low = std::min(low, x[i]);
    high = std::max(high, x[i]);
    sum_w += weights[i];
    sum_x += weights[i] * x[i];
  }
  if (low > 0) low = 0;
  if (high == low) {
    std::fill_n(codes, x.size(), uint8_t{0});
    return {0, -low};
  }
  uint8_t candidate[32];
  const auto code = [&](float inverse, float value, float least) {
    return static_cast<uint8_t>(std::clamp(nearest(inverse * (value - least)), 0, search.levels));
  };
  const auto error_of = [&](const uint8_t* l, AffineFit fit) {
    float error = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      const float difference = fit.scale * static_cast<float>(l[i]) + fit.minimum - x[i];
      error += weights[i] * (search.absolute_error ? std::fabs(difference) : difference * difference);
    }
    return error;
  };

  const float levels = static_cast<float>(search.levels), obvious = levels / (high - low);
  AffineFit best{1 / obvious, low};  // minimum: with its sign, until returned
  for (size_t i = 0; i < x.size(); ++i) codes[i] = code(obvious, x[i], low);
  float best_error = error_of(codes, best);
  for (int step = 0; step <= search.last; ++step) {
    // The range is that of the best fit so far.
    const float least = best.minimum;
    const float inverse = (search.first + search.step * static_cast<float>(step) + levels) / (high - least);
    float sum_l = 0, sum_ll = 0, sum_xl = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      candidate[i] = code(inverse, x[i], least);
      const float l = candidate[i], wl = weights[i] * l;
      sum_l += wl;
      sum_ll += wl * l;
      sum_xl += wl * x[i];
    }
    const float determinant = sum_w * sum_ll - sum_l * sum_l;
    if (!(determinant > 0)) continue;
    AffineFit fit{(sum_w * sum_xl - sum_x * sum_l) / determinant, (sum_ll * sum_x - sum_l * sum_xl) / determinant};
    if (fit.minimum > 0) fit = {sum_xl / sum_ll, 0};
    if (const float error = error_of(candidate, fit); error < best_error) {
      std::copy_n(candidate, x.size(), codes);
      best_error = error;
      best = fit;
    }
  }
  return {best.scale, -best.minimum};
}

}  // namespace trimeter::ggml
