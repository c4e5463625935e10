// GRU with the reset gate applied before the recurrent product (docs/equations.md): the textbook's form.
// Slots of a record: n, z, r. Two products a step, z and r from h_prev, then n from r ⊙ h_prev.

struct GruResetBefore {
  static constexpr int slots = 3;

  // z = σ(·)  r = σ(·)  rh = r ⊙ h_prev
  template <class Access>
  static RNNEXT_INLINE void unit_forward_gates(const Access& at, const V (&pre)[2], const Real* left, Real* gates, Real* rh) {
    const V z = sigmoid(pre[0]);
    const V r = sigmoid(pre[1]);
    at.store(gates + at.slot, z);
    at.store(gates + 2 * at.slot, r);
    at.store(rh, r * at.load(left));
  }

  // n = tanh(x_n + U_n rh)   h = z ⊙ h_prev + (1 - z) ⊙ n
  template <class Access>
  static RNNEXT_INLINE void unit_forward_state(const Access& at, const V (&pre)[1], const Real* h_prev, Real* gates, Real* h) {
    const V n = tanh(pre[0]);
    const V z = at.load(gates + at.slot);
    at.store(gates, n);
    at.store(h, fma(z, at.load(h_prev) - n, n));
  }

  // dn = dh ⊙ (1 - z) ⊙ (1 - n²)   dz = dh ⊙ (h_prev - n) ⊙ z(1 - z)   dh_prev = dh ⊙ z + …
  template <class Access>
  static RNNEXT_INLINE void unit_backward_state(const Access& at, V dh, const Real* gates, const Real* h_prev, Real* dh_prev,
                                                Real* d) {
    const V one = V::set1(1);
    const V n = at.load(gates);
    const V z = at.load(gates + at.slot);
    at.store(d, dh * (one - z) * (one - n * n));
    at.store(d + at.slot, dh * (at.load(h_prev) - n) * z * (one - z));
    at.store(dh_prev, dh * z);
  }

  // drh = dn · U_nᵀ   dr = drh ⊙ h_prev ⊙ r(1 - r)   dh_prev += drh ⊙ r, and + [dz dr] · Uᵀ to come
  template <class Access>
  static RNNEXT_INLINE void unit_backward_reset(const Access& at, const Real* gates, const Real* left, const Real* mask,
                                                const Real* drh, Real* dh_prev, Real* d) {
    const V r = at.load(gates + 2 * at.slot);
    const V upstream_rh = at.load(drh);
    at.store(d + 2 * at.slot, upstream_rh * at.load(left) * r * (V::set1(1) - r));
    at.store(dh_prev, fma(upstream_rh, mask != nullptr ? r * at.load(mask) : r, at.load(dh_prev)));
  }

  static void forward_gates(const CellStep& s) {
    for_each_panel<panels_of_a_row>(s, [&](const auto& panels, index_t first) {
      const StridedRows<const Real> left{s.left, s.state_stride};
      gate_product<2>(
          s, panels, first, left, s.weights[0], 1, slots,
          [&](int slot, const auto& access, index_t r, index_t unit)
              RNNEXT_LAMBDA { return input_part(s, access, r, unit * slots, slot + 1); },
          RowByRow{[&](const V(&pre)[2], index_t r, const auto& at, index_t unit) RNNEXT_LAMBDA {
            expect_gates<slots>(s, at, s.gates + r * s.gates_stride + unit * slots);
            unit_forward_gates(at, pre, left[r] + unit, s.gates + r * s.gates_stride + unit * slots,
                               s.rh + r * s.state_stride + unit);
          }});
    });
  }

  static void forward_state(const CellStep& s) {
    for_each_panel<panels_of_a_row>(s, [&](const auto& panels, index_t first) {
      const StridedRows<const Real> rh{s.rh, s.state_stride};
      gate_product<1>(
          s, panels, first, rh, s.weights[1], 0, slots,
          [&](int, const auto& access, index_t r, index_t unit)
              RNNEXT_LAMBDA { return input_part(s, access, r, unit * slots, 0); },
          RowByRow{[&](const V(&pre)[1], index_t r, const auto& at, index_t unit) RNNEXT_LAMBDA {
            unit_forward_state(at, pre, s.h_prev + r * s.state_stride + unit, s.gates + r * s.gates_stride + unit * slots,
                               s.h + r * s.state_stride + unit);
          }});
    });
  }

  static void backward_state(const CellStep& s) {
    for_each_row(s, [&](const auto& at, index_t r, index_t unit) RNNEXT_LAMBDA {
      unit_backward_state(at, upstream(s, at, r, unit), s.gates + r * s.gates_stride + unit * slots,
                          s.h_prev + r * s.state_stride + unit, s.dh + r * s.state_stride + unit,
                          s.d + unit / V::lanes * s.d_panel + r * s.d_stride);
    });
  }

  static void backward_reset(const CellStep& s) {
    hidden_product(s, 0, 1, s.weights_t[1], {s.drh, s.state_stride}, false, nullptr);
    for_each_row(s, [&](const auto& at, index_t r, index_t unit) RNNEXT_LAMBDA {
      unit_backward_reset(at, s.gates + r * s.gates_stride + unit * slots, s.left + r * s.state_stride + unit,
                          s.mask != nullptr ? s.mask + r * s.state_stride + unit : nullptr, s.drh + r * s.state_stride + unit,
                          s.dh + r * s.state_stride + unit, s.d + unit / V::lanes * s.d_panel + r * s.d_stride);
    });
  }

  static void backward_hidden(const CellStep& s) {
    hidden_product(s, 1, 2, s.weights_t[0], {s.dh, s.state_stride}, true, s.mask);
  }

  static constexpr CellKernels kernels{2, {forward_gates, forward_state}, 3, {backward_state, backward_reset, backward_hidden}};
};
