// Tokens drawn by kernels/draw_rule.h. A row is a cluster's, each CTA of which keeps its share of the logits in shared
// memory where that is large enough, and reads it anew where not. Nothing is sorted but what shares a bin with a cut:
// - top_k and top_p each find the lowest logit (and token) that they keep in a histogram of 2048 bins over the logits
//   that matter, of counts or of weights. The bin's own tokens, up to 1024, are sorted; if there are more, a finer
//   histogram is made of them.
//
// - The draw sums the weights that are left, in the order of tokens, by warp, CTA and row, and goes back into one
// warp's.
//
// Sums are integers: a row's token is the same whatever the batch and however many CTAs share it.
#include <cooperative_groups.h>

#include <algorithm>
#include <climits>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/ops.h"
#include "kernels/cuda/ptx.cuh"

namespace trimeter::cuda {
namespace {

constexpr int kThreads = 512, kWarps = kThreads / 32, kMostParts = 8, kLeastOfPart = 4096;
constexpr int kDigitBits = 11, kBins = 1 << kDigitBits, kList = 1024;
constexpr int kKeyBits = 32 + kDrawTokenBits;
constexpr unsigned kAllLanes = 0xffffffffu;

// The CTAs that share a row.
struct Team {
  int part, n_parts;
#if __CUDA_ARCH__ >= 900
  __device__ void sync() const { cooperative_groups::this_cluster().sync(); }
  template <class T>
  __device__ T* of(T* mine, int other) const {
    return cooperative_groups::this_cluster().map_shared_rank(mine, static_cast<unsigned>(other));
  }
#else
  __device__ void sync() const { __syncthreads(); }
  template <class T>
  __device__ T* of(T* mine, int) const {
    return mine;
  }
#endif
};

struct Extremes {
  float most, least;
  int token;  // of the most
  int finite;
  __device__ void take(float logit, int other_token) {
    if (logit > most || (logit == most && other_token < token)) most = logit, token = other_token;
  }
  __device__ void take(const Extremes& other) {
    take(other.most, other.token);
    least = fminf(least, other.least);
    finite &= other.finite;
  }
};

struct alignas(16) Room {
  unsigned count[kBins], low[kBins], high[kBins];  // of a bin: tokens, and the two words of their weight
  uint64_t list[kList];
  Extremes extremes_of_warp[kWarps], extremes_of_part;
  uint64_t sum_of_warp[kWarps], sum_of_part[2], scan_of_warp[kWarps];
  uint64_t found_before;
  int found;
  unsigned n_list;
};
static_assert(sizeof(Room) <= 48 << 10);

// Of a row: how its CTA reads it.
struct Slice {
  const float* from;     // the row
  const uint32_t* seen;  // null: none is penalised
  float penalty;
  float* kept;  // in shared memory; null: it is too small
  int begin, end;

  __device__ float read(int token) const {
    const float logit = from[token];
    const bool is_seen = seen != nullptr && (seen[token / 32] >> (token % 32) & 1) != 0;
    return is_seen ? penalised_logit(logit, penalty) : logit;
  }
  __device__ float at(int token) const { return kept != nullptr ? kept[token - begin] : read(token); }
};

struct Row {
  const Team team;
  const Slice slice;
  Room& room;
  Extremes extremes{};
  DrawWeight weight{};
  // What is left: logits above `least`, and those equal to it up to `last_token`.
  float least = -FLT_MAX;
  int last_token = INT_MAX;

  __device__ static int lane() { return static_cast<int>(threadIdx.x) % 32; }
  __device__ static int warp() { return static_cast<int>(threadIdx.x) / 32; }
  __device__ bool is_left(float logit, int token) const {
    return logit > least || (logit == least && token <= last_token);
  }
  // visit(logit, token), each token once.
  template <class Visit>
  __device__ void for_each(Visit&& visit) const {
#pragma unroll 1  // more would spill
    for (int token = slice.begin + static_cast<int>(threadIdx.x); token < slice.end; token += kThreads)
      visit(slice.at(token), token);
  }

