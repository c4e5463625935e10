// Loops that the compiler sees written out.

template <int I>
struct Index {
  constexpr operator int() const { return I; }
};

template <int... I>
struct Indices {};
template <int N, int... I>
struct IndicesBelow : IndicesBelow<N - 1, N - 1, I...> {};
template <int... I>
struct IndicesBelow<0, I...> {
  using type = Indices<I...>;
};

// Calls f(Index<0>{}) ... f(Index<N-1>{}): constant indices keep arrays of vectors in registers.
template <int... I, class F>
RNNEXT_INLINE void unroll_over(Indices<I...>, F&& f) {
  (f(Index<I>{}), ...);
}
template <int N, class F>
RNNEXT_INLINE void unroll(F&& f) {
  unroll_over(typename IndicesBelow<N>::type{}, f);
}
