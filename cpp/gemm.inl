// Register tiles: products of rows with packed panels, for any vector type V. Knows how accumulators are held and in which
// order operands stream; does not know what is multiplied, or what is done with a finished row of accumulators.
//
// Each element of a result is one chain of fused multiply-adds over k in ascending order, whatever the tile, so that results do
// not depend on how rows and columns are split.

// f() count times; where a step of a tile is short, unrolled, so that the count is not compared after each.
template <int MR, int NV, class F>
RNNEXT_INLINE void repeat(index_t count, F&& f) {
  if constexpr (V::short_steps && MR * NV >= 8) {
    RNNEXT_UNROLL_4
    for (index_t i = 0; i < count; ++i) f();
  } else {
    for (index_t i = 0; i < count; ++i) f();
  }
}

constexpr index_t cache_line = 64 / sizeof(Real);  // elements

constexpr index_t ceil_div(index_t a, index_t b) { return (a + b - 1) / b; }

// Columns of whole panels, side by side: plain loads and stores.
template <int N>
struct FullPanels {
  static constexpr bool whole = true;
  static constexpr bool tailed = false;
  static constexpr int panels = N;
  static constexpr index_t slot = V::lanes;  // from gate to gate in a record
  static V load(const Real* p) { return V::load(p); }
  static void store(Real* p, V v) { v.store(p); }
};

using FullPanel = FullPanels<1>;

// The last panel, when the units are no multiple of the lanes.
struct TailPanel {
  static constexpr bool tailed = false;
  static constexpr bool whole = false;
  static constexpr int panels = 1;
  index_t slot;  // its units
  V load(const Real* p) const { return V::load_n(p, slot); }
  void store(Real* p, V v) const { v.store_n(p, slot); }
};

// Whole panels, and behind them the last one.
template <int N>
struct FullPanelsAndTail : FullPanels<N> {
  static constexpr bool tailed = true;
  TailPanel tail;
};

// Rows by address, and rows at a fixed stride.
template <class T>
struct RowTable {
  T* const* rows;
  T* operator[](index_t i) const { return rows[i]; }
};
template <class T>
struct StridedRows {
  T* base;
  index_t stride;
  T* operator[](index_t i) const { return base + i * stride; }
};

// What is read after this product: each step along k advances by `step` elements in it and prefetches a line into L2. A
// prefetch beyond the end of an array is harmless.
struct Ahead {
  const Real* p;
  index_t step;
};

// acc += A[:, 0:count] · B, both read from where they point; b and what is ahead move on.
template <int MR, int NV>
RNNEXT_INLINE void multiply(V (&acc)[MR][NV], const Real* const (&a)[MR], index_t offset, index_t count, const Real*& b,
                            Ahead& ahead) {
  V sum[MR][NV];  // locals: the compiler need not prove that nobody else sees them
  unroll<MR>([&](auto r) RNNEXT_LAMBDA { unroll<NV>([&](auto j) RNNEXT_LAMBDA { sum[r][j] = acc[r][j]; }); });
  const Real* row[MR];
  unroll<MR>([&](auto r) RNNEXT_LAMBDA { row[r] = a[r] + offset; });
  const Real* panel = b;
  const Real* next = ahead.p;
  const index_t step = ahead.step;
  index_t k = 0;
  repeat<MR, NV>(count, [&]() RNNEXT_LAMBDA {
    RNNEXT_PREFETCH_L2(next);
    if constexpr (MR <= NV) {
      V left[MR];
      unroll<MR>([&](auto r) RNNEXT_LAMBDA { left[r] = V::set1(row[r][k]); });
      unroll<NV>([&](auto j) RNNEXT_LAMBDA {
        const V right = V::load(panel + j * V::lanes);
        unroll<MR>([&](auto r) RNNEXT_LAMBDA { sum[r][j] = fma(left[r], right, sum[r][j]); });
      });
    } else {
      V right[NV];
      unroll<NV>([&](auto j) RNNEXT_LAMBDA { right[j] = V::load(panel + j * V::lanes); });
      unroll<MR>([&](auto r) RNNEXT_LAMBDA {
        const V left = V::set1(row[r][k]);
        unroll<NV>([&](auto j) RNNEXT_LAMBDA { sum[r][j] = fma(left, right[j], sum[r][j]); });
      });
    }
    ++k;
    panel += NV * V::lanes;
    next += step;
  });
  b = panel;
  ahead.p = next;
  unroll<MR>([&](auto r) RNNEXT_LAMBDA { unroll<NV>([&](auto j) RNNEXT_LAMBDA { acc[r][j] = sum[r][j]; }); });
}

