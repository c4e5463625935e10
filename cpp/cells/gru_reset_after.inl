// GRU with the reset gate applied after the recurrent product (docs/equations.md): Keras's default, PyTorch's only form.
// Slots of a record: n, r, z, q, where q = U_n h + b; the input's product covers n r z and the recurrent one r z q.

struct GruResetAfter {
  static constexpr int slots = 4;

  // r = σ(·)  z = σ(·)  n = tanh(x_n + r ⊙ q)   h = z ⊙ h_prev + (1 - z) ⊙ n
  template <int MR, class Access>
  static RNNEXT_INLINE void unit_forward(const V (&pre)[MR][3], const TilePanel<MR, slots, Access>& tile) {
    const CellStep& s = tile.s;
    tile.expect_gates();
    const auto r = sigmoid(column(pre, 0));
    const auto z = sigmoid(column(pre, 1));
    const auto q = column(pre, 2);
    const auto n = tanh(fma(r, q, tile.input(0)));
    if (s.gates_wanted) {
      tile.store_gate(0, n);
      tile.store_gate(1, r);
      tile.store_gate(2, z);
      tile.store_gate(3, q);
    }
    tile.store(s.h, fma(z, tile.load(s.h_prev) - n, n));
  }

  // dn = dh ⊙ (1 - z) ⊙ (1 - n²)    dr = dn ⊙ q ⊙ r(1 - r)    dz = dh ⊙ (h_prev - n) ⊙ z(1 - z)    dq = dn ⊙ r
  // dh_prev = dh ⊙ z + [dr dz dq] · Uᵀ; the first term is left in dh for the product to add to.
  template <class Access>
  static RNNEXT_INLINE void unit_backward(const Access& at, V dh, const Real* gates, const Real* h_prev, Real* dh_prev,
                                          Real* d) {
    const V one = V::set1(1);
    const V n = at.load(gates);
    const V r = at.load(gates + at.slot);
    const V z = at.load(gates + 2 * at.slot);
    const V q = at.load(gates + 3 * at.slot);
    const V dn = dh * (one - z) * (one - n * n);
    at.store(d, dn);
    at.store(d + at.slot, dn * q * r * (one - r));
    at.store(d + 2 * at.slot, dh * (at.load(h_prev) - n) * z * (one - z));
    at.store(d + 3 * at.slot, dn * r);
    at.store(dh_prev, dh * z);
  }

  static void forward(const CellStep& s) {
    for_each_panel<panels_of_a_row>(s, [&](const auto& panels, index_t first) {
      const StridedRows<const Real> left{s.left, s.state_stride};
      gate_product<3>(
          s, panels, first, left, s.weights[0], 1, slots,
          [&](int slot, const auto& access, index_t r, index_t unit) RNNEXT_LAMBDA {
            if (slot == 2) return access.load(s.bias + unit);
            return input_part(s, access, r, unit * slots, slot + 1);
          },
          [&]<int MR, class Access>(const V(&pre)[MR][3], index_t row, const Access& at, index_t unit)
              RNNEXT_LAMBDA { unit_forward(pre, TilePanel<MR, slots, Access>{s, at, row, unit}); });
    });
  }

  static void backward_gates(const CellStep& s) {
    for_each_row(s, [&](const auto& at, index_t r, index_t unit) RNNEXT_LAMBDA {
      unit_backward(at, upstream(s, at, r, unit), s.gates + r * s.gates_stride + unit * slots,
                    s.h_prev + r * s.state_stride + unit, s.dh + r * s.state_stride + unit,
                    s.d + unit / V::lanes * s.d_panel + r * s.d_stride);
    });
  }

  static void backward_hidden(const CellStep& s) {
    hidden_product(s, 1, 3, s.weights_t[0], {s.dh, s.state_stride}, true, s.mask);
  }

  static constexpr CellKernels kernels{1, {forward, nullptr}, 2, {backward_gates, backward_hidden, nullptr}};
};
