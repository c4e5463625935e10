// LSTM with peepholes, coupled gates, clipping, a projection and (NORM) layer normalisation (docs/equations.md, "Options").
// Slots of a record: i f g o; with normalisation first the input's products, then the recurrent ones, then i f g o.

template <bool NORM>
struct LstmTerms {
  static constexpr int slots = NORM ? 12 : 4;
  static constexpr int recurrent = NORM ? 4 : 0;
  static constexpr int gates = NORM ? 8 : 0;

  static Normal input_normal(const CellStep& s, const Real* record) { return normal(s, {record, 0, 4, slots}); }
  static Normal recurrent_normal(const CellStep& s, const Real* record) { return normal(s, {record, recurrent, 4, slots}); }
  static Normal state_normal(const CellStep& s, index_t row) { return normal(s, {s.c + row * s.state_stride, 0, 1, 1}); }

  // a_i += p_i ⊙ c_prev   a_f += p_f ⊙ c_prev   f = 1 - i if coupled   c = f ⊙ c_prev + i ⊙ g   a_o += p_o ⊙ c
  static void state_forward(const CellStep& s, const Clip& clip, index_t row) {
    const Terms<Real>& t = *s.terms;
    Real* record = s.gates + row * s.gates_stride;
    [[maybe_unused]] Normal x, h;
    if constexpr (NORM) {
      x = input_normal(s, record);
      h = recurrent_normal(s, record);
    }
    for_each_panel(s, [&](const auto& at, index_t unit) {
      Real* own = record + unit * slots;
      V a[4];
      unroll<4>([&](auto j) RNNEXT_LAMBDA {
        if constexpr (NORM) {
          const index_t gate = j * s.units + unit;
          a[j] = fma(x.value(at, unit, j), at.load(t.kernel_norm + gate),
                     fma(h.value(at, unit, j), at.load(t.recurrent_norm + gate), at.load(t.bias + gate)));
        } else {
          a[j] = at.load(own + j * at.slot);
        }
      });
      const V c_prev = at.load(s.c_prev + row * s.state_stride + unit);
      if (t.peephole != nullptr) {
        a[0] = fma(at.load(t.peephole + unit), c_prev, a[0]);
        a[1] = fma(at.load(t.peephole + s.units + unit), c_prev, a[1]);
      }
      const V i = sigmoid(clip(a[0]));
      const V f = t.coupled ? V::set1(1) - i : sigmoid(clip(a[1]));
      const V g = tanh(clip(a[2]));
      const V c = fma(f, c_prev, i * g);
      if (t.peephole != nullptr) a[3] = fma(at.load(t.peephole + 2 * s.units + unit), c, a[3]);
      own += gates * at.slot;
      at.store(own, i);
      at.store(own + at.slot, f);
      at.store(own + 2 * at.slot, g);
      at.store(own + 3 * at.slot, sigmoid(clip(a[3])));
      at.store(s.c + row * s.state_stride + unit, c);
    });
  }

  // The argument of the tanh in h = o ⊙ tanh(·): c, or scale ⊙ normalised c + shift.
  template <class Access>
  static V shown(const CellStep& s, const Access& at, index_t unit, const Normal& c) {
    if constexpr (NORM) {
      return fma(c.value(at, unit, 0), at.load(s.terms->state_norm + unit), at.load(s.terms->state_norm + s.units + unit));
    } else {
      return c.group.load(at, unit, 0);
    }
  }
  static Normal shown_state(const CellStep& s, index_t row) {
    if constexpr (NORM) return state_normal(s, row);
    return {{s.c + row * s.state_stride, 0, 1, 1}, 0, 1};
  }

  // h = o ⊙ tanh(c); with a projection this goes to rh, and `project` computes h
  static void output_forward(const CellStep& s, index_t row) {
    const Normal c = shown_state(s, row);
    const Real* record = s.gates + row * s.gates_stride;
    Real* h = s.terms->projection != nullptr ? s.rh + row * s.state_stride : s.h + row * s.state_stride;
    for_each_panel(s, [&](const auto& at, index_t unit) {
      at.store(h + unit, at.load(record + unit * slots + (gates + 3) * at.slot) * tanh(shown(s, at, unit, c)));
    });
  }

  static void forward(const CellStep& s) {
    for (index_t r = 0; r < s.rows; ++r) {
      keep_input(s, r, 4, slots);
      if constexpr (NORM) fill_slots(s, r, recurrent, 4, slots, 0);
    }
    raw_product<4>(s, {s.left, s.state_stride}, s.weights[0], recurrent, slots);
    const Clip clip(s.terms->clip);
    for (index_t r = 0; r < s.rows; ++r) {
      state_forward(s, clip, r);
      output_forward(s, r);
    }
    if (s.terms->projection != nullptr) project(s);
  }

  static void project(const CellStep& s) {
    for (index_t column = 0; column < s.outputs; column += V::lanes) {
      narrow_product(s.rows, {s.rh, s.state_stride}, contiguous(s.units), s.terms->projection + column * s.units, 1,
                     {s.h + column, s.state_stride});
    }
  }