// acc[p] += A[0:count] · B[p], for one row and several panels: the chains of a single panel would leave the multipliers half
// idle. beside(k, A[k]) is called in each step.
template <int NP, int NV, class Beside>
RNNEXT_INLINE void multiply_row(V (&acc)[NP][NV], const Real* a, index_t count, const Real* b, Beside beside) {
  V sum[NP][NV];
  unroll<NP>([&](auto p) RNNEXT_LAMBDA { unroll<NV>([&](auto j) RNNEXT_LAMBDA { sum[p][j] = acc[p][j]; }); });
  const index_t panel = count * NV * V::lanes;
  for (index_t k = 0; k < count; ++k, b += NV * V::lanes) {
    const V left = V::set1(a[k]);
    unroll<NP>([&](auto p) RNNEXT_LAMBDA {
      unroll<NV>([&](auto j) RNNEXT_LAMBDA { sum[p][j] = fma(left, V::load(b + p * panel + j * V::lanes), sum[p][j]); });
    });
    beside(k, left);
  }
  unroll<NP>([&](auto p) RNNEXT_LAMBDA { unroll<NV>([&](auto j) RNNEXT_LAMBDA { acc[p][j] = sum[p][j]; }); });
}

// Runs [run_begin, run_end) of A's columns; run number k.runs is the tail.
struct KRange {
  Columns columns;
  index_t run_begin, run_end;
};

// The number of these columns.
inline index_t columns_in(const KRange& k) {
  const index_t full_end = k.run_end < k.columns.runs ? k.run_end : k.columns.runs;
  return (full_end - k.run_begin) * k.columns.width + (k.run_end > k.columns.runs ? k.columns.tail_width : 0);
}

template <int MR, int NV>
RNNEXT_INLINE void multiply(V (&acc)[MR][NV], const Real* const (&a)[MR], const KRange& k, const Real* b, Ahead& ahead) {
  const index_t full_end = k.run_end < k.columns.runs ? k.run_end : k.columns.runs;
  for (index_t run = k.run_begin; run < full_end; ++run) {
    multiply(acc, a, k.columns.first + run * k.columns.stride, k.columns.width, b, ahead);
  }
  if (k.run_end > k.columns.runs) multiply(acc, a, k.columns.tail_first, k.columns.tail_width, b, ahead);
}

// Tiles of at most max_rows(NV) rows, as equal as possible; tile(Index<MR>, first row).
template <int NV, int MR = V::max_rows(NV), class F>
RNNEXT_INLINE void dispatch_rows(index_t count, index_t row, F&& tile) {
  if constexpr (MR > 0) {
    if (count == MR) {
      tile(Index<MR>{}, row);
    } else {
      dispatch_rows<NV, MR - 1>(count, row, tile);
    }
  }
}
template <int NV, class F>
RNNEXT_INLINE void for_each_tile(index_t rows, F&& tile) {
  const index_t tiles = ceil_div(rows, V::max_rows(NV));
  for (index_t i = 0; i < tiles; ++i) {
    const index_t begin = rows * i / tiles;
    dispatch_rows<NV>(rows * (i + 1) / tiles - begin, begin, tile);
  }
}

// For each row: start(acc, row), acc += A[row] · B; then for the rows of a tile together finish(tile, first row). `next` is the
// panel that is read after this one (null: the memory behind it), to be prefetched, as large weights do not stay in L2.
template <int NV, class RowsA, class Start, class Finish>
void panel_product(index_t rows, const RowsA& a, const KRange& k, const Real* b, Start start, Finish finish,
                   const Real* next = nullptr) {
  if (rows == 0) return;
  const index_t tiles = ceil_div(rows, V::max_rows(NV));
  const index_t wanted = ceil_div(NV * V::lanes, tiles);  // as much as the panel that the tiles read
  Ahead ahead{next != nullptr ? next : b + columns_in(k) * NV * V::lanes, wanted < cache_line ? wanted : cache_line};
  for_each_tile<NV>(rows, [&](auto mr, index_t row) {
    constexpr int MR = mr;
    V acc[MR][NV];
    const Real* left[MR];
    unroll<MR>([&](auto r) RNNEXT_LAMBDA {
      left[r] = a[row + r];
      start(acc[r], row + r);
    });
    multiply(acc, left, k, b, ahead);
    finish(acc, row);
  });
}