  __device__ void load();
  struct Sum {
    uint64_t total, before, own;  // of the row, of the parts before this one, of this one
  };
  __device__ Sum sum(int which);
  template <int kEach>
  __device__ void find_first(const uint64_t (&values)[kEach], uint64_t wanted);
  __device__ void sort_list(int n);
  template <bool kByWeight>
  __device__ bool find_cut(uint64_t wanted, float from, uint64_t& cut);
  __device__ void list_of(int n, uint64_t least_key);
};

// Extremes of the row, and the slice into shared memory.
__device__ void Row::load() {
  Extremes mine{-FLT_MAX, FLT_MAX, INT_MAX, 1};
#pragma unroll 8
  for (int token = slice.begin + static_cast<int>(threadIdx.x); token < slice.end; token += kThreads) {
    const float logit = slice.read(token);
    if (slice.kept != nullptr) slice.kept[token - slice.begin] = logit;
    mine.finite &= fabsf(logit) <= FLT_MAX;
    mine.take(logit, token);
    mine.least = fminf(mine.least, logit);
  }
  const auto of_lanes = [&](int first_step) {
    for (int step = first_step; step > 0; step /= 2) {
      const Extremes other{__shfl_xor_sync(kAllLanes, mine.most, step), __shfl_xor_sync(kAllLanes, mine.least, step),
                           __shfl_xor_sync(kAllLanes, mine.token, step), __shfl_xor_sync(kAllLanes, mine.finite, step)};
      mine.take(other);
    }
  };
  of_lanes(16);
  if (lane() == 0) room.extremes_of_warp[warp()] = mine;
  __syncthreads();
  mine = room.extremes_of_warp[lane() % kWarps];
  of_lanes(kWarps / 2);
  if (threadIdx.x == 0) room.extremes_of_part = mine;
  team.sync();
  for (int part = 0; part < team.n_parts; part++) mine.take(*team.of(&room.extremes_of_part, part));
  extremes = mine;
}

// A warp has consecutive tokens, so that a draw finds its way back. `which`: a row's first or second sum.
__device__ Row::Sum Row::sum(int which) {
  const int of_warp = (slice.end - slice.begin + 32 * kWarps - 1) / (32 * kWarps) * 32;
  const int begin = slice.begin + warp() * of_warp, end = min(begin + of_warp, slice.end);
  uint64_t own = 0;
#pragma unroll 4
  for (int token = begin + lane(); token < end; token += 32) {
    const float logit = slice.at(token);
    if (is_left(logit, token)) own += weight(logit);
  }
  for (int step = 16; step > 0; step /= 2) own += __shfl_xor_sync(kAllLanes, own, step);
  if (lane() == 0) room.sum_of_warp[warp()] = own;
  __syncthreads();
  Sum result{};
  for (int w = 0; w < kWarps; w++) result.own += room.sum_of_warp[w];
  if (threadIdx.x == 0) room.sum_of_part[which] = result.own;
  team.sync();
  for (int part = 0; part < team.n_parts; part++) {
    const uint64_t of_part = *team.of(&room.sum_of_part[which], part);
    if (part < team.part) result.before += of_part;
    result.total += of_part;
  }
  return result;
}

// Of the values of all threads in order the first with which they reach `wanted`: room.found, -1 if none does, and what
// those before it come to. Barriers of the caller are between two calls.
template <int kEach>
__device__ void Row::find_first(const uint64_t (&values)[kEach], uint64_t wanted) {
  uint64_t own = 0;
#pragma unroll
  for (int j = 0; j < kEach; j++) own += values[j];
  uint64_t before = own;
  for (int step = 1; step < 32; step *= 2) {
    const uint64_t lower = __shfl_up_sync(kAllLanes, before, step);
    if (lane() >= step) before += lower;
  }
  if (lane() == 31) room.scan_of_warp[warp()] = before;
  if (threadIdx.x == 0) room.found = -1;
  __syncthreads();
  before -= own;
  for (int w = 0; w < warp(); w++) before += room.scan_of_warp[w];
#pragma unroll
  for (int j = 0; j < kEach; j++) {
    if (before < wanted && before + values[j] >= wanted) {
      room.found = static_cast<int>(threadIdx.x) * kEach + j;
      room.found_before = before;
    }
    before += values[j];
  }
  __syncthreads();
}

// The first n of the list, the largest first.
__device__ void Row::sort_list(int n) {
  int size = 2;
  while (size < n) size *= 2;
  for (int i = n + static_cast<int>(threadIdx.x); i < size; i += kThreads) room.list[i] = 0;
  for (int run = 2; run <= size; run *= 2)
    for (int stride = run / 2; stride > 0; stride /= 2) {
      __syncthreads();
      for (int pair = static_cast<int>(threadIdx.x); pair < size / 2; pair += kThreads) {
        const int a = 2 * pair - (pair & (stride - 1)), b = a + stride;
        const uint64_t x = room.list[a], y = room.list[b];
        if ((x < y) == ((a & run) == 0)) room.list[a] = y, room.list[b] = x;
      }
    }
  __syncthreads();
}

// The key of the token with which logits from `from` up, the likeliest first, reach `wanted`: tokens, or their weight.
// False if they do not.
template <bool kByWeight>
__device__ bool Row::find_cut(uint64_t wanted, float from, uint64_t& cut) {
  // Halves, since a difference of two floats may be infinite.
  const float top = 0.5f * extremes.most, bottom = 0.5f * fmaxf(from, extremes.least);
  const float bins_per_logit = fminf(kBins / (top - bottom), FLT_MAX);
  int slot = -1, shift = kKeyBits;  // the bin whose tokens are looked at, then of these the ones with `prefix` above
  uint64_t prefix = 0;
  const auto bin_of = [&](float logit, int token) {
    if (logit < from) return -1;
    const int bin = static_cast<int>(fminf((top - 0.5f * logit) * bins_per_logit, kBins - 1));
    if (slot < 0) return bin;
    const uint64_t key = draw_key(logit, token);
    if (bin != slot || key >> shift >> kDigitBits != prefix) return -1;
    return kBins - 1 - (static_cast<int>(key >> shift) & (kBins - 1));
  };
  for (;;) {
    if (slot >= 0) team.sync();  // all have read the bins before
    for (int bin = static_cast<int>(threadIdx.x); bin < kBins; bin += kThreads)
      room.count[bin] = room.low[bin] = room.high[bin] = 0;
    if (threadIdx.x == 0) room.n_list = 0;
    __syncthreads();
    for_each([&](float logit, int token) {
      const int bin = bin_of(logit, token);
      if (bin < 0) return;
      atomicAdd(&room.count[bin], 1u);
      if (!kByWeight) return;
      const uint64_t w = weight(logit);
      const auto low = static_cast<unsigned>(w);
      const unsigned carry = atomicAdd(&room.low[bin], low) > ~low;
      if (const unsigned high = static_cast<unsigned>(w >> 32) + carry; high != 0) atomicAdd(&room.high[bin], high);
    });
    team.sync();
    constexpr int kEach = kBins / kThreads;
    uint64_t values[kEach] = {};
    for (int part = 0; part < team.n_parts; part++)
#pragma unroll
      for (int j = 0; j < kEach; j += 4) {
        const int bin = static_cast<int>(threadIdx.x) * kEach + j;
        const uint4 low = *reinterpret_cast<const uint4*>(team.of(kByWeight ? room.low : room.count, part) + bin);
        const uint4 high = kByWeight ? *reinterpret_cast<const uint4*>(team.of(room.high, part) + bin) : uint4{};
        values[j] += static_cast<uint64_t>(high.x) << 32 | low.x;
        values[j + 1] += static_cast<uint64_t>(high.y) << 32 | low.y;
        values[j + 2] += static_cast<uint64_t>(high.z) << 32 | low.z;
        values[j + 3] += static_cast<uint64_t>(high.w) << 32 | low.w;
      }
    find_first(values, wanted);
    const int bin = room.found;
    if (bin < 0) return false;
    wanted -= room.found_before;
    unsigned n = 0;
    for (int part = 0; part < team.n_parts; part++) n += team.of(room.count, part)[bin];
    if (n > kList) {
      if (slot < 0)
        slot = bin;
      else
        prefix = prefix << kDigitBits | static_cast<uint64_t>(kBins - 1 - bin);
      shift -= kDigitBits;  // to 8 at least, where a bin has 256 keys
      continue;
    }
    for_each([&](float logit, int token) {
      if (bin_of(logit, token) != bin) return;
      team.of(room.list, 0)[atomicAdd(team.of(&room.n_list, 0), 1u)] = draw_key(logit, token);
    });
    team.sync();
    const int in_list = static_cast<int>(n);
    if (team.part > 0)
      for (int i = static_cast<int>(threadIdx.x); i < in_list; i += kThreads) room.list[i] = team.of(room.list, 0)[i];
    team.sync();
    sort_list(in_list);
    uint64_t of_list[kList / kThreads] = {};
#pragma unroll
    for (int j = 0; j < kList / kThreads; j++) {
      const int i = static_cast<int>(threadIdx.x) * (kList / kThreads) + j;
      if (i < in_list) of_list[j] = kByWeight ? weight(logit_of_key(room.list[i])) : 1;
    }
    find_first(of_list, wanted);
    cut = room.list[room.found];
    return true;
  }
}

// The keys from least_key up, which are n, sorted, in the first part's list.
__device__ void Row::list_of(int n, uint64_t least_key) {
  if (threadIdx.x == 0) room.n_list = 0;
  team.sync();
  for_each([&](float logit, int token) {
    const uint64_t key = draw_key(logit, token);
    if (key >= least_key) team.of(room.list, 0)[atomicAdd(team.of(&room.n_list, 0), 1u)] = key;
  });
  team.sync();
  if (team.part == 0) sort_list(n);
}

struct Share {
  int n_parts, length;
  bool in_shared;
};

__device__ __forceinline__ Team team_of(const Share& share) {
  return {static_cast<int>(blockIdx.x) % share.n_parts, share.n_parts};
}
__device__ __forceinline__ Slice slice_of(const Share& share, const Team& team, const float* row, int vocab,
                                          float* shared) {
  const int begin = min(team.part * share.length, vocab);
  return {row, nullptr, 1, share.in_shared ? shared : nullptr, begin, min(begin + share.length, vocab)};
}

__global__ void __launch_bounds__(kThreads, 2) draw_kernel(const float* logits, int vocab, const DrawRow* rows,
                                                           const uint32_t* seen, Share share, int32_t* tokens) {
  extern __shared__ float slice_room[];
  __shared__ Room room;
  let_next_start();
  wait_for_inputs();
  const DrawRow parameters = rows[static_cast<int>(blockIdx.x) / share.n_parts];
  const Team team = team_of(share);
  Slice slice = slice_of(share, team, logits + static_cast<int64_t>(parameters.row) * vocab, vocab, slice_room);
  slice.penalty = parameters.penalty;
  if (parameters.seen >= 0) slice.seen = seen + static_cast<int64_t>(parameters.seen) * draw_seen_words(vocab);
  Row row{team, slice, room};
  row.load();
  int32_t* token_of_row = tokens + parameters.row;
  const bool finite = row.extremes.finite != 0;
  if (!finite || parameters.temperature == 0) {
    if (team.part == 0 && threadIdx.x == 0) *token_of_row = finite ? row.extremes.token : -1;
    return team.sync();  // none leaves while its shared memory is read
  }
  row.weight = {row.extremes.most, 1 / parameters.temperature, parameters.min_p};
  row.least = row.weight.floor();
  uint64_t cut = 0;
  if (parameters.top_k > 0 && parameters.top_k < vocab &&
      row.find_cut<false>(static_cast<uint64_t>(parameters.top_k), row.least, cut))
    row.least = logit_of_key(cut);  // equals of the last one stay
  if (parameters.top_p < 1) {
    const uint64_t total = row.sum(0).total, wanted = top_p_wanted(parameters.top_p, total);
    // As many of these as there are tokens can be spared.
    const auto spared = static_cast<double>((total - wanted) / static_cast<unsigned>(vocab));
    const float from = spared > 0 ? fmaxf(row.least, row.weight.floor_of(spared)) : row.least;
    if (row.find_cut<true>(wanted, from, cut)) {
      row.least = logit_of_key(cut);
      row.last_token = token_of_key(cut);
    }
  }
  const Row::Sum sum = row.sum(1);
  uint64_t drawn = drawn_sum(parameters.uniform, sum.total);
  if (drawn >= sum.before && drawn - sum.before < sum.own) {
    drawn -= sum.before;
    int warp = 0;
    for (; drawn >= room.sum_of_warp[warp]; warp++) drawn -= room.sum_of_warp[warp];
    if (warp == Row::warp()) {
      const int of_warp = (slice.end - slice.begin + 32 * kWarps - 1) / (32 * kWarps) * 32;
      const int begin = slice.begin + warp * of_warp, end = min(begin + of_warp, slice.end);
      for (int first = begin; first < end; first += 32) {
        const int token = first + Row::lane();
        const float logit = token < end ? slice.at(token) : -FLT_MAX;
        uint64_t upto = token < end && row.is_left(logit, token) ? row.weight(logit) : 0;
        for (int step = 1; step < 32; step *= 2) {
          const uint64_t lower = __shfl_up_sync(kAllLanes, upto, step);
          if (Row::lane() >= step) upto += lower;
        }
        const unsigned beyond = __ballot_sync(kAllLanes, upto > drawn);
        if (beyond != 0) {
          if (Row::lane() == __ffs(static_cast<int>(beyond)) - 1) *token_of_row = token;
          break;
        }
        drawn -= __shfl_sync(kAllLanes, upto, 31);
      }
    }
  }
  team.sync();
}

__global__ void __launch_bounds__(kThreads, 2) logprobs_kernel(const float* logits, int vocab, const LogprobRow* rows,
                                                               const int32_t* tokens, Share share, DrawLogprob* out) {
  extern __shared__ float slice_room[];
  __shared__ Room room;
  let_next_start();
  wait_for_inputs();
  const int index = static_cast<int>(blockIdx.x) / share.n_parts;
  const LogprobRow parameters = rows[index];
  const Team team = team_of(share);
  const float* from = logits + static_cast<int64_t>(parameters.row) * vocab;
  Row row{team, slice_of(share, team, from, vocab, slice_room), room};
  row.load();
  if (row.extremes.finite == 0) return team.sync();  // no token was drawn
  row.weight = {row.extremes.most, 1, 0};
  uint64_t cut = 0;
  const int n = min(parameters.n, vocab);
  if (n > 0 && row.find_cut<false>(static_cast<uint64_t>(n), -FLT_MAX, cut)) row.list_of(n, cut);
  const Row::Sum sum = row.sum(0);
  if (team.part == 0) {
    const double normaliser = row.weight.largest + log(static_cast<double>(sum.total) / DrawWeight::kOne);
    const auto of = [&](int token) {
      return DrawLogprob{token, static_cast<float>(static_cast<double>(from[token]) - normaliser)};
    };
    DrawLogprob* to = out + static_cast<int64_t>(index) * (kMostDrawLogprobs + 1);
    if (threadIdx.x == 0 && tokens[parameters.row] >= 0) to[0] = of(tokens[parameters.row]);
    if (static_cast<int>(threadIdx.x) < n) to[threadIdx.x + 1] = of(token_of_key(room.list[threadIdx.x]));
  }
  team.sync();
}

// Parts by the vocabulary alone; in shared memory if the card has as much.
template <class Kernel>
Share share_of(Kernel kernel, int64_t vocab) {
  if (vocab > kMostDrawVocab) unsupported("a vocabulary this large");
  Share share{1, 0, false};
  while (has_clusters() && share.n_parts < kMostParts && vocab / (2 * share.n_parts) >= kLeastOfPart)
    share.n_parts *= 2;
  share.length = static_cast<int>(round_up(ceil_div(vocab, share.n_parts), 32));
  static const int most_bytes = [&] {
    const int bytes = card().shared_bytes - static_cast<int>(sizeof(Room));
    cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
    return bytes;
  }();
  share.in_shared = share.length * static_cast<int64_t>(sizeof(float)) <= most_bytes;
  return share;
}

template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), int64_t n_rows, const Share& share, cudaStream_t stream,
            Arguments... arguments) {
  const size_t bytes = share.in_shared ? static_cast<size_t>(share.length) * sizeof(float) : 0;
  launch_in_clusters(kernel, dim3(static_cast<unsigned>(n_rows * share.n_parts)), kThreads, bytes, share.n_parts,
                     stream, arguments...);
}

}  // namespace

void draw(const float* logits, int64_t vocab, const DrawRow* rows, int64_t n_rows, const uint32_t* seen,
          int32_t* tokens, cudaStream_t stream) {
  const Share share = share_of(draw_kernel, vocab);
  launch(draw_kernel, n_rows, share, stream, logits, static_cast<int>(vocab), rows, seen, share, tokens);
}

void draw_logprobs(const float* logits, int64_t vocab, const LogprobRow* rows, int64_t n_rows, const int32_t* tokens,
                   DrawLogprob* out, cudaStream_t stream) {
  const Share share = share_of(logprobs_kernel, vocab);
  launch(logprobs_kernel, n_rows, share, stream, logits, static_cast<int>(vocab), rows, tokens, share, out);
}

}  // namespace trimeter::cuda
