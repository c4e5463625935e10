// GRU with clipping and (NORM) layer normalisation, in both forms (docs/equations.md, "Options"). Slots of a record: the plain
// cell's; with normalisation first the input's products, then the recurrent ones, then the plain cell's.

template <bool NORM>
struct GruResetAfterTerms {
  static constexpr int slots = NORM ? 10 : 4;
  static constexpr int recurrent = NORM ? 3 : 1;  // of r z q
  static constexpr int gates = NORM ? 6 : 0;      // n r z q

  static Normal input_normal(const CellStep& s, const Real* record) { return normal(s, {record, 0, 3, slots}); }
  static Normal recurrent_normal(const CellStep& s, const Real* record) { return normal(s, {record, recurrent, 3, slots}); }

  static void gates_forward(const CellStep& s, const Clip& clip, index_t row) {
    const Terms<Real>& t = *s.terms;
    Real* record = s.gates + row * s.gates_stride;
    [[maybe_unused]] Normal x, h;
    if constexpr (NORM) {
      x = input_normal(s, record);
      h = recurrent_normal(s, record);
    }
    for_each_panel(s, [&](const auto& at, index_t unit) {
      Real* own = record + unit * slots;
      V a[4];  // x_n, a_r, a_z, q
      if constexpr (NORM) {
        unroll<4>([&](auto j) RNNEXT_LAMBDA {
          a[j] = at.load(t.bias + j * s.units + unit);
          if constexpr (j < 3) a[j] = fma(x.value(at, unit, j), at.load(t.kernel_norm + j * s.units + unit), a[j]);
          if constexpr (j > 0) a[j] = fma(h.value(at, unit, j - 1), at.load(t.recurrent_norm + (j - 1) * s.units + unit), a[j]);
        });
      } else {
        unroll<4>([&](auto j) RNNEXT_LAMBDA { a[j] = at.load(own + j * at.slot); });
      }
      const V r = sigmoid(clip(a[1]));
      const V z = sigmoid(clip(a[2]));
      const V n = tanh(clip(fma(r, a[3], a[0])));
      own += gates * at.slot;
      at.store(own, n);
      at.store(own + at.slot, r);
      at.store(own + 2 * at.slot, z);
      at.store(own + 3 * at.slot, a[3]);
      at.store(s.h + row * s.state_stride + unit, fma(z, at.load(s.h_prev + row * s.state_stride + unit) - n, n));
    });
  }

  static void forward(const CellStep& s) {
    for (index_t r = 0; r < s.rows; ++r) {
      keep_input(s, r, 3, slots);
      if constexpr (NORM) {
        fill_slots(s, r, recurrent, 3, slots, 0);
      } else {
        for_each_panel(s, [&](const auto& at, index_t unit) {
          at.store(s.gates + r * s.gates_stride + unit * slots + 3 * at.slot, at.load(s.bias + unit));
        });
      }
    }
    raw_product<3>(s, {s.left, s.state_stride}, s.weights[0], recurrent, slots);
    const Clip clip(s.terms->clip);
    for (index_t r = 0; r < s.rows; ++r) gates_forward(s, clip, r);
  }

  static void gates_backward(const CellStep& s, const Clip& clip, index_t row, const GradientRow& d) {
    const Real* record = s.gates + row * s.gates_stride;
    for_each_panel(s, [&](const auto& at, index_t unit) {
      const Real* own = record + unit * slots + gates * at.slot;
      const V n = at.load(own);
      const V r = at.load(own + at.slot);
      const V z = at.load(own + 2 * at.slot);
      const V dh = upstream(s, at, row, unit);
      const V dn = dh * (V::set1(1) - z) * clip.tanh_slope(n);
      at.store(d.slot(at, unit, gates), dn);
      at.store(d.slot(at, unit, gates + 1), dn * at.load(own + 3 * at.slot) * clip.sigmoid_slope(r));
      at.store(d.slot(at, unit, gates + 2), dh * (at.load(s.h_prev + row * s.state_stride + unit) - n) * clip.sigmoid_slope(z));
      at.store(d.slot(at, unit, gates + 3), dn * r);
      at.store(s.dh + row * s.state_stride + unit, dh * z);
    });
  }

