// The optimizers' update rules for any vector type V, with Keras's placement of epsilon and weight decay. Knows the equations;
// does not know which parameters, or when.

// f(access, offset) for whole vectors, then for what is left.
template <class F>
RNNEXT_INLINE void for_each_vector(index_t n, F&& f) {
  index_t i = 0;
  for (; i + V::lanes <= n; i += V::lanes) f(FullPanel{}, i);
  if (i < n) f(TailPanel{n - i}, i);
}

// (1 - share) average + share x: exactly x for a share of 1, whatever went before.
struct MovingAverage {
  V share, minus_share;
  explicit MovingAverage(float s) : share(V::set1(s)), minus_share(V::set1(-s)) {}
  V operator()(V average, V x) const { return fma(share, x, fma(minus_share, average, average)); }
};

// What the three rules have in common: the gradient and the memories as they enter a step, and where the results go.
struct Stepping {
  const OptimizerStep& u;
  V g_scale = V::set1(u.g_scale);
  V g_limit = V::set1(u.g_limit);
  V minus_g_limit = V::set1(-u.g_limit);
  V minus_decay = V::set1(-u.decay);

  // A NaN comes through: min and max then return their second argument.
  template <class Access>
  V gradient(const Access& at, index_t i) const {
    return min(g_limit, max(minus_g_limit, g_scale * at.load(u.g + i)));
  }
  template <class Access>
  V slot(const Access& at, int k, index_t i) const {
    return V::set1(u.fade[k]) * at.load(u.slots[k] + i);
  }
  template <class Access>
  V decayed(const Access& at, index_t i) const {
    const V p = at.load(u.p + i);
    return fma(minus_decay, p, p);
  }
  template <class Access>
  void store(const Access& at, index_t i, V p) const {
    at.store(u.p + i, p);
    if (u.anchor != nullptr) at.store(u.anchor + i, p);
  }
};

// m ← μ m - η g,  p ← p - decay p + m; Nesterov: + μ m - η g with the new m.
inline void sgd(const OptimizerStep& u) {
  const Stepping s{u};
  const V momentum = V::set1(u.constants->momentum);
  const V rate = V::set1(u.rate);
  for_each_vector(u.n, [&](const auto& at, index_t i) {
    const V step = rate * s.gradient(at, i);
    const V p = s.decayed(at, i);
    if (u.slots[0] == nullptr) return s.store(at, i, p - step);
    const V m = momentum * s.slot(at, 0, i) - step;
    at.store(u.slots[0] + i, m);
    s.store(at, i, p + (u.constants->nesterov ? momentum * m - step : m));
  });
}

// v ← ρ v + (1 - ρ) g²,  a ← ρ a + (1 - ρ) g,  m ← μ m + η g / √(v - a² + ε),  p ← p - decay p - m; a and μ are 0 where unused.
inline void rmsprop(const OptimizerStep& u) {
  const Stepping s{u};
  const V zero = V::set1(0.0f);
  const V momentum = V::set1(u.constants->momentum);
  const MovingAverage average(u.constants->one_minus_rho);
  const V epsilon = V::set1(u.constants->epsilon);
  const V rate = V::set1(u.rate);
  for_each_vector(u.n, [&](const auto& at, index_t i) {
    const V g = s.gradient(at, i);
    const V v = average(s.slot(at, 0, i), g * g);
    at.store(u.slots[0] + i, v);
    V variance = v;
    if (u.slots[2] != nullptr) {
      const V a = average(s.slot(at, 2, i), g);
      at.store(u.slots[2] + i, a);
      variance = max(zero, v - a * a);  // below 0 by rounding only
    }
    V step = rate * g / sqrt(variance + epsilon);
    if (u.slots[1] != nullptr) {
      step = fma(momentum, s.slot(at, 1, i), step);
      at.store(u.slots[1] + i, step);
    }
    s.store(at, i, s.decayed(at, i) - step);
  });
}

// m ← β₁ m + (1 - β₁) g,  v ← β₂ v + (1 - β₂) g²,  p ← p - decay p - α m / (√v + ε); AMSGrad: with the largest v so far.
inline void adam(const OptimizerStep& u) {
  const Stepping s{u};
  const MovingAverage first(u.constants->one_minus_beta1);
  const MovingAverage second(u.constants->one_minus_beta2);
  const V epsilon = V::set1(u.constants->epsilon);
  const V alpha = V::set1(u.rate);
  for_each_vector(u.n, [&](const auto& at, index_t i) {
    const V g = s.gradient(at, i);
    const V m = first(s.slot(at, 0, i), g);
    const V v = second(s.slot(at, 1, i), g * g);
    at.store(u.slots[0] + i, m);
    at.store(u.slots[1] + i, v);
    V largest = v;
    if (u.slots[2] != nullptr) {
      largest = max(s.slot(at, 2, i), v);
      at.store(u.slots[2] + i, largest);
    }
    s.store(at, i, s.decayed(at, i) - alpha * m / (sqrt(largest) + epsilon));
  });
}

inline void momentum_idle(const MomentumIdle& u) {
  const V minus_decay = V::set1(-u.decay);
  const V push = V::set1(u.push);
  for_each_vector(u.n, [&](const auto& at, index_t i) {
    const V anchor = at.load(u.anchor + i);
    const V p = fma(minus_decay, anchor, anchor);
    at.store(u.p + i, u.m == nullptr ? p : fma(push, at.load(u.m + i), p));
  });
}

inline void adam_idle(const AdamIdle& u) {
  const V one = V::set1(1.0f);
  const V minus_decay = V::set1(-u.decay);
  const V epsilon = V::set1(u.epsilon);
  for_each_vector(u.n, [&](const auto& at, index_t i) {
    const V s = sqrt(at.load(u.v + i));
    V sum = V::set1(0.0f);
    for (index_t k = 0; k < u.run_count; ++k) {
      const AdamRun& run = u.runs[k];
      const V inverse = one / fma(V::set1(run.centre), s, epsilon);
      const V x = s * inverse;
      V series = V::set1(run.terms[idle_terms - 1]);
      unroll<idle_terms - 1>([&](auto j) { series = fma(series, x, V::set1(run.terms[idle_terms - 2 - j])); });
      sum = fma(series, inverse, sum);
    }
    const V anchor = at.load(u.anchor + i);
    at.store(u.p + i, fma(minus_decay, anchor, anchor) - at.load(u.m + i) * sum);
  });
}

// In float64 and in an order that does not depend on V.
inline double sum_squares(const float* x, index_t n) {
  constexpr int chains = 16;
  double sums[chains] = {};
  index_t i = 0;
  for (; i + chains <= n; i += chains) {
    for (int j = 0; j < chains; ++j) {
      const auto value = static_cast<double>(x[i + j]);
      sums[j] += value * value;
    }
  }
  for (int j = 0; i + j < n; ++j) {
    const auto value = static_cast<double>(x[i + j]);
    sums[j] += value * value;
  }
  double total = 0.0;
  for (int j = 0; j < chains; ++j) total += sums[j];
  return total;
}
