// What all cells share: walking the unit panels of a step. Knows records and panels; knows no equation.

// How many panels of a lone row are multiplied side by side.
constexpr int panels_of_a_row = 2;

// f(i) for i in [begin, end), in the step's direction.
template <class F>
RNNEXT_INLINE void in_turn(const CellStep& s, index_t begin, index_t end, F&& f) {
  for (index_t i = begin; i < end; ++i) f(s.descending ? begin + end - 1 - i : i);
}

// panel(access, first unit) for each of the step's panels. If there is only one row, it is called for up to MOST whole panels
// side by side, the last time together with the narrower panel behind them, since a lone panel has too few independent chains.
template <int MOST = 1, class F>
RNNEXT_INLINE void for_each_panel(const CellStep& s, F&& panel) {
  const index_t full = s.units / V::lanes;
  const index_t whole = (s.panel_end < full ? s.panel_end : full) - s.panel_begin;
  const index_t groups = MOST > 1 && s.rows == 1 && whole > 0 ? whole / MOST : 0;
  const index_t singles = groups > 0 ? whole - groups * MOST : s.panel_end - s.panel_begin;  // before the groups
  const bool tailed = groups > 0 && s.panel_end > full;
  const TailPanel tail{s.units % V::lanes};
  in_turn(s, 0, singles + groups, [&](index_t i) {
    if constexpr (MOST > 1) {
      if (i >= singles) {
        const index_t unit = (s.panel_begin + singles + (i - singles) * MOST) * V::lanes;
        if (tailed && i + 1 == singles + groups) return panel(FullPanelsAndTail<MOST>{{}, tail}, unit);
        return panel(FullPanels<MOST>{}, unit);
      }
    }
    const index_t p = s.panel_begin + i;
    if (p < full) {
      panel(FullPanel{}, p * V::lanes);
    } else {
      panel(tail, full * V::lanes);
    }
  });
}

// panel(access, first unit) for the step's panels from the first to the last: for sums over a row, which must not depend on the
// step's direction.
template <class F>
RNNEXT_INLINE void for_each_panel_upwards(const CellStep& s, F&& panel) {
  const index_t full = s.units / V::lanes;
  const index_t whole = s.panel_end < full ? s.panel_end : full;
  for (index_t p = s.panel_begin; p < whole; ++p) panel(FullPanel{}, p * V::lanes);
  if (s.panel_begin <= full && full < s.panel_end) panel(TailPanel{s.units % V::lanes}, full * V::lanes);
}

// unit(access, row, first unit) for all panels of one row, then the next: a row's record is read from one end to the other.
template <class F>
RNNEXT_INLINE void for_each_row(const CellStep& s, F&& unit) {
  for (index_t r = 0; r < s.rows; ++r) {
    for_each_panel_upwards(s, [&](const auto& at, index_t first) RNNEXT_LAMBDA { unit(at, r, first); });
  }
}

// The input's part of a gate. The records of a table are scattered, so the next step's are prefetched while this one
// multiplies.
template <class Access>
RNNEXT_INLINE V input_part(const CellStep& s, const Access& at, index_t row, index_t record, int slot) {
  const index_t offset = record + slot * at.slot;
  if (slot * V::lanes % cache_line == 0 && row < s.ahead_rows) RNNEXT_PREFETCH(s.ahead[row] + offset);
  return at.load(s.input[row] + offset);
}

// With a tape the next step's gates are written to memory that is in no cache, so those lines are prefetched, too. (Not inlined
// this would look like a function without effect, and its calls would be left out.)
template <int SLOTS, class Access>
RNNEXT_INLINE void expect_gates(const CellStep& s, const Access&, const Real* gates) {
  if (!Access::whole || s.gates_ahead == 0) return;
  unroll<ceil_div(SLOTS * V::lanes, cache_line)>(
      [&](auto line) RNNEXT_LAMBDA { RNNEXT_PREFETCH(gates + s.gates_ahead + line * cache_line); });
}

// One vector of each of a tile's rows.
template <int MR, class Access, class T>
RNNEXT_INLINE InStep<MR> load_rows(const Access& at, const StridedRows<T>& from) {
  return in_step<MR>([&](auto i) RNNEXT_LAMBDA { return at.load(from[i]); });
}
template <int MR, class Access>
RNNEXT_INLINE void store_rows(const Access& at, const InStep<MR>& v, const StridedRows<Real>& to) {
  unroll<MR>([&](auto i) RNNEXT_LAMBDA { at.store(to[i], v.of[i]); });
}

// Column j of a tile.
template <int MR, int NV>
RNNEXT_INLINE InStep<MR> column(const V (&tile)[MR][NV], int j) {
  return in_step<MR>([&](auto i) RNNEXT_LAMBDA { return tile[i][j]; });
}

