#if defined(TM_ISA_avx2) || defined(TM_ISA_avx512) || defined(TM_ISA_avx512_bf16)
#include <immintrin.h>
#endif

#include "probe/micro_table.h"

namespace trimeter::TM_ISA {
namespace {

// Enough chains to hide the latency of a multiply-add on two ports, few enough for 16 registers.
constexpr int kChains = 12;

#if defined(TM_ISA_avx512) || defined(TM_ISA_avx512_bf16)

using Vector = __m512i;
constexpr int kBytes = 64;
Vector load(const char* p) { return _mm512_loadu_si512(p); }
Vector add(Vector a, Vector b) { return _mm512_add_epi64(a, b); }

struct Fp32 {
  using Sum = __m512;
  using Operand = Vector;
  static constexpr double kOps = 2 * 16;
  static Sum zero() { return _mm512_setzero_ps(); }
  static Sum round(Sum s, Vector a) { return _mm512_fmadd_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(a), s); }
};

#elif defined(TM_ISA_avx2)

using Vector = __m256i;
constexpr int kBytes = 32;
Vector load(const char* p) { return _mm256_loadu_si256(reinterpret_cast<const Vector*>(p)); }
Vector add(Vector a, Vector b) { return _mm256_add_epi64(a, b); }

struct Fp32 {
  using Sum = __m256;
  using Operand = Vector;
  static constexpr double kOps = 2 * 8;
  static Sum zero() { return _mm256_setzero_ps(); }
  static Sum round(Sum s, Vector a) { return _mm256_fmadd_ps(_mm256_castsi256_ps(a), _mm256_castsi256_ps(a), s); }
};

// 32 products of bytes, added in fours: what AVX2 has in place of a dot-product instruction.
struct Int8 {
  using Sum = __m256i;
  using Operand = Vector;
  static constexpr double kOps = 2 * 32;
  static Sum zero() { return _mm256_setzero_si256(); }
  static Sum round(Sum s, Vector a) {
    return _mm256_add_epi32(s, _mm256_madd_epi16(_mm256_maddubs_epi16(a, a), _mm256_set1_epi16(1)));
  }
};

#else

using Vector = uint64_t;
constexpr int kBytes = 8;
Vector load(const char* p) {
  Vector v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
Vector add(Vector a, Vector b) { return a + b; }

struct Fp32 {
  using Sum = float;
  using Operand = float;
  static constexpr double kOps = 2;
  static Sum zero() { return 0; }
  static Sum round(Sum s, Operand a) { return s + a * a; }
};

#endif

#if defined(TM_ISA_avx512_bf16)
struct Bf16 {
  using Sum = __m512;
  using Operand = Vector;
  static constexpr double kOps = 2 * 32;
  static Sum zero() { return _mm512_setzero_ps(); }
  static Sum round(Sum s, Vector a) { return _mm512_dpbf16_ps(s, (__m512bh)a, (__m512bh)a); }
};

struct Int8 {
  using Sum = __m512i;
  using Operand = Vector;
  static constexpr double kOps = 2 * 64;
  static Sum zero() { return _mm512_setzero_si512(); }
  static Sum round(Sum s, Vector a) { return _mm512_dpbusd_epi32(s, a, a); }
};
#endif

// Some value that depends on every lane.
template <class Lanes>
uint64_t fold(const Lanes& lanes) {
  uint8_t bytes[sizeof(Lanes)];
  __builtin_memcpy(bytes, &lanes, sizeof lanes);
  uint64_t total = 0;
  for (const uint8_t byte : bytes) total += byte;
  return total;
}

// The operand is made opaque before every product, so that none is shared or lifted out of the loop.
template <class Op>
uint64_t run(int64_t n_rounds) {
  typename Op::Operand operand{};
  typename Op::Sum sums[kChains];
  for (auto& s : sums) s = Op::zero();
  for (int64_t i = 0; i < n_rounds; ++i) {
    for (auto& s : sums) {
      asm volatile("" : "+x"(operand));
      s = Op::round(s, operand);
    }
  }
  uint64_t total = 0;
  for (const auto& s : sums) total += fold(s);
  return total;
}

template <class Op>
constexpr DotLoop dot_loop() {
  return {run<Op>, kChains * Op::kOps};
}

uint64_t read(const char* data, int64_t bytes) {
  constexpr int kStreams = 8;
  Vector sums[kStreams] = {};
  for (int64_t i = 0; i < bytes; i += kStreams * kBytes)
    for (int j = 0; j < kStreams; ++j) sums[j] = add(sums[j], load(data + i + j * kBytes));
  uint64_t total = 0;
  for (const Vector& s : sums) total += fold(s);
  return total;
}

}  // namespace

#if defined(TM_ISA_avx512_bf16)
extern const MicroTable micro = {dot_loop<Bf16>(), dot_loop<Int8>(), dot_loop<Fp32>(), read};
#elif defined(TM_ISA_avx2)
extern const MicroTable micro = {{nullptr, 0}, dot_loop<Int8>(), dot_loop<Fp32>(), read};
#else
extern const MicroTable micro = {{nullptr, 0}, {nullptr, 0}, dot_loop<Fp32>(), read};
#endif

}  // namespace trimeter::TM_ISA
