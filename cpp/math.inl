// sigmoid and tanh for any vector type V, or for several vectors in step. Knows floating point; does not know what the
// functions are used for.
//
// Both use e^r - 1 on |r| <= ln2/2, computed relative to r so that tanh is accurate near 0: errors stay below 4 ulp. Where
// sigmoid is nearly 0 it is less accurate: n ln2 is subtracted in one fused multiply-add, which changes e^-x by 3e-8 |x| of
// itself.
//
// min and max return their second argument when either is NaN, so clamping as min(limit, x) lets NaN through.

template <class Real>
struct ExpConstants;

template <>
struct ExpConstants<float> {
  // Adding 1.5 * 2^23 rounds to a whole number and leaves it in the low bits, with the exponent's bias for exp2_of_low_bits.
  static constexpr float shift = 12582912.0f + 127.0f;
  static constexpr float ln2 = 0.693147181f;
  static constexpr float ln2_high = 0.693359375f;  // ln2 in two parts: n times the first is exact
  static constexpr float ln2_low = -2.12194440054690583e-4f;
  // Chebyshev fit of (e^r - 1) / r; the highest power first.
  static constexpr int terms = 6;
  static constexpr float term[terms] = {0.00139487034f, 0.00836922228f, 0.0416662395f, 0.166665047f, 0.5f, 1.0f};
  static constexpr float largest = 87.0f;      // e^x of which neither overflows nor loses bits
  static constexpr float tanh_is_one = 9.25f;  // from here on
};

template <>
struct ExpConstants<double> {
  static constexpr double shift = 6755399441055744.0 + 1023.0;
  static constexpr double ln2 = 0.6931471805599453;
  static constexpr double ln2_high = 6.93147180369123816490e-01;
  static constexpr double ln2_low = 1.90821492927058770002e-10;
  // 1/13! ... 1, whose remainder is below 1e-17.
  static constexpr int terms = 13;
  static constexpr double term[terms] = {
      1.0 / 6227020800, 1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880, 1.0 / 40320, 1.0 / 5040,
      1.0 / 720,        1.0 / 120,       1.0 / 24,       1.0 / 6,       0.5,          1.0};
  static constexpr double largest = 708.0;
  static constexpr double tanh_is_one = 20.0;
};

template <class X>
struct ExpParts {
  X scale;  // 2^n
  X r;      // the exponent is n ln2 + TIMES r
  X q;      // (e^(TIMES r) - 1) / r
};

// The fit's for (e^(TIMES r) - 1) / r.
template <int TIMES>
struct ExpTerms {
  Real of[ExpConstants<Real>::terms]{};
  constexpr ExpTerms() {
    Real power = TIMES;
    for (int i = ExpConstants<Real>::terms; i-- > 0; power *= TIMES) of[i] = ExpConstants<Real>::term[i] * power;
  }
};

// The parts of e^(TIMES x). TIMES is a power of two or its negative, which only changes constants.
template <int TIMES, class X>
RNNEXT_INLINE ExpParts<X> exp_parts(X x) {
  using C = ExpConstants<Real>;
  const V shift = V::set1(C::shift);
  const X shifted = fma(x, V::set1(TIMES / C::ln2), shift);
  const X n = shifted - shift;
  X r;
  if constexpr (V::fused) {
    r = fma(n, V::set1(-C::ln2 / TIMES), x);
  } else {
    r = fma(n, V::set1(-C::ln2_high / TIMES), x);
    r = fma(n, V::set1(-C::ln2_low / TIMES), r);
  }
  constexpr ExpTerms<TIMES> terms;
  X q = fma(r, V::set1(terms.of[0]), V::set1(terms.of[1]));
  for (int i = 2; i < C::terms; ++i) q = fma(q, r, V::set1(terms.of[i]));
  return {exp2_of_low_bits(shifted), r, q};
}

template <class X>
RNNEXT_INLINE X clamp(X x, Real limit) {
  return min(V::set1(limit), max(V::set1(-limit), x));
}

// 1 / (1 + e^-x)
template <class X>
RNNEXT_INLINE X sigmoid(X x) {
  const V one = V::set1(1);
  const ExpParts<X> e = exp_parts<-1>(clamp(x, ExpConstants<Real>::largest));
  return reciprocal(fma(e.scale, fma(e.q, e.r, one), one));
}

// (e^2x - 1) / (e^2x + 1), with e^2x - 1 = 2^n (e^2r - 1) + (2^n - 1). With a division here and none in sigmoid, the divider
// and the multipliers share the work.
template <class X>
RNNEXT_INLINE X tanh(X x) {
  const ExpParts<X> e = exp_parts<2>(clamp(x, ExpConstants<Real>::tanh_is_one));
  const X expm1 = fma(e.scale, e.q * e.r, e.scale - V::set1(1));
  return expm1 / (expm1 + V::set1(2));
}
