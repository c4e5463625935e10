// LSTM (docs/equations.md). Slots of a record: i, f, g, o. c and h are kept beside it; tanh(c) is recomputed.

struct Lstm {
  static constexpr int slots = 4;

  // i = σ(·)  f = σ(·)  g = tanh(·)  o = σ(·)   c = f ⊙ c_prev + i ⊙ g   h = o ⊙ tanh(c)
  template <int MR, class Access>
  static RNNEXT_INLINE void unit_forward(const CellStep& s, const Access& at, const V (&pre)[MR][4], index_t row,
                                         index_t unit) {
    const index_t state = row * s.state_stride + unit;
    const auto gate = [&](int slot) RNNEXT_LAMBDA {
      return StridedRows<Real>{s.gates + row * s.gates_stride + unit * slots + slot * at.slot, s.gates_stride};
    };
    unroll<MR>([&](auto r) RNNEXT_LAMBDA { expect_gates<slots>(s, at, gate(0)[r]); });
    const auto i = sigmoid(column(pre, 0));
    const auto f = sigmoid(column(pre, 1));
    const auto g = tanh(column(pre, 2));
    const auto c = fma(f, load_rows<MR>(at, StridedRows<const Real>{s.c_prev + state, s.state_stride}), i * g);
    store_rows(at, c, {s.c + state, s.state_stride});
    if (s.gates_wanted) {
      store_rows(at, i, gate(0));
      store_rows(at, f, gate(1));
      store_rows(at, g, gate(2));
    }
    const auto o = sigmoid(column(pre, 3));
    if (s.gates_wanted) store_rows(at, o, gate(3));
    store_rows(at, o * tanh(c), {s.h + state, s.state_stride});
  }

  // do = dh ⊙ tanh(c)               dc += dh ⊙ o ⊙ (1 - tanh²(c))
  // di = dc ⊙ g   df = dc ⊙ c_prev   dg = dc ⊙ i   dc_prev = dc ⊙ f
  // and each times its activation's derivative: s(1 - s) for σ, 1 - g² for tanh.
  template <class Access>
  static RNNEXT_INLINE void unit_backward(const Access& at, V dh, const Real* gates, const Real* c_prev, const Real* c,
                                          Real* dc, Real* d) {
    const V one = V::set1(1);
    const V i = at.load(gates);
    const V f = at.load(gates + at.slot);
    const V g = at.load(gates + 2 * at.slot);
    const V o = at.load(gates + 3 * at.slot);
    const V tc = tanh(at.load(c));
    const V dcell = fma(dh * o, one - tc * tc, at.load(dc));
    at.store(d, dcell * g * i * (one - i));
    at.store(d + at.slot, dcell * at.load(c_prev) * f * (one - f));
    at.store(d + 2 * at.slot, dcell * i * (one - g * g));
    at.store(d + 3 * at.slot, dh * tc * o * (one - o));
    at.store(dc, dcell * f);
  }

  static void forward(const CellStep& s) {
    for_each_panel<panels_of_a_row>(s, [&](const auto& panels, index_t first) {
      const StridedRows<const Real> left{s.left, s.state_stride};
      gate_product<4>(
          s, panels, first, left, s.weights[0], 0, slots,
          [&](int slot, const auto& access, index_t r, index_t unit)
              RNNEXT_LAMBDA { return input_part(s, access, r, unit * slots, slot); },
          [&](const auto& pre, index_t row, const auto& at, index_t unit)
              RNNEXT_LAMBDA { unit_forward(s, at, pre, row, unit); });
    });
  }

  static void backward_gates(const CellStep& s) {
    for_each_row(s, [&](const auto& at, index_t r, index_t unit) RNNEXT_LAMBDA {
      RNNEXT_PREFETCH_L2(s.left + r * s.state_stride + unit);  // soon to be multiplied with d
      unit_backward(at, upstream(s, at, r, unit), s.gates + r * s.gates_stride + unit * slots,
                    s.c_prev + r * s.state_stride + unit, s.c + r * s.state_stride + unit, s.dc + r * s.state_stride + unit,
                    s.d + unit / V::lanes * s.d_panel + r * s.d_stride);
    });
  }

  static void backward_hidden(const CellStep& s) {
    hidden_product(s, 0, 4, s.weights_t[0], {s.dh, s.state_stride}, false, s.mask);
  }

  static constexpr CellKernels kernels{1, {forward, nullptr}, 2, {backward_gates, backward_hidden, nullptr}};
};
