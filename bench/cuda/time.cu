// Times the CUDA kernels at Llama-3 8B and 70B shapes. Each figure is the median over rounds, in which the variants
// take turns, of a graph of launches that read weights (or caches) from all over an area far larger than the L2 cache.
// Usage: time [matmul | attention | draw | large | all]
#include <cublasLt.h>

#include <algorithm>
#include <functional>
#include <string>

#include "common.h"
#include "kernels/cuda/lt_matmul.h"
#include "kernels/cuda/matmul.h"
#include "kernels/cuda/ops.h"

using namespace trimeter;
using namespace trimeter::cuda;

namespace {

constexpr int kRounds = 7;
constexpr int64_t kAreaBytes = int64_t{6} << 30;
cudaStream_t stream;

// A sequence of launches as one graph; `launch(i)` puts launch i into the stream.
class Timed {
 public:
  Timed(int n, const std::function<void(int)>& launch) : n_(n) {
    launch(0);  // algorithms are looked up outside the capture
    CHECK_CUDA(cudaStreamSynchronize(stream));
    cudaGraph_t graph;
    CHECK_CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    for (int i = 0; i < n; i++) launch(i);
    CHECK_CUDA(cudaStreamEndCapture(stream, &graph));
    CHECK_CUDA(cudaGraphInstantiate(&graph_, graph));
    CHECK_CUDA(cudaGraphDestroy(graph));
    CHECK_CUDA(cudaEventCreate(&begin_));
    CHECK_CUDA(cudaEventCreate(&end_));
  }
  Timed(Timed&& o) : n_(o.n_), graph_(o.graph_), begin_(o.begin_), end_(o.end_), seconds_(std::move(o.seconds_)) {
    o.graph_ = nullptr;
  }
  ~Timed() {
    if (graph_ == nullptr) return;
    cudaGraphExecDestroy(graph_);
    cudaEventDestroy(begin_);
    cudaEventDestroy(end_);
  }
  void round(bool keep) {
    CHECK_CUDA(cudaEventRecord(begin_, stream));
    CHECK_CUDA(cudaGraphLaunch(graph_, stream));
    CHECK_CUDA(cudaEventRecord(end_, stream));
    CHECK_CUDA(cudaEventSynchronize(end_));
    float ms = 0;
    CHECK_CUDA(cudaEventElapsedTime(&ms, begin_, end_));
    if (keep) seconds_.push_back(ms / 1000.0 / n_);
  }
  double median() const {
    std::vector<double> sorted = seconds_;
    std::sort(sorted.begin(), sorted.end());
    return sorted[sorted.size() / 2];
  }
  double spread() const {  // (largest - smallest) / median
    const auto [low, high] = std::minmax_element(seconds_.begin(), seconds_.end());
    return (*high - *low) / median();
  }

 private:
  int n_;
  cudaGraphExec_t graph_ = nullptr;
  cudaEvent_t begin_{}, end_{};
  std::vector<double> seconds_;
};

void run(std::vector<Timed>& variants) {
  for (Timed& v : variants) v.round(false);
  for (int r = 0; r < kRounds; r++)
    for (Timed& v : variants) v.round(true);
}

__global__ void fill_kernel(uint32_t* words, int64_t n, int kind) {
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < n;
       i += int64_t{gridDim.x} * blockDim.x) {
    uint32_t bits = static_cast<uint32_t>(random_bits(1, i));
    if (kind == 0) {  // bf16, roughly normal
      const __nv_bfloat162 pair = __floats2bfloat162_rn(random_normal(1, 2 * i), random_normal(1, 2 * i + 1));
      bits = reinterpret_cast<const uint32_t&>(pair);
    }
    if (kind == 1) bits &= 0xbfbfbfbfu;  // e4m3 below 2, no NaN
    words[i] = bits;
  }
}
// What memory gives: 16-byte loads, nothing written.
__global__ void read_kernel(const uint4* from, int64_t n, uint32_t* out) {
  uint32_t sum = 0;
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  for (; i + 7 * step < n; i += 8 * step) {
    uint4 v[8];
#pragma unroll
    for (int j = 0; j < 8; j++) v[j] = __ldcs(from + i + j * step);
#pragma unroll
    for (int j = 0; j < 8; j++) sum += v[j].x ^ v[j].y ^ v[j].z ^ v[j].w;
  }
  for (; i < n; i += step) sum += from[i].x;
  if (sum == 0x12345678) *out = sum;
}

