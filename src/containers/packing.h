// What containers share: tensors of a module checked against what is wanted, and codes in 32-bit words.
#pragma once
#include <cstring>
#include <initializer_list>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "containers/container.h"

namespace trimeter {

// The module's tensor, of this dtype and shape. Throws Error(kNotFound / kBadFile) with file, tensor, wanted, got.
const TensorView& stored_tensor(const Checkpoint& checkpoint, const StoredMatrix& matrix, std::string_view suffix,
                                DType dtype, std::initializer_list<int64_t> shape);
// Scales in BF16, F16 or F32, finite. [rows, columns] in the file; [columns, rows] if `transposed`.
std::vector<float> read_scales(const Checkpoint& checkpoint, const StoredMatrix& matrix, std::string_view suffix,
                               std::initializer_list<int64_t> shape, bool transposed = false);
// Scales of a weight-only scheme, which keeps 16 bits of them, and the dtype of these: that of the file; of F32 ones
// the model's, to whose nearest values they are rounded, as vLLM copies them into parameters of its dtype (0.32.0:
// auto_awq.py, auto_gptq.py, compressed_tensors_wNa16.py). W8A8's scales are F32 there and here. Throws
// Error(kUnsupported) for one that the dtype can't hold.
DType to_16_bits(const Checkpoint& checkpoint, const StoredMatrix& matrix, std::string_view suffix,
                 std::vector<float>& scales);
// One positive number: shape [1] or [].
float read_scale(const Checkpoint& checkpoint, const std::string& tensor);

// Of the weight, in the shape that the traits say; with scale_dtype where the scheme keeps them in 16 bits.
void read_weight_scales(const Checkpoint& checkpoint, const StoredMatrix& matrix, std::string_view suffix,
                        CanonicalWeight& weight);
// The shape and the dtype in which they are written: [1], [N, 1], [N, K/g] or [ceil(N/128), ceil(K/128)]; F16 if the
// scheme keeps them so, else F32.
std::vector<int64_t> scales_shape(const StoredMatrix& matrix);
DType stored_scale_dtype(const StoredMatrix& matrix);
// F8_E4M3 codes; throws Error(kBadFile) for NaN, which is no weight.
std::vector<uint8_t> read_e4m3(const TensorView& tensor);
// g_idx: the group of each input. Every group must have its group_size of them, and the order must be the trivial one
// if the traits have no act-order; empty then.
std::vector<int32_t> read_order(const Checkpoint& checkpoint, const StoredMatrix& matrix, std::string_view suffix);
std::vector<int64_t> read_integers(const TensorView& tensor);  // I32 or I64
// Throws Error(kUnsupported) if there is such a tensor and it is not all zero.
void check_all_zero(const Checkpoint& checkpoint, const std::string& tensor);

// [n_rows, n_columns] as [n_columns, n_rows].
std::vector<float> transposed(const std::vector<float>& values, int64_t n_rows, int64_t n_columns);
// dtype: kF32, kF16 or kBF16; rounded to nearest.
std::vector<std::byte> encoded(const std::vector<float>& values, DType dtype);

template <class T>
std::span<const std::byte> bytes_of(const std::vector<T>& values) {
  return std::as_bytes(std::span(values));
}

inline uint32_t word_at(const TensorView& words, int64_t i) {
  uint32_t word;
  std::memcpy(&word, words.bytes.data() + i * int64_t{sizeof word}, sizeof word);
  return word;
}

// put(r, c, i, code) for every code, the i-th of the word at [r, c], its lowest bits first. Threads share the columns.
template <class Put>
void unpack_words(const TensorView& words, int bits, ThreadPool& pool, Put put) {
  const int64_t n_rows = words.shape[0], n_columns = words.shape[1];
  const int per_word = 32 / bits;
  const uint32_t mask = (uint32_t{1} << bits) - 1;
  pool.run([&](int thread) {
    const auto [begin, end] = pool.share(n_columns, thread);
    for (int64_t c = begin; c < end; ++c)
      for (int64_t r = 0; r < n_rows; ++r) {
        uint32_t word = word_at(words, r * n_columns + c);
        for (int i = 0; i < per_word; ++i, word >>= bits) put(r, c, i, static_cast<uint8_t>(word & mask));
      }
  });
}

// The reverse: code(r, c, i) of words [n_rows, n_columns].
template <class Code>
std::vector<uint32_t> pack_words(int64_t n_rows, int64_t n_columns, int bits, Code code) {
  std::vector<uint32_t> words(n_rows * n_columns);
  for (int64_t r = 0; r < n_rows; ++r)
    for (int64_t c = 0; c < n_columns; ++c)
      for (int i = 0; i < 32 / bits; ++i)
        words[r * n_columns + c] |= static_cast<uint32_t>(code(r, c, i)) << (i * bits);
  return words;
}

}  // namespace trimeter