// A tile's finish from that of one row: finish(acc, row, ...).
template <class F>
struct RowByRow {
  F finish;
  template <int MR, int NV, class... More>
  RNNEXT_INLINE void operator()(V (&tile)[MR][NV], index_t row, More... more) const {
    unroll<MR>([&](auto r) RNNEXT_LAMBDA { finish(tile[r], row + r, more...); });
  }
};
template <class F>
RowByRow(F) -> RowByRow<F>;  // Clang before 17 does not find it by itself

// f(Index<n>) for a number of vectors known only at run time.
template <int MAX, class F>
RNNEXT_INLINE void dispatch_vectors(index_t n, F&& f) {
  if constexpr (MAX > 1) {
    if (n < MAX) return dispatch_vectors<MAX - 1>(n, f);
  }
  f(Index<MAX>{});
}

template <int NV>
RNNEXT_INLINE void load_vectors(V (&acc)[NV], const Real* p, index_t width) {
  unroll<NV>([&](auto j) RNNEXT_LAMBDA {
    const index_t left = width - j * V::lanes;
    acc[j] = left >= V::lanes ? V::load(p + j * V::lanes) : V::load_n(p + j * V::lanes, left);
  });
}
template <int NV>
RNNEXT_INLINE void store_vectors(const V (&acc)[NV], Real* p, index_t width) {
  unroll<NV>([&](auto j) RNNEXT_LAMBDA {
    const index_t left = width - j * V::lanes;
    if (left >= V::lanes) {
      acc[j].store(p + j * V::lanes);
    } else {
      acc[j].store_n(p + j * V::lanes, left);
    }
  });
}

// How many runs of k make a slice of a packed panel that stays in L1 while rows pass by.
inline index_t runs_per_slice(index_t run_width, index_t panel_width) {
  constexpr index_t slice = (32 << 10) / sizeof(Real);
  const index_t runs = slice / (run_width * panel_width);
  return runs > 0 ? runs : 1;
}

// slice(KRange, offset into the packed panel, is first, is last), in ascending k.
template <class F>
RNNEXT_INLINE void for_each_slice(const Columns& k, index_t panel_width, F&& slice) {
  const index_t step = runs_per_slice(k.width > 0 ? k.width : 1, panel_width);
  const index_t runs = k.runs + (k.tail_width > 0 ? 1 : 0);
  for (index_t run = 0; run == 0 || run < runs; run += step) {  // once even for no columns: the result still has to start
    const index_t end = run + step < runs ? run + step : runs;
    slice(KRange{k, run, end}, run * k.width * panel_width, run == 0, end == runs);
  }
}

// A row of H floats as runs of k: short enough to slice.
inline Columns contiguous(index_t width) {
  constexpr index_t run = 128;
  return {0, width / run, run, run, width / run * run, width % run};
}

inline index_t columns_count(const Columns& c) { return c.runs * c.width + c.tail_width; }

constexpr int max_vectors = 4;  // of a panel

inline void product(const Product& p) {
  const index_t k_count = columns_count(p.k);
  for (index_t run = p.run_begin; run < p.run_end; ++run) {
    const bool tail = run == p.n.runs;
    const index_t width = tail ? p.n.tail_width : p.n.width;
    const index_t column = tail ? p.n.tail_first : p.n.first + run * p.n.stride;
    const Real* panel = p.b + run * p.n.width * k_count;
    const Real* bias = p.bias != nullptr ? p.bias + run * p.n.width : nullptr;
    dispatch_vectors<max_vectors>(ceil_div(width, V::lanes), [&](auto nv) {
      constexpr int NV = nv;
      for_each_slice(p.k, NV * V::lanes, [&](const KRange& k, index_t offset, bool first, bool) {
        const RowTable<Real> c{p.c};
        const auto start = [&](V(&acc)[NV], index_t row) RNNEXT_LAMBDA {
          if (p.accumulate || !first) {
            load_vectors<NV>(acc, c[row] + column, width);
          } else {
            unroll<NV>([&](auto j) RNNEXT_LAMBDA {
              RNNEXT_PREFETCH(c[row] + column + j * V::lanes);  // in no cache, if these rows belong to a tape
              acc[j] = bias != nullptr ? V::load(bias + j * V::lanes) : V::set1(0);
            });
          }
        };
        const RowByRow finish{[&](const V(&acc)[NV], index_t row)
                                  RNNEXT_LAMBDA { store_vectors<NV>(acc, c[row] + column, width); }};
        panel_product<NV>(p.rows, RowTable<const Real>{p.a}, k, panel + offset, start, finish);
      });
    });
  }
}

