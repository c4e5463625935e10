// sigmoid and tanh for any vector type V. Knows floating point; does not know what the functions are used for.
//
// Both go through p(r) = e^r - 1 on |r| <= ln2/2, kept relative to r so that tanh is accurate near 0; errors stay below 3 ulp.
// min and max return their second argument when either is NaN, so clamping as min(limit, x) lets NaN through.

template <class Real>
struct ExpConstants;

template <>
struct ExpConstants<float> {
  // Adding 1.5 * 2^23 rounds to a whole number and leaves it in the low bits, with the exponent's bias for exp2_of_low_bits.
  static constexpr float shift = 12582912.0f + 127.0f;
  static constexpr float ln2_high = 0.693359375f;  // ln2 in two parts: n times the first is exact
  static constexpr float ln2_low = -2.12194440054690583e-4f;
  // Chebyshev fit of (e^r - 1 - r) / r^2, error 8e-9; the highest power first.
  static constexpr int terms = 5;
  static constexpr float term[terms] = {0.00139262131f, 0.00836320315f, 0.0416665561f, 0.166665763f, 0.5f};
  static constexpr float largest = 87.0f;      // e^x of which neither overflows nor loses bits
  static constexpr float tanh_is_one = 18.5f;  // from e^this on
};

template <>
struct ExpConstants<double> {
  static constexpr double shift = 6755399441055744.0 + 1023.0;
  static constexpr double ln2_high = 6.93147180369123816490e-01;
  static constexpr double ln2_low = 1.90821492927058770002e-10;
  // 1/13! ... 1/2!, whose remainder is below 1e-17.
  static constexpr int terms = 12;
  static constexpr double term[terms] = {1.0 / 6227020800, 1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800,
                                         1.0 / 362880,     1.0 / 40320,     1.0 / 5040,     1.0 / 720,
                                         1.0 / 120,        1.0 / 24,        1.0 / 6,        0.5};
  static constexpr double largest = 708.0;
  static constexpr double tanh_is_one = 40.0;
};

struct ExpParts {
  V scale;  // 2^n
  V p;      // e^r - 1, where the argument is n ln2 + r
};

inline ExpParts exp_parts(V x) {
  using C = ExpConstants<Real>;
  const V shift = V::set1(C::shift);
  const V shifted = fma(x, V::set1(static_cast<Real>(1.44269504088896340736)), shift);
  const V n = shifted - shift;
  V r = fma(n, V::set1(-C::ln2_high), x);
  r = fma(n, V::set1(-C::ln2_low), r);
  V q = V::set1(C::term[0]);
  for (int i = 1; i < C::terms; ++i) q = fma(q, r, V::set1(C::term[i]));
  return {exp2_of_low_bits(shifted), fma(q, r * r, r)};
}

// 1 / (1 + e^-x)
inline V sigmoid(V x) {
  const V largest = V::set1(ExpConstants<Real>::largest);
  const V one = V::set1(1);
  const V clamped = min(largest, max(V::set1(0) - largest, V::set1(0) - x));
  const ExpParts e = exp_parts(clamped);
  return reciprocal(one + fma(e.scale, e.p, e.scale));
}

// (e^2x - 1) / (e^2x + 1), with e^2x - 1 = 2^n p + (2^n - 1)
inline V tanh(V x) {
  const V limit = V::set1(ExpConstants<Real>::tanh_is_one);
  const V clamped = min(limit, max(V::set1(0) - limit, x + x));
  const ExpParts e = exp_parts(clamped);
  const V expm1 = fma(e.scale, e.p, e.scale - V::set1(1));
  return expm1 * reciprocal(expm1 + V::set1(2));
}
