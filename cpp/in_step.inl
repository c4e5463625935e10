// N vectors that go through the same operations in step, for a tile's rows: their chains do not wait for each other, and each
// constant is fetched once. Whatever is written for one vector can be written for them.

template <int N>
struct InStep {
  V of[N];
};

template <class T>
inline constexpr int vectors_in = 0;
template <int N>
inline constexpr int vectors_in<InStep<N>> = N;

template <class... T>
concept AnyInStep = ((vectors_in<T> > 0) || ...);

// f(Index<i>) for each of N.
template <int N, class F>
RNNEXT_INLINE InStep<N> in_step(F&& f) {
  InStep<N> all;
  unroll<N>([&](auto i) RNNEXT_LAMBDA { all.of[i] = f(i); });
  return all;
}

// One of them, or what is the same for all.
RNNEXT_INLINE V vector(V v, int) { return v; }
template <int N>
RNNEXT_INLINE V vector(const InStep<N>& v, int i) {
  return v.of[i];
}

template <class F, class... T>
RNNEXT_INLINE auto vector_by_vector(F&& f, const T&... x) {
  constexpr int N = (vectors_in<T> | ...);  // the others are 0
  return in_step<N>([&](auto i) RNNEXT_LAMBDA { return f(vector(x, i)...); });
}

template <class A, class B>
  requires AnyInStep<A, B>
RNNEXT_INLINE auto operator+(const A& a, const B& b) {
  return vector_by_vector([](V x, V y) RNNEXT_LAMBDA { return x + y; }, a, b);
}
template <class A, class B>
  requires AnyInStep<A, B>
RNNEXT_INLINE auto operator-(const A& a, const B& b) {
  return vector_by_vector([](V x, V y) RNNEXT_LAMBDA { return x - y; }, a, b);
}
template <class A, class B>
  requires AnyInStep<A, B>
RNNEXT_INLINE auto operator*(const A& a, const B& b) {
  return vector_by_vector([](V x, V y) RNNEXT_LAMBDA { return x * y; }, a, b);
}
template <class A, class B>
  requires AnyInStep<A, B>
RNNEXT_INLINE auto operator/(const A& a, const B& b) {
  return vector_by_vector([](V x, V y) RNNEXT_LAMBDA { return x / y; }, a, b);
}
template <class A, class B, class C>
  requires AnyInStep<A, B, C>
RNNEXT_INLINE auto fma(const A& a, const B& b, const C& c) {
  return vector_by_vector([](V x, V y, V z) RNNEXT_LAMBDA { return fma(x, y, z); }, a, b, c);
}
template <class A, class B>
  requires AnyInStep<A, B>
RNNEXT_INLINE auto min(const A& a, const B& b) {
  return vector_by_vector([](V x, V y) RNNEXT_LAMBDA { return min(x, y); }, a, b);
}
template <class A, class B>
  requires AnyInStep<A, B>
RNNEXT_INLINE auto max(const A& a, const B& b) {
  return vector_by_vector([](V x, V y) RNNEXT_LAMBDA { return max(x, y); }, a, b);
}
template <int N>
RNNEXT_INLINE InStep<N> reciprocal(const InStep<N>& a) {
  return vector_by_vector([](V x) RNNEXT_LAMBDA { return reciprocal(x); }, a);
}
template <int N>
RNNEXT_INLINE InStep<N> exp2_of_low_bits(const InStep<N>& a) {
  return vector_by_vector([](V x) RNNEXT_LAMBDA { return exp2_of_low_bits(x); }, a);
}