  static void products_backward(const CellStep& s, index_t row, const GradientRow& d) {
    const Terms<Real>& t = *s.terms;
    const Real* record = s.gates + row * s.gates_stride;
    const Normal x = input_normal(s, record);
    const Normal h = recurrent_normal(s, record);
    for_each_panel(s, [&](const auto& at, index_t unit) {
      for (index_t j = 0; j < 3; ++j) {
        const index_t gate = j * s.units + unit;
        scale_backward(at, at.load(d.slot(at, unit, gates + j)), x.value(at, unit, j), t.kernel_norm + gate,
                       s.dterms.kernel_norm + gate, d.slot(at, unit, j));
        scale_backward(at, at.load(d.slot(at, unit, gates + j + 1)), h.value(at, unit, j), t.recurrent_norm + gate,
                       s.dterms.recurrent_norm + gate, d.slot(at, unit, recurrent + j));
      }
    });
    normal_backward(s, x, d, 0);
    normal_backward(s, h, d, recurrent);
  }

  static void backward_gates(const CellStep& s) {
    const Clip clip(s.terms->clip);
    for (index_t r = 0; r < s.rows; ++r) {
      const GradientRow d = gradient_row(s, r);
      gates_backward(s, clip, r, d);
      if constexpr (NORM) products_backward(s, r, d);
    }
  }

  static void backward_hidden(const CellStep& s) {
    hidden_product(s, recurrent, 3, s.weights_t[0], {s.dh, s.state_stride}, true, s.mask);
  }

  static constexpr CellKernels kernels{1, {forward, nullptr}, 2, {backward_gates, backward_hidden, nullptr}};
};

template <bool NORM>
struct GruResetBeforeTerms {
  static constexpr int slots = NORM ? 9 : 3;
  static constexpr int candidate = NORM ? 3 : 0;  // the product of r ⊙ h_prev
  static constexpr int recurrent = NORM ? 4 : 1;  // of z r
  static constexpr int gates = NORM ? 6 : 0;      // n z r

  static Normal input_normal(const CellStep& s, const Real* record) { return normal(s, {record, 0, 3, slots}); }
  static Normal candidate_normal(const CellStep& s, const Real* record) { return normal(s, {record, candidate, 1, slots}); }
  static Normal recurrent_normal(const CellStep& s, const Real* record) { return normal(s, {record, recurrent, 2, slots}); }

  // Gate j's pre-activation from its two normalised products; `of` is the recurrent one, whose value it is number `of_j` of.
  template <class Access>
  static V normalised(const CellStep& s, const Access& at, index_t unit, index_t j, const Normal& x, const Normal& of,
                      index_t of_j) {
    const index_t gate = j * s.units + unit;
    return fma(x.value(at, unit, j), at.load(s.terms->kernel_norm + gate),
               fma(of.value(at, unit, of_j), at.load(s.terms->recurrent_norm + gate), at.load(s.terms->bias + gate)));
  }

  static void forward_gates(const CellStep& s) {
    for (index_t r = 0; r < s.rows; ++r) {
      keep_input(s, r, 3, slots);
      if constexpr (NORM) fill_slots(s, r, candidate, 3, slots, 0);
    }
    raw_product<2>(s, {s.left, s.state_stride}, s.weights[0], recurrent, slots);
    const Clip clip(s.terms->clip);
    for (index_t row = 0; row < s.rows; ++row) {
      Real* record = s.gates + row * s.gates_stride;
      [[maybe_unused]] Normal x, h;
      if constexpr (NORM) {
        x = input_normal(s, record);
        h = recurrent_normal(s, record);
      }
      for_each_panel(s, [&](const auto& at, index_t unit) {
        Real* own = record + unit * slots;
        V a[2];
        unroll<2>([&](auto j) RNNEXT_LAMBDA {
          if constexpr (NORM) {
            a[j] = normalised(s, at, unit, j + 1, x, h, j);
          } else {
            a[j] = at.load(own + (j + 1) * at.slot);
          }
        });
        const V r = sigmoid(clip(a[1]));
        at.store(own + (gates + 1) * at.slot, sigmoid(clip(a[0])));
        at.store(own + (gates + 2) * at.slot, r);
        at.store(s.rh + row * s.state_stride + unit, r * at.load(s.left + row * s.state_stride + unit));
      });
    }
  }

