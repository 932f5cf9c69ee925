#include "kernels/gpu_rows.h"

#include <algorithm>

#include "base/integers.h"
#include "kernels/gpu_scratch.h"

namespace trimeter {

int64_t gpu_rows_waited_for(int64_t n, int64_t rows_of_block, int64_t n_multiprocessors) {
  return ceil_div(ceil_div(n, rows_of_block), n_multiprocessors) * n_multiprocessors * rows_of_block;
}

GpuWgmmaDivision gpu_wgmma_division(int64_t n, int64_t k, int64_t n_tokens, int64_t n_multiprocessors,
                                    const GpuClusters& at_once) {
  GpuWgmmaDivision best;
  int64_t least = INT64_MAX;
  const int64_t units = ceil_div(k, int64_t{128});
  constexpr int64_t kMostShared = kGpuMatmulCounterBytes / (8 * int64_t{sizeof(uint32_t)});  // a counter for each warp
  for (const int64_t rows : {256, 128}) {
    if (rows == 256 && n_tokens > 64) continue;
    const int64_t blocks = ceil_div(n, rows);
    // In hundredths of a unit of 256 rows. A CTA's start and end, and what adding up costs a cluster and neighbours.
    const int64_t unit = rows == 256 ? 100 : 68, ends = rows == 256 ? 550 : 400, in_cluster = 200, in_neighbours = 600;
    const auto consider = [&](int64_t cost, int64_t cluster, bool is_shared) {
      if (cost >= least) return;
      least = cost;
      best = {rows, cluster, is_shared};
    };
    consider(ceil_div(blocks, n_multiprocessors) * (units * unit + ends), 1, false);
    if (blocks > n_multiprocessors && blocks <= kMostShared)
      consider(ceil_div(blocks * units, n_multiprocessors) * unit + ends + in_neighbours, 1, true);
    for (int64_t cluster = 2; cluster <= std::min(units, std::ssize(at_once) - 1); ++cluster)
      if (const int64_t fit = at_once[static_cast<size_t>(cluster)]; fit > 0)
        consider(ceil_div(blocks, fit) * (ceil_div(units, cluster) * unit + ends + in_cluster), cluster, false);
  }
  return best;
}

bool gpu_blocks_stay_whole(int64_t n, int64_t rows_of_block, int64_t n_multiprocessors) {
  return ceil_div(n, rows_of_block) > n_multiprocessors;
}

}  // namespace trimeter