std::vector<float> random_queries(int64_t n) {
  std::vector<float> x(n);
  for (int64_t i = 0; i < n; i++) x[i] = random_normal(2, i);
  return x;
}

struct Shape {
  const char* name;
  int64_t n, k;
};
constexpr Shape kShapes[] = {{"8B qkv", 6144, 4096},       {"8B o", 4096, 4096},     {"8B gate_up", 28672, 4096},
                             {"8B down", 4096, 14336},     {"70B qkv", 10240, 8192}, {"70B o", 8192, 8192},
                             {"70B gate_up", 57344, 8192}, {"70B down", 8192, 28672}};

struct Bench {
  Device<uint8_t> area{kAreaBytes, 0}, inputs{int64_t{512} << 20, 0}, workspace{int64_t{1} << 30, 0};
  Device<float> scales{int64_t{16} << 20, 0}, y{int64_t{8192} * 28672, 0};
  double read_bandwidth = 0;
  int area_kind = -1;

  void fill(int kind) {
    if (kind == area_kind) return;
    area_kind = kind;
    fill_kernel<<<2048, 256, 0, stream>>>(reinterpret_cast<uint32_t*>(area.get()), kAreaBytes / 4, kind);
    CHECK_CUDA(cudaStreamSynchronize(stream));
  }
  void measure_bandwidth();
  DeviceMatrix matrix(WeightForm form, ScaleForm scale, int64_t group, int64_t n, int64_t k, int i) const;
  DeviceInput input(InputForm form, int64_t m, int64_t k) const;
  AttentionRoom attention_room() const {
    return {reinterpret_cast<unsigned*>(workspace.get()), workspace.get() + kMatmulCounterBytes};
  }
  void matmuls();
  void large();
  void attentions();
  void draws();
  void elementwise();
};

void Bench::measure_bandwidth() {
  fill(2);
  std::vector<Timed> timed;
  const int64_t bytes = kAreaBytes / 4;
  timed.emplace_back(4, [&](int i) {
    read_kernel<<<132 * 16, 512, 0, stream>>>(reinterpret_cast<const uint4*>(area.get() + i * bytes), bytes / 16,
                                              reinterpret_cast<uint32_t*>(y.get()));
  });
  timed.emplace_back(2, [&](int i) {
    CHECK_CUDA(cudaMemcpyAsync(area.get() + (2 * i + 1) * bytes, area.get() + 2 * i * bytes, bytes,
                               cudaMemcpyDeviceToDevice, stream));
  });
  run(timed);
  read_bandwidth = static_cast<double>(bytes) / timed[0].median();
  std::printf("read %.0f GB/s (spread %.1f%%), copy %.0f GB/s counting both ways\n", read_bandwidth / 1e9,
              100 * timed[0].spread(), 2.0 * static_cast<double>(bytes) / timed[1].median() / 1e9);
}

// Matrix i of as many as fit the area.
DeviceMatrix Bench::matrix(WeightForm form, ScaleForm scale, int64_t group, int64_t n, int64_t k, int i) const {
  DeviceMatrix w;
  w.form = form;
  w.scale_form = scale;
  w.n = n;
  w.k = k;
  w.group = group;
  int64_t bytes = matrix_values_bytes(form, n, k), scale_bytes = 0;
  if (scale == ScaleForm::kGroup) scale_bytes = k / group * n * 2;
  const int64_t each = (bytes + scale_bytes + 1023) / 1024 * 1024, fit = kAreaBytes / each;
  const uint8_t* at = area.get() + i % fit * each;
  w.values = at;
  w.scales = scale == ScaleForm::kGroup ? static_cast<const void*>(at + bytes) : scales.get();
  w.scale_dtype = DType::kBF16;
  if (scale == ScaleForm::kNone) w.scales = nullptr;
  if (form == WeightForm::kE4M3 && scale == ScaleForm::kRow) w.block_scales = scales.get();  // all are 1
  return w;
}
DeviceInput Bench::input(InputForm form, int64_t m, int64_t k) const {
  DeviceInput x;
  x.form = form;
  x.n_tokens = m;
  x.in = k;
  x.values = inputs.get();
  x.scales = scales.get();
  return x;
}

