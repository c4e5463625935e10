// What is computed in float32 only, and the ISA's table. Included inside the ISA file's namespace of float32, after
// kernels.inl.

#include "../optimizers.inl"

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

// As many independent chains as hide the latency of a fused multiply-add on any CPU in question.
constexpr int fma_chain_count = 10;

inline float fma_chains(index_t n) {
  V chain[fma_chain_count];
  unroll<fma_chain_count>([&](auto i) RNNEXT_LAMBDA { chain[i] = V::set1(static_cast<float>(i)); });
  const V scale = V::set1(0.999f);
  const V shift = V::set1(0.001f);
  for (index_t k = 0; k < n; ++k)
    unroll<fma_chain_count>([&](auto i) RNNEXT_LAMBDA { chain[i] = fma(chain[i], scale, shift); });
  V sum = V::set1(0.0f);
  unroll<fma_chain_count>([&](auto i) RNNEXT_LAMBDA { sum = sum + chain[i]; });
  float lanes[V::lanes];
  sum.store(lanes);
  return lanes[0];
}

inline float read_all(const float* x, index_t n) {
  constexpr int streams = 8;
  V sum[streams];
  unroll<streams>([&](auto i) RNNEXT_LAMBDA { sum[i] = V::set1(0.0f); });
  for (index_t k = 0; k + streams * V::lanes <= n; k += streams * V::lanes) {
    unroll<streams>([&](auto i) RNNEXT_LAMBDA { sum[i] = sum[i] + V::load(x + k + i * V::lanes); });
  }
  unroll<streams>([&](auto i) RNNEXT_LAMBDA { sum[0] = i == 0 ? sum[0] : sum[0] + sum[i]; });
  float lanes[V::lanes];
  sum[0].store(lanes);
  return lanes[0];
}

constexpr KernelTable table(const char* name, const RecurrentKernels<double>& f64) {
  return {name,        recurrent_kernels, f64,        {sgd, rmsprop, adam}, momentum_idle, adam_idle,
          sum_squares, sigmoid_array,     tanh_array, fma_chains,           read_all,      fma_chain_count};
}