  static void forward_state(const CellStep& s) {
    raw_product<1>(s, {s.rh, s.state_stride}, s.weights[1], candidate, slots);
    const Clip clip(s.terms->clip);
    for (index_t row = 0; row < s.rows; ++row) {
      Real* record = s.gates + row * s.gates_stride;
      [[maybe_unused]] Normal x, h;
      if constexpr (NORM) {
        x = input_normal(s, record);
        h = candidate_normal(s, record);
      }
      for_each_panel(s, [&](const auto& at, index_t unit) {
        Real* own = record + unit * slots;
        V a;
        if constexpr (NORM) {
          a = normalised(s, at, unit, 0, x, h, 0);
        } else {
          a = at.load(own);
        }
        const V n = tanh(clip(a));
        const V z = at.load(own + (gates + 1) * at.slot);
        at.store(own + gates * at.slot, n);
        at.store(s.h + row * s.state_stride + unit, fma(z, at.load(s.h_prev + row * s.state_stride + unit) - n, n));
      });
    }
  }

  static void backward_state(const CellStep& s) {
    const Clip clip(s.terms->clip);
    for (index_t row = 0; row < s.rows; ++row) {
      const GradientRow d = gradient_row(s, row);
      const Real* record = s.gates + row * s.gates_stride;
      [[maybe_unused]] Normal x, h;
      if constexpr (NORM) {
        x = input_normal(s, record);
        h = candidate_normal(s, record);
      }
      for_each_panel(s, [&](const auto& at, index_t unit) {
        const Real* own = record + unit * slots + gates * at.slot;
        const V n = at.load(own);
        const V z = at.load(own + at.slot);
        const V dh = upstream(s, at, row, unit);
        const V dn = dh * (V::set1(1) - z) * clip.tanh_slope(n);
        at.store(d.slot(at, unit, gates), dn);
        at.store(d.slot(at, unit, gates + 1),
                 dh * (at.load(s.h_prev + row * s.state_stride + unit) - n) * clip.sigmoid_slope(z));
        at.store(s.dh + row * s.state_stride + unit, dh * z);
        if constexpr (NORM) {
          scale_backward(at, dn, x.value(at, unit, 0), s.terms->kernel_norm + unit, s.dterms.kernel_norm + unit,
                         d.slot(at, unit, 0));
          scale_backward(at, dn, h.value(at, unit, 0), s.terms->recurrent_norm + unit, s.dterms.recurrent_norm + unit,
                         d.slot(at, unit, candidate));
        }
      });
      if constexpr (NORM) normal_backward(s, h, d, candidate);
    }
  }

  static void backward_reset(const CellStep& s) {
    hidden_product(s, candidate, 1, s.weights_t[1], {s.drh, s.state_stride}, false, nullptr);
    const Clip clip(s.terms->clip);
    for (index_t row = 0; row < s.rows; ++row) {
      const GradientRow d = gradient_row(s, row);
      const Real* record = s.gates + row * s.gates_stride;
      [[maybe_unused]] Normal x, h;
      if constexpr (NORM) {
        x = input_normal(s, record);
        h = recurrent_normal(s, record);
      }
      for_each_panel(s, [&](const auto& at, index_t unit) {
        const V r = at.load(record + unit * slots + (gates + 2) * at.slot);
        const V drh = at.load(s.drh + row * s.state_stride + unit);
        Real* dh = s.dh + row * s.state_stride + unit;
        at.store(d.slot(at, unit, gates + 2), drh * at.load(s.left + row * s.state_stride + unit) * clip.sigmoid_slope(r));
        at.store(dh, fma(drh, s.mask != nullptr ? r * at.load(s.mask + row * s.state_stride + unit) : r, at.load(dh)));
        if constexpr (NORM) {
          for (index_t j = 1; j < 3; ++j) {
            const V da = at.load(d.slot(at, unit, gates + j));
            const index_t gate = j * s.units + unit;
            scale_backward(at, da, x.value(at, unit, j), s.terms->kernel_norm + gate, s.dterms.kernel_norm + gate,
                           d.slot(at, unit, j));
            scale_backward(at, da, h.value(at, unit, j - 1), s.terms->recurrent_norm + gate, s.dterms.recurrent_norm + gate,
                           d.slot(at, unit, recurrent + j - 1));
          }
        }
      });
      if constexpr (NORM) {
        normal_backward(s, x, d, 0);
        normal_backward(s, h, d, recurrent);
      }
    }
  }

  static void backward_hidden(const CellStep& s) {
    hidden_product(s, recurrent, 2, s.weights_t[0], {s.dh, s.state_stride}, true, s.mask);
  }

  static constexpr CellKernels kernels{2, {forward_gates, forward_state}, 3, {backward_state, backward_reset, backward_hidden}};
};