template <int MR, int NV>
RNNEXT_INLINE void outer_tile(const OuterProduct& p, index_t m) {
  constexpr index_t c_width = NV * V::lanes;
  V acc[MR][NV];
  unroll<MR>([&](auto r) RNNEXT_LAMBDA {
    unroll<NV>([&](auto j) RNNEXT_LAMBDA { acc[r][j] = V::load(p.c + (m + r) * c_width + j * V::lanes); });
  });
  // The next tile's sums are in no near cache, and a tile takes long enough for them to arrive.
  unroll<ceil_div(MR * c_width, cache_line)>(
      [&](auto line) RNNEXT_LAMBDA { RNNEXT_PREFETCH(p.c + (m + MR) * c_width + line * cache_line); });
  const Real* a = p.a + (m - p.m_begin);
  const Real* d = p.d;
  const index_t a_stride = p.a_stride;
  const index_t d_stride = p.d_stride;
  repeat<MR, NV>(p.k, [&]() RNNEXT_LAMBDA {
    if constexpr (MR <= NV) {
      V left[MR];
      unroll<MR>([&](auto r) RNNEXT_LAMBDA { left[r] = V::set1(a[r]); });
      unroll<NV>([&](auto j) RNNEXT_LAMBDA {
        const V right = V::load(d + j * V::lanes);
        unroll<MR>([&](auto r) RNNEXT_LAMBDA { acc[r][j] = fma(left[r], right, acc[r][j]); });
      });
    } else {
      V right[NV];
      unroll<NV>([&](auto j) RNNEXT_LAMBDA { right[j] = V::load(d + j * V::lanes); });
      unroll<MR>([&](auto r) RNNEXT_LAMBDA {
        const V left = V::set1(a[r]);
        unroll<NV>([&](auto j) RNNEXT_LAMBDA { acc[r][j] = fma(left, right[j], acc[r][j]); });
      });
    }
    a += a_stride;
    d += d_stride;
  });
  unroll<MR>([&](auto r) RNNEXT_LAMBDA {
    unroll<NV>([&](auto j) RNNEXT_LAMBDA { acc[r][j].store(p.c + (m + r) * c_width + j * V::lanes); });
  });
}

inline void outer_product(const OuterProduct& p) {
  dispatch_vectors<max_vectors>(ceil_div(p.width, V::lanes), [&](auto nv) {
    constexpr int NV = nv;
    for_each_tile<NV>(p.m_end - p.m_begin, [&](auto mr, index_t row) {
      constexpr int MR = mr;
      outer_tile<MR, NV>(p, p.m_begin + row);
    });
  });
}

inline void column_sums(const ColumnSums& p) {
  for (index_t j = 0; j < p.width; j += V::lanes) {
    V sum = V::load(p.sums + j);
    for (index_t k = 0; k < p.k; ++k) sum = sum + V::load(p.d + k * p.d_stride + j);
    sum.store(p.sums + j);
  }
}

inline void row_sums(const RowSums& p) {
  constexpr index_t ahead = 6;  // rows of sums are scattered, and take long to arrive
  for (index_t k = 0; k < p.k; ++k) {
    const Real* from = p.d + k * p.stride;
    if (k + ahead < p.k) {
      const index_t next = p.index[k + ahead];
      for (index_t j = 0; j < p.width; j += cache_line) RNNEXT_PREFETCH(p.sums + (next < 0 ? ~next : next) * p.stride + j);
    }
    if (const index_t row = p.index[k]; row < 0) {
      Real* to = p.sums + ~row * p.stride;
      for (index_t j = 0; j < p.width; j += V::lanes) V::load(from + j).store(to + j);
    } else {
      Real* to = p.sums + row * p.stride;
      for (index_t j = 0; j < p.width; j += V::lanes) (V::load(to + j) + V::load(from + j)).store(to + j);
    }
  }
}
