// sigmoid and tanh for any vector type V. Knows floating point; does not know what the functions are used for.
//
// Both go through p(r) = e^r - 1 on |r| <= ln2/2, kept relative to r so that tanh is accurate near 0; errors stay below 3 ulp.
// min and max return their second argument when either is NaN, so clamping as min(limit, x) lets NaN through.

struct ExpParts {
  V scale;  // 2^n
  V p;      // e^r - 1, where the argument is n ln2 + r
};

inline ExpParts exp_parts(V x) {
  // Adding 1.5 * 2^23 rounds to a whole number and leaves it in the low bits, with the exponent's bias for exp2_of_low_bits.
  const V shift = V::set1(12582912.0f + 127.0f);
  const V shifted = fma(x, V::set1(1.44269504088896341f), shift);
  const V n = shifted - shift;
  V r = fma(n, V::set1(-0.693359375f), x);  // ln2 in two parts: n times the first is exact
  r = fma(n, V::set1(2.12194440054690583e-4f), r);
  V q = V::set1(0.00139262131f);  // Chebyshev fit of (e^r - 1 - r) / r^2, error 8e-9
  q = fma(q, r, V::set1(0.00836320315f));
  q = fma(q, r, V::set1(0.0416665561f));
  q = fma(q, r, V::set1(0.166665763f));
  q = fma(q, r, V::set1(0.5f));
  return {exp2_of_low_bits(shifted), fma(q, r * r, r)};
}

// 1 / (1 + e^-x)
inline V sigmoid(V x) {
  const V one = V::set1(1.0f);
  const V clamped = min(V::set1(87.0f), max(V::set1(-87.0f), V::set1(0.0f) - x));
  const ExpParts e = exp_parts(clamped);
  return reciprocal(one + fma(e.scale, e.p, e.scale));
}

// (e^2x - 1) / (e^2x + 1), with e^2x - 1 = 2^n p + (2^n - 1)
inline V tanh(V x) {
  const V clamped = min(V::set1(18.5f), max(V::set1(-18.5f), x + x));
  const ExpParts e = exp_parts(clamped);
  const V expm1 = fma(e.scale, e.p, e.scale - V::set1(1.0f));
  return expm1 * reciprocal(expm1 + V::set1(2.0f));
}
