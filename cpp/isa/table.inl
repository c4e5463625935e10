// Puts an ISA's table together. Included last, inside the ISA file's anonymous namespace.

inline void sigmoid_array(const float* x, float* y, index_t n) {
  for (index_t i = 0; i < n; i += V::lanes) {
    const index_t left = n - i < V::lanes ? n - i : V::lanes;
    sigmoid(V::load_n(x + i, left)).store_n(y + i, left);
  }
}

inline void tanh_array(const float* x, float* y, index_t n) {
  for (index_t i = 0; i < n; i += V::lanes) {
    const index_t left = n - i < V::lanes ? n - i : V::lanes;
    tanh(V::load_n(x + i, left)).store_n(y + i, left);
  }
}

constexpr KernelTable table(const char* name) {
  return {name,
          V::lanes,
          V::flat_vectors,
          product,
          outer_product,
          column_sums,
          {Lstm::kernels, GruResetAfter::kernels, GruResetBefore::kernels},
          sigmoid_array,
          tanh_array};
}