// c = A · panel for a panel of `vectors` vectors; rows of c have room for whole ones.
inline void narrow_product(index_t rows, StridedRows<const Real> a, const Columns& k, const Real* panel, index_t vectors,
                           StridedRows<Real> c) {
  dispatch_vectors<max_vectors>(vectors, [&](auto nv) {
    constexpr int NV = nv;
    panel_product<NV>(
        rows, a, KRange{k, 0, k.runs + (k.tail_width > 0 ? 1 : 0)}, panel,
        [&](V(&acc)[NV], index_t) RNNEXT_LAMBDA { unroll<NV>([&](auto j) RNNEXT_LAMBDA { acc[j] = V::set1(0); }); },
        RowByRow{[&](const V(&acc)[NV], index_t row)
                     RNNEXT_LAMBDA { unroll<NV>([&](auto j) RNNEXT_LAMBDA { acc[j].store(c[row] + j * V::lanes); }); }},
        panel);  // often the last one, with nothing behind it
  });
}

// The recurrent product of SLOTS gates for a panel, or for some side by side, then finish(tile of gates, first row, access,
// unit) with the gates' pre-activations still in registers. `start(slot, access, row, unit)` gives each gate's initial value.
template <int SLOTS, class Access, class Start, class Finish>
RNNEXT_INLINE void gate_product(const CellStep& s, const Access& at, index_t unit, const StridedRows<const Real>& left,
                                const Real* weights, index_t slot_in_record, index_t record_slots, Start start, Finish finish) {
  const index_t depth = s.from_zero ? 0 : s.outputs;
  const Columns k = contiguous(depth);
  const Real* panel = weights + unit * SLOTS * s.outputs;
  Real* record = s.gates + unit * record_slots + slot_in_record * at.slot;
  const StridedRows<Real> partial{record, s.gates_stride};
  if constexpr (Access::panels > 1) {
    V acc[Access::panels][SLOTS];
    unroll<Access::panels>([&](auto p) RNNEXT_LAMBDA {
      unroll<SLOTS>([&](auto j) RNNEXT_LAMBDA { acc[p][j] = start(j, at, 0, unit + p * V::lanes); });
    });
    const auto finish_whole = [&]() RNNEXT_LAMBDA {
      unroll<Access::panels>([&](auto p) RNNEXT_LAMBDA {
        V gates[1][SLOTS];
        unroll<SLOTS>([&](auto j) RNNEXT_LAMBDA { gates[0][j] = acc[p][j]; });
        finish(gates, 0, FullPanel{}, unit + p * V::lanes);
      });
    };
    if constexpr (Access::tailed) {
      const index_t last = unit + Access::panels * V::lanes;
      const Real* narrow = weights + last * SLOTS * s.outputs;
      dispatch_vectors<SLOTS>(ceil_div(SLOTS * at.tail.slot, V::lanes), [&](auto nv) RNNEXT_LAMBDA {
        constexpr int NV = nv;
        V rest[NV];
        unroll<NV>([&](auto j) RNNEXT_LAMBDA { rest[j] = V::set1(0); });
        multiply_row(acc, left[0], depth, panel, [&](index_t k, V a) RNNEXT_LAMBDA {
          unroll<NV>([&](auto j) RNNEXT_LAMBDA { rest[j] = fma(a, V::load(narrow + (k * NV + j) * V::lanes), rest[j]); });
        });
        Real packed[NV * V::lanes];
        unroll<NV>([&](auto j) RNNEXT_LAMBDA { rest[j].store(packed + j * V::lanes); });
        finish_whole();
        V gates[1][SLOTS];
        unroll<SLOTS>(
            [&](auto j) RNNEXT_LAMBDA { gates[0][j] = start(j, at.tail, 0, last) + at.tail.load(packed + j * at.tail.slot); });
        finish(gates, 0, at.tail, last);
      });
    } else {
      multiply_row(acc, left[0], depth, panel, [](index_t, V) RNNEXT_LAMBDA {});
      finish_whole();
    }
  } else if constexpr (Access::whole) {
    for_each_slice(k, SLOTS * V::lanes, [&](const KRange& range, index_t offset, bool first, bool last) {
      const Real* next = last && s.descending ? panel - SLOTS * V::lanes * s.outputs : nullptr;
      const auto begin = [&](V(&acc)[SLOTS], index_t row) RNNEXT_LAMBDA {
        if (first) {
          unroll<SLOTS>([&](auto j) RNNEXT_LAMBDA { acc[j] = start(j, at, row, unit); });
        } else {
          unroll<SLOTS>([&](auto j) RNNEXT_LAMBDA { acc[j] = V::load(partial[row] + j * V::lanes); });
        }
      };
      const RowByRow keep{[&](const V(&acc)[SLOTS], index_t row) RNNEXT_LAMBDA {
        unroll<SLOTS>([&](auto j) RNNEXT_LAMBDA { acc[j].store(partial[row] + j * V::lanes); });
      }};
      panel_product<SLOTS>(
          s.rows, left, range, panel + offset, begin,
          [&](auto& tile, index_t row) RNNEXT_LAMBDA {
            if (last) {
              finish(tile, row, at, unit);
            } else {
              keep(tile, row);
            }
          },
          next);
    });
  } else {
    // The narrow panel's gates are packed without gaps: multiplied as plain columns, then taken apart.
    constexpr index_t chunk = 24;
    constexpr index_t stride = (SLOTS + 1) * V::lanes;
    Real packed[chunk * stride];
    for (index_t first = 0; first < s.rows; first += chunk) {
      const index_t count = s.rows - first < chunk ? s.rows - first : chunk;
      narrow_product(count, {left[first], left.stride}, k, panel, ceil_div(SLOTS * at.slot, V::lanes), {packed, stride});
      for (index_t row = 0; row < count; ++row) {
        V gates[1][SLOTS];
        unroll<SLOTS>([&](auto j) RNNEXT_LAMBDA {
          gates[0][j] = start(j, at, first + row, unit) + at.load(packed + row * stride + j * at.slot);
        });
        finish(gates, first + row, at, unit);
      }
    }
  }
}

