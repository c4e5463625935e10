// 128-bit vectors in the compiler's own vector types: NEON on 64-bit Arm, SSE2 on any x86-64, and whatever else has them.
#include <cstddef>
#include <cstdint>
#if defined(__aarch64__)
#include <arm_neon.h>
#endif

#include "../kernels.h"
#include "inline.h"

namespace rnnext {
namespace {

namespace f32 {

using f32x4 = float __attribute__((vector_size(16)));
using u32x4 = std::uint32_t __attribute__((vector_size(16)));

struct V {
  using Real = float;
  static constexpr int lanes = 4;
#if defined(__aarch64__)
  static constexpr bool fused = true;  // fma rounds once
  static constexpr int flat_vectors = 4;
  static constexpr bool short_steps = false;
  static constexpr int max_rows(int vectors) { return vectors == 1 ? 12 : 24 / vectors; }
#else
  static constexpr bool fused = false;
  static constexpr int flat_vectors = 2;
  static constexpr bool short_steps = false;
  static constexpr int max_rows(int vectors) { return 8 / vectors; }  // more are no faster, and take longer to compile
#endif

  f32x4 v;

  static V load(const float* p) {
    f32x4 v;
    __builtin_memcpy(&v, p, sizeof v);  // at any address
    return {v};
  }
  // Out of line: they are rare and long, and there are hundreds of tiles.
  RNNEXT_RARE static V load_n(const float* p, index_t n) {
    f32x4 v{};
    for (index_t i = 0; i < n; ++i) v[i] = p[i];
    return {v};
  }
  static V set1(float x) { return {f32x4{x, x, x, x}}; }
  void store(float* p) const { __builtin_memcpy(p, &v, sizeof v); }
  RNNEXT_RARE void store_n(float* p, index_t n) const {
    for (index_t i = 0; i < n; ++i) p[i] = v[i];
  }
};

inline V operator+(V a, V b) { return {a.v + b.v}; }
inline V operator-(V a, V b) { return {a.v - b.v}; }
inline V operator*(V a, V b) { return {a.v * b.v}; }
inline V operator/(V a, V b) { return {a.v / b.v}; }
#if defined(__aarch64__)
inline V fma(V a, V b, V c) { return {vfmaq_f32(c.v, a.v, b.v)}; }
#else
inline V fma(V a, V b, V c) { return {a.v * b.v + c.v}; }
#endif
inline V reciprocal(V a) { return V::set1(1.0f) / a; }
inline V min(V a, V b) { return {a.v < b.v ? a.v : b.v}; }
inline V max(V a, V b) { return {a.v > b.v ? a.v : b.v}; }
#if defined(__aarch64__)
inline V sqrt(V a) { return {vsqrtq_f32(a.v)}; }
#else
inline V sqrt(V a) {
  return {f32x4{__builtin_sqrtf(a.v[0]), __builtin_sqrtf(a.v[1]), __builtin_sqrtf(a.v[2]), __builtin_sqrtf(a.v[3])}};
}
#endif
// 1 where a < b, else 0.
inline V below(V a, V b) { return {a.v < b.v ? V::set1(1).v : V::set1(0).v}; }
// 2^n, for a value whose low bits hold n + 127.
inline V exp2_of_low_bits(V a) { return {reinterpret_cast<f32x4>(reinterpret_cast<u32x4>(a.v) << 23)}; }

#include "kernels.inl"
#include "table.inl"

}  // namespace f32

namespace f64 {

using f64x2 = double __attribute__((vector_size(16)));
using u64x2 = std::uint64_t __attribute__((vector_size(16)));

struct V {
  using Real = double;
  static constexpr int lanes = 2;
  static constexpr bool fused = f32::V::fused;
  static constexpr int flat_vectors = 2;
  static constexpr bool short_steps = false;
  static constexpr int max_rows(int) { return 4; }

  f64x2 v;

  static V load(const double* p) {
    f64x2 v;
    __builtin_memcpy(&v, p, sizeof v);  // at any address
    return {v};
  }
  static V load_n(const double* p, index_t n) { return {f64x2{p[0], n > 1 ? p[1] : 0.0}}; }
  static V set1(double x) { return {f64x2{x, x}}; }
  void store(double* p) const { __builtin_memcpy(p, &v, sizeof v); }
  void store_n(double* p, index_t n) const {
    for (index_t i = 0; i < n; ++i) p[i] = v[i];
  }
};

inline V operator+(V a, V b) { return {a.v + b.v}; }
inline V operator-(V a, V b) { return {a.v - b.v}; }
inline V operator*(V a, V b) { return {a.v * b.v}; }
inline V operator/(V a, V b) { return {a.v / b.v}; }
#if defined(__aarch64__)
inline V fma(V a, V b, V c) { return {vfmaq_f64(c.v, a.v, b.v)}; }
#else
inline V fma(V a, V b, V c) { return {a.v * b.v + c.v}; }
#endif
inline V reciprocal(V a) { return V::set1(1) / a; }
inline V min(V a, V b) { return {a.v < b.v ? a.v : b.v}; }
inline V max(V a, V b) { return {a.v > b.v ? a.v : b.v}; }
// 1 where a < b, else 0.
inline V below(V a, V b) { return {a.v < b.v ? V::set1(1).v : V::set1(0).v}; }
// 2^n, for a value whose low bits hold n + 1023.
inline V exp2_of_low_bits(V a) { return {reinterpret_cast<f64x2>(reinterpret_cast<u64x2>(a.v) << 52)}; }

#include "kernels.inl"

}  // namespace f64

}  // namespace

extern const KernelTable vec128_table;
const KernelTable vec128_table = f32::table("vec128", f64::recurrent_kernels);

}  // namespace rnnext