struct Variant {
  const char* name;
  WeightForm form;
  InputForm input;
  ScaleForm scale;
  int64_t group;
  int kind;
  bool lt;
};
constexpr Variant kVariants[] = {
    {"bf16 cuBLASLt", WeightForm::kBF16, InputForm::kBF16, ScaleForm::kNone, 0, 0, true},
    {"bf16", WeightForm::kBF16, InputForm::kBF16, ScaleForm::kNone, 0, 0, false},
    {"e4m3 cuBLASLt", WeightForm::kE4M3, InputForm::kE4M3Token, ScaleForm::kRow, 0, 1, true},
    {"e4m3 row", WeightForm::kE4M3, InputForm::kE4M3Token, ScaleForm::kRow, 0, 1, false},
    {"e4m3 block", WeightForm::kE4M3, InputForm::kE4M3Group128, ScaleForm::kBlock128, 0, 1, false},
    {"int8", WeightForm::kI8, InputForm::kI8Token, ScaleForm::kRow, 0, 2, false},
    {"int8 wide", WeightForm::kI8Wide, InputForm::kBF16, ScaleForm::kGroup, 128, 1, false},
    {"int4 g128", WeightForm::kI4, InputForm::kBF16, ScaleForm::kGroup, 128, 1, false},
    {"int4 g32", WeightForm::kI4, InputForm::kBF16, ScaleForm::kGroup, 32, 1, false},
};

int64_t weight_bytes(const Variant& v, int64_t n, int64_t k) {
  return matrix_values_bytes(v.form, n, k) + (v.scale == ScaleForm::kGroup ? k / v.group * n * 2 : 0);
}

void Bench::matmuls() {
  for (const Shape& shape : kShapes) {
    for (const int64_t m : {1, 8, 16, 32, 64}) {
      std::vector<Timed> timed;
      for (const Variant& v : kVariants) {
        // Bytes that are NaN nowhere, whatever reads them: e4m3 codes below 2, bf16 of at most 2^65.
        fill(1);
        const int n =
            static_cast<int>(std::clamp<int64_t>((int64_t{1} << 30) / weight_bytes(v, shape.n, shape.k), 4, 40));
        timed.emplace_back(n, [&, v](int i) {
          const DeviceMatrix w = matrix(v.form, v.scale, v.group, shape.n, shape.k, i);
          DeviceInput x = input(v.input, m, shape.k);
          x.scale_rows = token_scale_rows(w, m);  // as a model's are
          if (v.lt)
            lt_matmul(w, x, false, y.get(), shape.n, nullptr, workspace.get() + (64 << 20), stream);
          else
            matmul(w, x, nullptr, false, y.get(), shape.n, workspace.get(), workspace.size(), stream);
        });
      }
      run(timed);
      std::printf("%-12s %5d x %5d m=%-3d", shape.name, static_cast<int>(shape.n), static_cast<int>(shape.k),
                  static_cast<int>(m));
      const double ours = timed[1].median();
      for (size_t i = 0; i < timed.size(); i++) {
        const double bytes =
            static_cast<double>(weight_bytes(kVariants[i], shape.n, shape.k) +
                                m * shape.k * (kVariants[i].input == InputForm::kBF16 ? 2 : 1) + m * shape.n * 4);
        std::printf(" | %s %.1f us %.0f%% x%.2f", kVariants[i].name, timed[i].median() * 1e6,
                    100 * bytes / timed[i].median() / read_bandwidth, ours / timed[i].median());
      }
      std::printf("\n");
      std::fflush(stdout);
    }
  }
}

void Bench::large() {
  const int64_t n = 4096, k = 4096;
  fill(1);
  for (const int64_t m : {128, 512, 2048, 8192}) {
    std::vector<Timed> timed;
    for (const Variant& v : kVariants) {
      if (v.name == std::string("bf16") || v.name == std::string("e4m3 cuBLASLt")) continue;
      const int launches = m >= 2048 ? 6 : 20;
      timed.emplace_back(launches, [&, v](int i) {
        matmul(matrix(v.form, v.scale, v.group, n, k, i), input(v.input, m, k), nullptr, false, y.get(), n,
               workspace.get(), workspace.size(), stream);
      });
    }
    run(timed);
    std::printf("4096 x 4096 m=%-5d", static_cast<int>(m));
    size_t i = 0;
    for (const Variant& v : kVariants) {
      if (v.name == std::string("bf16") || v.name == std::string("e4m3 cuBLASLt")) continue;
      const double s = timed[i].median();
      std::printf(" | %s %.1f us %.0f TFLOP/s x%.2f", v.name, s * 1e6, 2.0 * m * n * k / s / 1e12,
                  timed[0].median() / s);
      i++;
    }
    std::printf("\n");
  }
}