// acc = mask ⊙ acc + what is there already.
template <int NV>
RNNEXT_RARE void apply_mask(V (&acc)[NV], const Real* mask, const Real* there, index_t width) {
  V scale[NV], sum[NV];
  load_vectors<NV>(scale, mask, width);
  unroll<NV>([&](auto j) RNNEXT_LAMBDA { sum[j] = V::set1(0); });
  if (there != nullptr) load_vectors<NV>(sum, there, width);
  unroll<NV>([&](auto j) RNNEXT_LAMBDA { acc[j] = fma(scale[j], acc[j], sum[j]); });
}

// c (=|+=) D[slots] · W^T for this thread's runs of units, times the mask that the product's operand had, if it had one.
inline void hidden_product(const CellStep& s, index_t first_slot, index_t slots, const Real* weights_t, StridedRows<Real> c,
                           bool accumulate, const Real* mask) {
  const index_t full = s.units / V::lanes;
  const index_t tail = s.units % V::lanes;
  Columns k{first_slot * V::lanes, full, slots * V::lanes, s.d_panel, full * s.d_panel + first_slot * tail, slots * tail};
  if (s.from_zero) k.runs = k.tail_width = 0;
  const index_t k_count = slots * s.units;
  in_turn(s, s.flat_begin, s.flat_end, [&](index_t r) {
    const index_t run = s.flat_runs[r];
    const index_t width = s.flat_runs[r + 1] - run;
    dispatch_vectors<V::flat_vectors>(ceil_div(width, V::lanes), [&](auto nv) {
      constexpr int NV = nv;
      for_each_slice(k, NV * V::lanes, [&](const KRange& range, index_t offset, bool first, bool last) {
        const bool added = accumulate || !first;
        const Real* b = weights_t + run * k_count;
        const Real* next = last && s.descending && r > 0 ? weights_t + s.flat_runs[r - 1] * k_count : nullptr;
        panel_product<NV>(
            s.rows, StridedRows<const Real>{s.d, s.d_stride}, range, b + offset,
            [&](V(&acc)[NV], index_t row) RNNEXT_LAMBDA {
              if (added && mask == nullptr) {
                load_vectors<NV>(acc, c[row] + run, width);
              } else {
                unroll<NV>([&](auto j) RNNEXT_LAMBDA { acc[j] = V::set1(0); });
              }
            },
            RowByRow{[&](V(&acc)[NV], index_t row) RNNEXT_LAMBDA {
              if (mask != nullptr)
                apply_mask<NV>(acc, mask + row * s.state_stride + run, added ? c[row] + run : nullptr, width);
              store_vectors<NV>(acc, c[row] + run, width);
            }},
            next);
      });
    });
  });
}

// dh of this step: what the next step handed back, plus the caller's gradient of this output.
template <class Access>
RNNEXT_INLINE V upstream(const CellStep& s, const Access& at, index_t row, index_t unit) {
  const V dh = at.load(s.dh + row * s.state_stride + unit);
  return s.dy != nullptr ? dh + at.load(s.dy[row] + unit) : dh;
}
