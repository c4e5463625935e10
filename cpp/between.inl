// What is done to a row's state, and to its gradient, between two steps (docs/equations.md, "Options": recurrent dropout and
// zoneout). Rows of n elements; a result may lie where an argument does.

template <class F>
inline void each_vector(index_t n, F f) {
  index_t i = 0;
  for (; i + V::lanes <= n; i += V::lanes) {
    f([i](const Real* p) { return V::load(p + i); }, [i](Real* p, V v) { v.store(p + i); });
  }
  const index_t rest = n - i;
  if (rest > 0)
    f([i, rest](const Real* p) { return V::load_n(p + i, rest); }, [i, rest](Real* p, V v) { v.store_n(p + i, rest); });
}

// to = a ⊙ b
inline void multiply(const Real* a, const Real* b, index_t n, Real* to) {
  each_vector(n, [&](auto load, auto store) { store(to, load(a) * load(b)); });
}

// to += from
inline void add(const Real* from, index_t n, Real* to) {
  each_vector(n, [&](auto load, auto store) { store(to, load(to) + load(from)); });
}

// to = share ⊙ before + (1 - share) ⊙ after: a unit that keeps all of its state keeps its bits
inline void keep_share(const Real* share, const Real* before, const Real* after, index_t n, Real* to) {
  each_vector(n, [&](auto load, auto store) {
    const V kept = load(share);
    store(to, kept * load(before) + (V::set1(1) - kept) * load(after));
  });
}

// kept = share ⊙ d, d = d - kept
inline void divide(const Real* share, index_t n, Real* d, Real* kept) {
  each_vector(n, [&](auto load, auto store) {
    const V all = load(d);
    const V part = load(share) * all;
    store(kept, part);
    store(d, all - part);
  });
}
