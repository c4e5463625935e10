// The optimizers' update rules for any vector type V. Knows the equations; does not know which parameters, or when.

struct AdamState {
  V p, m, v;
};

// One step with gradient g.
inline AdamState adam_step(AdamState s, V g, V one_minus_beta1, V one_minus_beta2, V epsilon, V alpha, V keep) {
  const V m = fma(one_minus_beta1, g - s.m, s.m);
  const V v = fma(one_minus_beta2, g * g - s.v, s.v);
  return {keep * s.p - alpha * m / (sqrt(v) + epsilon), m, v};
}

// f(access, offset) for whole vectors, then for what is left.
template <class F>
RNNEXT_INLINE void for_each_vector(index_t n, F&& f) {
  index_t i = 0;
  for (; i + V::lanes <= n; i += V::lanes) f(FullPanel{}, i);
  if (i < n) f(TailPanel{n - i}, i);
}

inline void adam(const AdamUpdate& u) {
  const V one_minus_beta1 = V::set1(u.one_minus_beta1);
  const V one_minus_beta2 = V::set1(u.one_minus_beta2);
  const V epsilon = V::set1(u.epsilon);
  const V alpha = V::set1(u.alpha);
  const V keep = V::set1(u.keep);
  const V g_scale = V::set1(u.g_scale);
  for_each_vector(u.n, [&](const auto& at, index_t i) {
    const V g = g_scale * at.load(u.g + i);
    const AdamState s = adam_step({at.load(u.p + i), at.load(u.m + i), at.load(u.v + i)}, g, one_minus_beta1, one_minus_beta2,
                                  epsilon, alpha, keep);
    at.store(u.p + i, s.p);
    at.store(u.m + i, s.m);
    at.store(u.v + i, s.v);
  });
}

inline void adam_idle(const AdamIdle& u) {
  const V zero = V::set1(0.0f);
  const V one_minus_beta1 = V::set1(u.one_minus_beta1);
  const V one_minus_beta2 = V::set1(u.one_minus_beta2);
  const V epsilon = V::set1(u.epsilon);
  for_each_vector(u.n, [&](const auto& at, index_t i) {
    AdamState s{at.load(u.p + i), at.load(u.m + i), at.load(u.v + i)};
    for (index_t k = 0; k < u.steps; ++k) {
      s = adam_step(s, zero, one_minus_beta1, one_minus_beta2, epsilon, V::set1(u.alpha[k]), V::set1(u.keep[k]));
    }
    at.store(u.p + i, s.p * V::set1(u.tail_keep));
    at.store(u.m + i, s.m * V::set1(u.tail_m));
    at.store(u.v + i, s.v * V::set1(u.tail_v));
  });
}
