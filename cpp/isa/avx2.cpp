// AVX2 with FMA: 8 lanes, 16 registers, tiles of 12 accumulators.
#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "../kernels.h"
#include "inline.h"

namespace rnnext {
namespace {

namespace f32 {

struct V {
  using Real = float;
  static constexpr int lanes = 8;
  static constexpr bool fused = true;  // fma rounds once
  static constexpr int flat_vectors = 4;
  static constexpr bool short_steps = true;  // 12 multiply-adds: counting them would cost a tenth
  // Of one vector 8: the addresses of 12 rows are more than there are registers for.
  static constexpr int max_rows(int vectors) { return vectors == 1 ? 8 : 12 / vectors; }

  __m256 v;

  static V load(const float* p) { return {_mm256_loadu_ps(p)}; }
  static V load_n(const float* p, index_t n) { return {_mm256_maskload_ps(p, first(n))}; }
  static V set1(float x) { return {_mm256_set1_ps(x)}; }
  void store(float* p) const { _mm256_storeu_ps(p, v); }
  // By halves: a masked store is microcode on some CPUs.
  void store_n(float* p, index_t n) const {
    __m128 part = _mm256_castps256_ps128(v);
    if ((n & 8) != 0) return store(p);
    if ((n & 4) != 0) {
      _mm_storeu_ps(p, part);
      part = _mm256_extractf128_ps(v, 1);
      p += 4;
    }
    if ((n & 2) != 0) {
      _mm_storel_pi(reinterpret_cast<__m64*>(p), part);
      part = _mm_movehl_ps(part, part);
      p += 2;
    }
    if ((n & 1) != 0) _mm_store_ss(p, part);
  }

  static __m256i first(index_t n) {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), lane);
  }
};

inline V operator+(V a, V b) { return {_mm256_add_ps(a.v, b.v)}; }
inline V operator-(V a, V b) { return {_mm256_sub_ps(a.v, b.v)}; }
inline V operator*(V a, V b) { return {_mm256_mul_ps(a.v, b.v)}; }
inline V operator/(V a, V b) { return {_mm256_div_ps(a.v, b.v)}; }
inline V fma(V a, V b, V c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
inline V reciprocal(V a) { return V::set1(1.0f) / a; }
inline V min(V a, V b) { return {_mm256_min_ps(a.v, b.v)}; }
inline V max(V a, V b) { return {_mm256_max_ps(a.v, b.v)}; }
inline V sqrt(V a) { return {_mm256_sqrt_ps(a.v)}; }
// 1 where a < b, else 0.
inline V below(V a, V b) { return {_mm256_and_ps(_mm256_cmp_ps(a.v, b.v, _CMP_LT_OQ), _mm256_set1_ps(1.0f))}; }
// 2^n, for a value whose low bits hold n + 127.
inline V exp2_of_low_bits(V a) { return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(a.v), 23))}; }

#include "kernels.inl"
#include "table.inl"

}  // namespace f32

namespace f64 {

struct V {
  using Real = double;
  static constexpr int lanes = 4;
  static constexpr bool fused = true;
  static constexpr int flat_vectors = 2;
  static constexpr bool short_steps = false;
  static constexpr int max_rows(int vectors) { return vectors > 3 ? 3 : 4; }  // 16 sums would take all registers

  __m256d v;

  static V load(const double* p) { return {_mm256_loadu_pd(p)}; }
  static V load_n(const double* p, index_t n) { return {_mm256_maskload_pd(p, first(n))}; }
  static V set1(double x) { return {_mm256_set1_pd(x)}; }
  void store(double* p) const { _mm256_storeu_pd(p, v); }
  void store_n(double* p, index_t n) const { _mm256_maskstore_pd(p, first(n), v); }

  static __m256i first(index_t n) {
    const __m256i lane = _mm256_setr_epi64x(0, 1, 2, 3);
    return _mm256_cmpgt_epi64(_mm256_set1_epi64x(n), lane);
  }
};

inline V operator+(V a, V b) { return {_mm256_add_pd(a.v, b.v)}; }
inline V operator-(V a, V b) { return {_mm256_sub_pd(a.v, b.v)}; }
inline V operator*(V a, V b) { return {_mm256_mul_pd(a.v, b.v)}; }
inline V operator/(V a, V b) { return {_mm256_div_pd(a.v, b.v)}; }
inline V fma(V a, V b, V c) { return {_mm256_fmadd_pd(a.v, b.v, c.v)}; }
inline V reciprocal(V a) { return V::set1(1) / a; }
inline V min(V a, V b) { return {_mm256_min_pd(a.v, b.v)}; }
inline V max(V a, V b) { return {_mm256_max_pd(a.v, b.v)}; }
// 1 where a < b, else 0.
inline V below(V a, V b) { return {_mm256_and_pd(_mm256_cmp_pd(a.v, b.v, _CMP_LT_OQ), _mm256_set1_pd(1.0))}; }
// 2^n, for a value whose low bits hold n + 1023.
inline V exp2_of_low_bits(V a) { return {_mm256_castsi256_pd(_mm256_slli_epi64(_mm256_castpd_si256(a.v), 52))}; }

#include "kernels.inl"

}  // namespace f64

}  // namespace

extern const KernelTable avx2_table;
const KernelTable avx2_table = f32::table("avx2", f64::recurrent_kernels);

}  // namespace rnnext
