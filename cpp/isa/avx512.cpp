// AVX-512 F: 16 lanes, 32 registers, tiles of 24 accumulators.
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
  static constexpr int lanes = 16;
  static constexpr bool fused = true;  // fma rounds once
  static constexpr int flat_vectors = 4;
  static constexpr bool short_steps = false;
  static constexpr int max_rows(int vectors) { return vectors == 1 ? 14 : 24 / vectors; }

  __m512 v;

  static V load(const float* p) { return {_mm512_loadu_ps(p)}; }
  static V load_n(const float* p, index_t n) { return {_mm512_maskz_loadu_ps(first(n), p)}; }
  static V set1(float x) { return {_mm512_set1_ps(x)}; }
  void store(float* p) const { _mm512_storeu_ps(p, v); }
  void store_n(float* p, index_t n) const { _mm512_mask_storeu_ps(p, first(n), v); }

  static __mmask16 first(index_t n) { return static_cast<__mmask16>((1u << static_cast<unsigned>(n)) - 1u); }
};

inline V operator+(V a, V b) { return {_mm512_add_ps(a.v, b.v)}; }
inline V operator-(V a, V b) { return {_mm512_sub_ps(a.v, b.v)}; }
inline V operator*(V a, V b) { return {_mm512_mul_ps(a.v, b.v)}; }
inline V operator/(V a, V b) { return {_mm512_div_ps(a.v, b.v)}; }
inline V fma(V a, V b, V c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
inline V min(V a, V b) { return {_mm512_min_ps(a.v, b.v)}; }
inline V max(V a, V b) { return {_mm512_max_ps(a.v, b.v)}; }
inline V sqrt(V a) { return {_mm512_sqrt_ps(a.v)}; }
// 1 where a < b, else 0.
inline V below(V a, V b) { return {_mm512_maskz_mov_ps(_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ), _mm512_set1_ps(1.0f))}; }
// 2^n, for a value whose low bits hold n + 127.
inline V exp2_of_low_bits(V a) { return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(a.v), 23))}; }
// An estimate of 14 bits and one step of Newton's: within 1 ulp, and the divider is left alone.
inline V reciprocal(V a) {
  const V y{_mm512_rcp14_ps(a.v)};
  const V error{_mm512_fnmadd_ps(a.v, y.v, _mm512_set1_ps(1.0f))};
  return fma(y, error, y);
}

#include "kernels.inl"
#include "table.inl"

}  // namespace f32

namespace f64 {

struct V {
  using Real = double;
  static constexpr int lanes = 8;
  static constexpr bool fused = true;
  static constexpr int flat_vectors = 4;
  static constexpr bool short_steps = false;
  static constexpr int max_rows(int) { return 4; }  // float64 is for precision: small tiles, small code

  __m512d v;

  static V load(const double* p) { return {_mm512_loadu_pd(p)}; }
  static V load_n(const double* p, index_t n) { return {_mm512_maskz_loadu_pd(first(n), p)}; }
  static V set1(double x) { return {_mm512_set1_pd(x)}; }
  void store(double* p) const { _mm512_storeu_pd(p, v); }
  void store_n(double* p, index_t n) const { _mm512_mask_storeu_pd(p, first(n), v); }

  static __mmask8 first(index_t n) { return static_cast<__mmask8>((1u << static_cast<unsigned>(n)) - 1u); }
};

inline V operator+(V a, V b) { return {_mm512_add_pd(a.v, b.v)}; }
inline V operator-(V a, V b) { return {_mm512_sub_pd(a.v, b.v)}; }
inline V operator*(V a, V b) { return {_mm512_mul_pd(a.v, b.v)}; }
inline V operator/(V a, V b) { return {_mm512_div_pd(a.v, b.v)}; }
inline V fma(V a, V b, V c) { return {_mm512_fmadd_pd(a.v, b.v, c.v)}; }
inline V reciprocal(V a) { return V::set1(1) / a; }
inline V min(V a, V b) { return {_mm512_min_pd(a.v, b.v)}; }
inline V max(V a, V b) { return {_mm512_max_pd(a.v, b.v)}; }
// 1 where a < b, else 0.
inline V below(V a, V b) { return {_mm512_maskz_mov_pd(_mm512_cmp_pd_mask(a.v, b.v, _CMP_LT_OQ), _mm512_set1_pd(1.0))}; }
// 2^n, for a value whose low bits hold n + 1023.
inline V exp2_of_low_bits(V a) { return {_mm512_castsi512_pd(_mm512_slli_epi64(_mm512_castpd_si512(a.v), 52))}; }

#include "kernels.inl"

}  // namespace f64

}  // namespace

extern const KernelTable avx512_table;
const KernelTable avx512_table = f32::table("avx512", f64::recurrent_kernels);

}  // namespace rnnext