void Bench::attentions() {
  struct Model {
    const char* name;
    int64_t heads, kv_heads, head_dim;
  };
  for (const Model& model : {Model{"8B", 32, 8, 128}, Model{"70B", 64, 8, 128}, Model{"0.5B", 14, 2, 64}}) {
    for (const auto& [batch, context] :
         {std::pair<int64_t, int64_t>{1, 8192}, {8, 8192}, {32, 8192}, {64, 1024}, {16, 32768}}) {
      std::printf("decode %-5s batch %-3d context %-6d", model.name, static_cast<int>(batch),
                  static_cast<int>(context));
      for (const DType dtype : {DType::kBF16, DType::kF8E4M3, DType::kI8}) {
        fill(dtype == DType::kBF16 ? 0 : 1);
        KvView kv;
        kv.layout = {
            .n_layers = 1, .n_kv_heads = model.kv_heads, .head_dim = model.head_dim, .block_size = 16, .dtype = dtype};
        const int64_t n_blocks = kAreaBytes / kv.layout.block_bytes(), stride = context / 16;
        kv.blocks = reinterpret_cast<std::byte*>(area.get());
        // Blocks from all over the area.
        std::vector<int32_t> tables(batch * stride), positions(batch, static_cast<int32_t>(context - 1)),
            rows(batch + 1);
        for (size_t i = 0; i < tables.size(); i++)
          tables[i] = static_cast<int32_t>(static_cast<int64_t>(i) * 7919 % n_blocks);
        for (int64_t i = 0; i <= batch; i++) rows[i] = static_cast<int32_t>(i);
        const Device<int32_t> t(tables), p(positions), r(rows);
        StepView view;
        view.n_rows = view.n_seqs = batch;
        view.positions = p.get();
        view.seq_of_row = view.row_begin = r.get();
        view.block_tables = t.get();
        view.table_stride = stride;
        view.max_context = context;
        const Device<float> qkv(random_queries(batch * (model.heads + 2 * model.kv_heads) * model.head_dim));
        const Device<float> out(batch * model.heads * model.head_dim);
        const AttentionRoom room = attention_room();
        std::vector<Timed> timed;
        timed.emplace_back(4,
                           [&](int) { attention(qkv.get(), model.heads, view, kv, 0, {}, out.get(), room, stream); });
        run(timed);
        const double bytes = static_cast<double>(batch * context / 16 * kv.layout.block_bytes());
        std::printf(" | kv %s %.1f us %.0f GB/s %.0f%%",
                    dtype == DType::kBF16 ? "bf16"
                    : dtype == DType::kI8 ? "int8"
                                          : "e4m3",
                    timed[0].median() * 1e6, bytes / timed[0].median() / 1e9,
                    100 * bytes / timed[0].median() / read_bandwidth);
      }
      std::printf("\n");
      std::fflush(stdout);
    }
    for (const auto& [rows_of_seq, context] : {std::pair<int64_t, int64_t>{512, 512}, {2048, 2048}, {2048, 8192}}) {
      std::printf("prefill %-5s rows %-5d context %-6d", model.name, static_cast<int>(rows_of_seq),
                  static_cast<int>(context));
      for (const DType dtype : {DType::kBF16, DType::kF8E4M3, DType::kI8}) {
        fill(dtype == DType::kBF16 ? 0 : 1);
        KvView kv;
        kv.layout = {
            .n_layers = 1, .n_kv_heads = model.kv_heads, .head_dim = model.head_dim, .block_size = 16, .dtype = dtype};
        kv.blocks = reinterpret_cast<std::byte*>(area.get());
        std::vector<int32_t> tables(context / 16), positions(rows_of_seq), seqs(rows_of_seq, 0),
            rows = {0, static_cast<int32_t>(rows_of_seq)};
        for (size_t i = 0; i < tables.size(); i++) tables[i] = static_cast<int32_t>(i * 31 % tables.size());
        for (int64_t i = 0; i < rows_of_seq; i++) positions[i] = static_cast<int32_t>(context - rows_of_seq + i);
        const Device<int32_t> t(tables), p(positions), s(seqs), r(rows);
        StepView view;
        view.n_rows = rows_of_seq;
        view.n_seqs = 1;
        view.positions = p.get();
        view.seq_of_row = s.get();
        view.row_begin = r.get();
        view.block_tables = t.get();
        view.table_stride = context / 16;
        view.max_context = context;
        view.max_rows_per_seq = rows_of_seq;
        const Device<float> qkv(random_queries(rows_of_seq * (model.heads + 2 * model.kv_heads) * model.head_dim));
        const Device<float> out(rows_of_seq * model.heads * model.head_dim);
        const AttentionRoom room = attention_room();
        std::vector<Timed> timed;
        timed.emplace_back(4,
                           [&](int) { attention(qkv.get(), model.heads, view, kv, 0, {}, out.get(), room, stream); });
        run(timed);
        const double scores =
            static_cast<double>(rows_of_seq) * (static_cast<double>(context) - static_cast<double>(rows_of_seq) / 2);
        std::printf(" | kv %s %.1f us %.0f TFLOP/s",
                    dtype == DType::kBF16 ? "bf16"
                    : dtype == DType::kI8 ? "int8"
                                          : "e4m3",
                    timed[0].median() * 1e6,
                    4 * scores * static_cast<double>(model.heads * model.head_dim) / timed[0].median() / 1e12);
      }
      std::printf("\n");
    }
  }
}