  // dp = dh + dy for the projection's results, d(o ⊙ tanh(c)) = dp · Rᵀ
  static void project_backward(const CellStep& s) {
    for (index_t r = 0; r < s.rows; ++r) {
      Real* to = s.dprojected + r * s.dprojected_stride;
      for (index_t u = 0; u < s.outputs; ++u) to[u] = s.dh[r * s.state_stride + u] + (s.dy != nullptr ? s.dy[r][u] : 0);
    }
    const index_t full = s.outputs / V::lanes;
    const Columns k{0, full, V::lanes, V::lanes, full * V::lanes, s.outputs % V::lanes};
    constexpr index_t run = V::flat_vectors * V::lanes;
    for (index_t column = 0; column < s.units; column += run) {
      const index_t width = s.units - column < run ? s.units - column : run;
      narrow_product(s.rows, {s.dprojected, s.dprojected_stride}, k, s.terms->projection_t + column * s.outputs,
                     ceil_div(width, V::lanes), {s.drh + column, s.state_stride});
    }
  }

  // do = dh ⊙ tanh(c), and, kept in the place of da_i for the moment, the gradient of c: du = dh ⊙ o ⊙ (1 - tanh²(c))
  static void output_backward(const CellStep& s, const Clip& clip, index_t row, const GradientRow& d) {
    const Normal c = shown_state(s, row);
    const Real* record = s.gates + row * s.gates_stride;
    for_each_panel(s, [&](const auto& at, index_t unit) {
      const V dh = s.terms->projection != nullptr ? at.load(s.drh + row * s.state_stride + unit) : upstream(s, at, row, unit);
      const V o = at.load(record + unit * slots + (gates + 3) * at.slot);
      const V tanh_c = tanh(shown(s, at, unit, c));
      const V du = dh * o * (V::set1(1) - tanh_c * tanh_c);
      at.store(d.slot(at, unit, gates + 3), dh * tanh_c * clip.sigmoid_slope(o));
      if constexpr (NORM) {
        add_to(at, s.dterms.state_norm + s.units + unit, du);
        scale_backward(at, du, c.value(at, unit, 0), s.terms->state_norm + unit, s.dterms.state_norm + unit,
                       d.slot(at, unit, gates));
      } else {
        at.store(d.slot(at, unit, gates), du);
      }
    });
    if constexpr (NORM) normal_backward(s, c, d, gates);
  }

  static void state_backward(const CellStep& s, const Clip& clip, index_t row, const GradientRow& d) {
    const Terms<Real>& t = *s.terms;
    const Real* record = s.gates + row * s.gates_stride;
    for_each_panel(s, [&](const auto& at, index_t unit) {
      const Real* own = record + unit * slots + gates * at.slot;
      Real* dc = s.dc + row * s.state_stride + unit;
      const V i = at.load(own);
      const V f = at.load(own + at.slot);
      const V g = at.load(own + 2 * at.slot);
      const V c_prev = at.load(s.c_prev + row * s.state_stride + unit);
      const V da_o = at.load(d.slot(at, unit, gates + 3));
      V dcell = at.load(dc) + at.load(d.slot(at, unit, gates));
      if (t.peephole != nullptr) dcell = fma(at.load(t.peephole + 2 * s.units + unit), da_o, dcell);
      const V df = dcell * c_prev;
      const V da_i = (t.coupled ? fma(dcell, g, V::set1(0) - df) : dcell * g) * clip.sigmoid_slope(i);
      const V da_f = t.coupled ? V::set1(0) : df * clip.sigmoid_slope(f);
      V dc_prev = dcell * f;
      if (t.peephole != nullptr) {
        dc_prev = fma(at.load(t.peephole + unit), da_i, dc_prev);
        dc_prev = fma(at.load(t.peephole + s.units + unit), da_f, dc_prev);
        add_to(at, s.dterms.peephole + unit, da_i * c_prev);
        add_to(at, s.dterms.peephole + s.units + unit, da_f * c_prev);
        add_to(at, s.dterms.peephole + 2 * s.units + unit, da_o * at.load(s.c + row * s.state_stride + unit));
      }
      at.store(d.slot(at, unit, gates), da_i);
      at.store(d.slot(at, unit, gates + 1), da_f);
      at.store(d.slot(at, unit, gates + 2), dcell * i * clip.tanh_slope(g));
      at.store(dc, dc_prev);
    });
  }

  static void backward_gates(const CellStep& s) {
    const Clip clip(s.terms->clip);
    if (s.terms->projection != nullptr) project_backward(s);
    for (index_t r = 0; r < s.rows; ++r) {
      const GradientRow d = gradient_row(s, r);
      output_backward(s, clip, r, d);
      state_backward(s, clip, r, d);
      if constexpr (NORM) products_backward(s, r, d);
    }
  }

  // The gradients of both products, from those of the pre-activations.
  static void products_backward(const CellStep& s, index_t row, const GradientRow& d) {
    const Terms<Real>& t = *s.terms;
    const Real* record = s.gates + row * s.gates_stride;
    const Normal x = input_normal(s, record);
    const Normal h = recurrent_normal(s, record);
    for_each_panel(s, [&](const auto& at, index_t unit) {
      for (index_t j = 0; j < 4; ++j) {
        const V da = at.load(d.slot(at, unit, gates + j));
        const index_t gate = j * s.units + unit;
        scale_backward(at, da, x.value(at, unit, j), t.kernel_norm + gate, s.dterms.kernel_norm + gate, d.slot(at, unit, j));
        scale_backward(at, da, h.value(at, unit, j), t.recurrent_norm + gate, s.dterms.recurrent_norm + gate,
                       d.slot(at, unit, recurrent + j));
      }
    });
    normal_backward(s, x, d, 0);
    normal_backward(s, h, d, recurrent);
  }

  static void backward_hidden(const CellStep& s) {
    hidden_product(s, recurrent, 4, s.weights_t[0], {s.dh, s.state_stride}, false, s.mask);
  }

  static constexpr CellKernels kernels{1, {forward, nullptr}, 2, {backward_gates, backward_hidden, nullptr}};
};
