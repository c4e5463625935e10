// Puts an ISA's table together. Included last, inside the ISA file's anonymous namespace.

template <class F>
inline void map_array(const float* x, float* y, index_t n, F f) {
  index_t i = 0;
  for (; i + V::lanes <= n; i += V::lanes) f(V::load(x + i)).store(y + i);
  if (i < n) f(V::load_n(x + i, n - i)).store_n(y + i, n - i);
}

inline void sigmoid_array(const float* x, float* y, index_t n) {
  map_array(x, y, n, [](V v) { return sigmoid(v); });
}

inline void tanh_array(const float* x, float* y, index_t n) {
  map_array(x, y, n, [](V v) { return tanh(v); });
}

constexpr KernelTable table(const char* name) {
  return {name,
          V::lanes,
          V::flat_vectors,
          product,
          outer_product,
          column_sums,
          row_sums,
          {Lstm::kernels, GruResetAfter::kernels, GruResetBefore::kernels},
          sigmoid_array,
          tanh_array};
}