// Logits of one token in 4096 around 14, all others around 0, or of all around 0.
__global__ void fill_logits_kernel(float* logits, int64_t n, bool peaked) {
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < n;
       i += int64_t{gridDim.x} * blockDim.x)
    logits[i] = (peaked ? 2 : 1) * random_normal(3, i) + (peaked && random_bits(4, i) % 4096 == 0 ? 14.0f : 0.0f);
}

void Bench::draws() {
  constexpr int64_t kVocab = 151936, kMostRows = 256;
  struct Kind {
    const char* name;
    double temperature;
    int32_t top_k;
    double top_p, min_p;
    float penalty;
  };
  constexpr Kind kKinds[] = {{"temperature", 0.8, 0, 1, 0, 1},   {"top_k 50", 0.8, 50, 1, 0, 1},
                             {"top_p 0.9", 0.8, 0, 0.9, 0, 1},   {"top_k 50, top_p 0.9", 0.8, 50, 0.9, 0, 1},
                             {"min_p 0.05", 0.8, 0, 1, 0.05, 1}, {"penalty, greedy", 0, 0, 1, 0, 1.2f}};
  area_kind = -1;
  float* logits = reinterpret_cast<float*>(area.get());
  const Device<uint32_t> seen(kMostRows * draw_seen_words(kVocab), 0);
  const Device<int32_t> tokens(kMostRows, 0);
  const Device<DrawLogprob> logprobs(kMostRows * (kMostDrawLogprobs + 1));
  for (const bool peaked : {true, false}) {
    fill_logits_kernel<<<2048, 256, 0, stream>>>(logits, kMostRows * kVocab, peaked);
    for (const int64_t m : {1, 64, 256}) {
      // Other rows each time, as far as there are any.
      const auto rows_at = [&](int i) { return logits + i % (kMostRows / m) * m * kVocab; };
      std::vector<Device<DrawRow>> rows;
      for (const Kind& kind : kKinds) {
        std::vector<DrawRow> of_kind(m);
        for (int64_t r = 0; r < m; r++)
          of_kind[r] = {.temperature = kind.temperature,
                        .top_p = kind.top_p,
                        .min_p = kind.min_p,
                        .uniform = static_cast<double>(random_bits(5, r) >> 11) * 0x1p-53,
                        .penalty = kind.penalty,
                        .top_k = kind.top_k,
                        .row = static_cast<int32_t>(r),
                        .seen = kind.penalty != 1 ? static_cast<int32_t>(r) : -1};
        rows.emplace_back(of_kind);
      }
      std::vector<LogprobRow> asked(m);
      for (int64_t r = 0; r < m; r++) asked[r] = {static_cast<int32_t>(r), kMostDrawLogprobs};
      const Device<LogprobRow> device_asked(asked);
      std::vector<Timed> timed;
      timed.emplace_back(20, [&](int i) { argmax(rows_at(i), m, kVocab, tokens.get(), stream); });
      for (const Device<DrawRow>& of_kind : rows)
        timed.emplace_back(
            20, [&](int i) { draw(rows_at(i), kVocab, of_kind.get(), m, seen.get(), tokens.get(), stream); });
      timed.emplace_back(20, [&](int i) {
        draw_logprobs(rows_at(i), kVocab, device_asked.get(), m, tokens.get(), logprobs.get(), stream);
      });
      run(timed);
      std::printf("draw %-6s %3d x %d | argmax %.1f us", peaked ? "peaked" : "flat", static_cast<int>(m),
                  static_cast<int>(kVocab), timed[0].median() * 1e6);
      for (size_t i = 0; i < std::size(kKinds); i++)
        std::printf(" | %s %.1f us", kKinds[i].name, timed[i + 1].median() * 1e6);
      std::printf(" | %d logprobs %.1f us\n", kMostDrawLogprobs, timed.back().median() * 1e6);
      std::fflush(stdout);
    }
  }
}

