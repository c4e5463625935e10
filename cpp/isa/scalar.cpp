// One lane of plain C++: the slowest and most readable; every other ISA is checked against it.
#include <cstddef>
#include <cstdint>

#include "../kernels.h"
#include "inline.h"

namespace rnnext {
namespace {

namespace f32 {

struct V {
  using Real = float;
  static constexpr int lanes = 1;
  static constexpr bool fused = false;  // fma rounds once
  static constexpr int flat_vectors = 2;
  static constexpr bool short_steps = false;
  static constexpr int max_rows(int vectors) { return vectors > 2 ? 2 : 4; }

  float v;

  static V load(const float* p) { return {*p}; }
  static V load_n(const float* p, index_t) { return {*p}; }
  static V set1(float x) { return {x}; }
  void store(float* p) const { *p = v; }
  void store_n(float* p, index_t) const { *p = v; }
};

inline V operator+(V a, V b) { return {a.v + b.v}; }
inline V operator-(V a, V b) { return {a.v - b.v}; }
inline V operator*(V a, V b) { return {a.v * b.v}; }
inline V operator/(V a, V b) { return {a.v / b.v}; }
inline V fma(V a, V b, V c) { return {a.v * b.v + c.v}; }
inline V reciprocal(V a) { return V::set1(1.0f) / a; }
inline V min(V a, V b) { return {a.v < b.v ? a.v : b.v}; }
inline V max(V a, V b) { return {a.v > b.v ? a.v : b.v}; }
inline V sqrt(V a) { return {__builtin_sqrtf(a.v)}; }
// 1 where a < b, else 0.
inline V below(V a, V b) { return {a.v < b.v ? 1.0f : 0.0f}; }
// 2^n, for a value whose low bits hold n + 127.
inline V exp2_of_low_bits(V a) { return {__builtin_bit_cast(float, __builtin_bit_cast(std::uint32_t, a.v) << 23)}; }

#include "kernels.inl"
#include "table.inl"

}  // namespace f32

namespace f64 {

struct V {
  using Real = double;
  static constexpr int lanes = 1;
  static constexpr bool fused = false;
  static constexpr int flat_vectors = 2;
  static constexpr bool short_steps = false;
  static constexpr int max_rows(int vectors) { return vectors > 2 ? 2 : 4; }

  double v;

  static V load(const double* p) { return {*p}; }
  static V load_n(const double* p, index_t) { return {*p}; }
  static V set1(double x) { return {x}; }
  void store(double* p) const { *p = v; }
  void store_n(double* p, index_t) const { *p = v; }
};

inline V operator+(V a, V b) { return {a.v + b.v}; }
inline V operator-(V a, V b) { return {a.v - b.v}; }
inline V operator*(V a, V b) { return {a.v * b.v}; }
inline V operator/(V a, V b) { return {a.v / b.v}; }
inline V fma(V a, V b, V c) { return {a.v * b.v + c.v}; }
inline V reciprocal(V a) { return V::set1(1) / a; }
inline V min(V a, V b) { return {a.v < b.v ? a.v : b.v}; }
inline V max(V a, V b) { return {a.v > b.v ? a.v : b.v}; }
// 1 where a < b, else 0.
inline V below(V a, V b) { return {a.v < b.v ? 1.0 : 0.0}; }
// 2^n, for a value whose low bits hold n + 1023.
inline V exp2_of_low_bits(V a) { return {__builtin_bit_cast(double, __builtin_bit_cast(std::uint64_t, a.v) << 52)}; }

#include "kernels.inl"

}  // namespace f64

}  // namespace

extern const KernelTable scalar_table;
const KernelTable scalar_table = f32::table("scalar", f64::recurrent_kernels);

}  // namespace rnnext
