// GPTQ (arXiv:2210.17323): codes are chosen input by input; each one's rounding error is made good, as far as the
// calibration inputs allow, by the weights of the inputs that come after it.
//
// With H = 2/n X^T X + damping * mean(diag H) * I, in double, and a row w of the weight, for each input j in turn
//   q_j = Q(w_j),   w_k -= (w_j - q_j) N_jk for all k > j
// N_jk = U_jk / U_jj with U the upper Cholesky factor of H^-1. No inverse of H is needed for it: if H = M D M^T with M
// upper triangular with a diagonal of 1 (algorithms/cholesky.h), then N = M^-1.
//
// As the published code (IST-DASLab/gptq, gptq.py) has it:
//   - an input that no token has used gets H_jj = 1 and weights of 0
//   - updates are made at once within a block of 128 inputs, and for the rest when the block is done
//   - a group's scale and zero point are found when its first input is reached, from the weights as they then are. (For
//     groups smaller than the block the published code takes them as of the block's beginning; here they are current.)
// Memory: 8 in^2 bytes beside the statistics. Multiplications: 2/3 in^3 for N and out * in^2 / 2 for the rows.
#pragma once
#include <span>

#include "algorithms/input_statistics.h"
#include "schemes/scheme.h"

namespace trimeter {

struct GptqOptions {
  double damping = 0.01;  // of the mean diagonal
  // Inputs in order of falling diagonal of H ("desc_act"): the largest are rounded while most can still be made good.
  // Groups are then of inputs that follow each other in that order (CanonicalWeight::group_of_input), unless they are
  // static: of neighbours as ever, with scales found from the weights before any update, so that every kernel runs it.
  bool act_order = false;
  bool static_groups = false;
  // The range of each group is shrunk to 1, 0.99, ... 0.21 of itself, whichever gives the least sum |w - Q(w)|^2.4.
  bool search_range = false;
};

// weight: [out, in]. `in` must be a multiple of the grid's group size, and that divide 128 or be a multiple of it.
// Throws Error(kBadArgument) if the damped H is not positive definite. The same bits for any number of threads.
CanonicalWeight gptq(std::span<const float> weight, const InputStatistics& input, const IntegerGrid& grid,
                     const GptqOptions& options, ThreadPool& pool);

}  // namespace trimeter