void Bench::elementwise() {
  for (const int64_t m : {1, 16, 256, 4096}) {
    const int64_t hidden = 4096, wide = 14336;
    const Device<float> gain(hidden, 0);
    std::vector<Timed> timed;
    float* x = reinterpret_cast<float*>(area.get());
    DeviceInput bf16 = input(InputForm::kBF16, m, hidden), e4m3 = input(InputForm::kE4M3Token, m, hidden);
    DeviceInput wide_e4m3 = input(InputForm::kE4M3Token, m, wide);
    const Device<int32_t> tokens(m);
    timed.emplace_back(10, [&](int) { rms_norm_prepare(x, nullptr, gain.get(), 1e-5, bf16, stream); });
    timed.emplace_back(10, [&](int) { rms_norm_prepare(x, nullptr, gain.get(), 1e-5, e4m3, stream); });
    timed.emplace_back(10, [&](int) { silu_mul_prepare(x, wide_e4m3, stream); });
    timed.emplace_back(10, [&](int) { argmax(x, std::min<int64_t>(m, 256), 128256, tokens.get(), stream); });
    run(timed);
    std::printf(
        "m=%-5d rms_norm 4096 to bf16 %.1f us, to e4m3 %.1f us, silu_mul 14336 to e4m3 %.1f us, argmax 128256 of %d "
        "rows %.1f us\n",
        static_cast<int>(m), timed[0].median() * 1e6, timed[1].median() * 1e6, timed[2].median() * 1e6,
        static_cast<int>(std::min<int64_t>(m, 256)), timed[3].median() * 1e6);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "all";
  cudaDeviceProp properties{};
  CHECK_CUDA(cudaGetDeviceProperties(&properties, 0));
  int driver = 0;
  CHECK_CUDA(cudaDriverGetVersion(&driver));
  std::printf("%s, driver for CUDA %d.%d, cuBLASLt %zu\n", properties.name, driver / 1000, driver % 1000 / 10,
              cublasLtGetVersion());
  CHECK_CUDA(cudaStreamCreate(&stream));
  Bench bench;
  std::vector<float> ones(bench.scales.size(), 1.0f);
  CHECK_CUDA(cudaMemcpy(bench.scales.get(), ones.data(), ones.size() * 4, cudaMemcpyHostToDevice));
  fill_kernel<<<1024, 256, 0, stream>>>(reinterpret_cast<uint32_t*>(bench.inputs.get()), bench.inputs.size() / 4, 1);
  bench.measure_bandwidth();
  if (what == "matmul" || what == "all") bench.matmuls();
  if (what == "large" || what == "all") bench.large();
  if (what == "attention" || what == "all") bench.attentions();
  if (what == "draw" || what == "all") bench.draws();
  if (what == "all") bench.elementwise();
  CHECK_CUDA(cudaStreamSynchronize(stream));
  return 0;
}
