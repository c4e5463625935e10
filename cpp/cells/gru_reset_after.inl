// GRU with the reset gate applied after the recurrent product (docs/equations.md): Keras's default, PyTorch's only form.
// Slots of a record: n, r, z, q, where q = U_n h + b; the input's product covers n r z and the recurrent one r z q.

struct GruResetAfter {
  static constexpr int slots = 4;

  // r = σ(·)  z = σ(·); leaves the pre-activation of n, x_n + r ⊙ q, in pre[0] and z in pre[1].
  template <class Access>
  static RNNEXT_INLINE void unit_forward_gates(const Access& at, V (&pre)[3], V x_n, Real* gates, bool gates_wanted) {
    const V r = sigmoid(pre[0]);
    const V z = sigmoid(pre[1]);
    const V q = pre[2];
    if (gates_wanted) {
      at.store(gates + at.slot, r);
      at.store(gates + 2 * at.slot, z);
      at.store(gates + 3 * at.slot, q);
    }
    pre[0] = fma(r, q, x_n);
    pre[1] = z;
  }

  // n = tanh(x_n + r ⊙ q)   h = z ⊙ h_prev + (1 - z) ⊙ n
  template <class Access>
  static RNNEXT_INLINE void unit_forward_state(const Access& at, const V (&pre)[3], const Real* h_prev, Real* gates,
                                               bool gates_wanted, Real* h) {
    const V n = tanh(pre[0]);
    if (gates_wanted) at.store(gates, n);
    at.store(h, fma(pre[1], at.load(h_prev) - n, n));
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
          // Every row's r before any row's n, so that rows do not wait behind a chain of two activations.
          [&]<int MR>(V(&pre)[MR][3], index_t row, const auto& at, index_t unit) RNNEXT_LAMBDA {
            unroll<MR>([&](auto i) RNNEXT_LAMBDA {
              const index_t r = row + i;
              expect_gates<slots>(s, at, s.gates + r * s.gates_stride + unit * slots);
              unit_forward_gates(at, pre[i], input_part(s, at, r, unit * slots, 0), s.gates + r * s.gates_stride + unit * slots,
                                 s.gates_wanted);
            });
            unroll<MR>([&](auto i) RNNEXT_LAMBDA {
              const index_t r = row + i;
              unit_forward_state(at, pre[i], s.h_prev + r * s.state_stride + unit, s.gates + r * s.gates_stride + unit * slots,
                                 s.gates_wanted, s.h + r * s.state_stride + unit);
            });
          });
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
