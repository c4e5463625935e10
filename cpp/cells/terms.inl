// What the cells with the rarer terms share (docs/equations.md, "Options"): products that are stored in a record, sums over a
// row, normalisation, clipping. Plainer than the fused cells: a step computes its products first, then row by row the rest.

// record[slots] += left · W, for records that hold what the product is added to.
template <int SLOTS>
inline void raw_product(const CellStep& s, StridedRows<const Real> left, const Real* weights, index_t first_slot,
                        index_t record_slots) {
  for_each_panel(s, [&](const auto& at, index_t unit) {
    const auto slot_of = [&](int slot, index_t row, index_t width) {
      return s.gates + row * s.gates_stride + unit * record_slots + (first_slot + slot) * width;
    };
    gate_product<SLOTS>(
        s, at, unit, left, weights, first_slot, record_slots,
        [&](int slot, const auto& access, index_t row, index_t)
            RNNEXT_LAMBDA { return access.load(slot_of(slot, row, access.slot)); },
        RowByRow{[&](const V(&acc)[SLOTS], index_t row, const auto&, index_t) RNNEXT_LAMBDA {
          unroll<SLOTS>([&](auto j) RNNEXT_LAMBDA { at.store(slot_of(j, row, at.slot), acc[j]); });
        }});
  });
}

// Copies the input's part of a row's gates to the first slots of the row's own record, unless it is there.
inline void keep_input(const CellStep& s, index_t row, index_t slots, index_t record_slots) {
  const Real* from = s.input[row];
  Real* to = s.gates + row * s.gates_stride;
  if (from == to) return;
  for_each_panel(s, [&](const auto& at, index_t unit) {
    for (index_t j = 0; j < slots; ++j) {
      const index_t place = unit * record_slots + j * at.slot;
      at.store(to + place, at.load(from + place));
    }
  });
}

// Slots [first, first + slots) of a row's record := value.
inline void fill_slots(const CellStep& s, index_t row, index_t first, index_t slots, index_t record_slots, Real value) {
  Real* record = s.gates + row * s.gates_stride;
  for_each_panel(s, [&](const auto& at, index_t unit) {
    for (index_t j = first; j < first + slots; ++j) at.store(record + unit * record_slots + j * at.slot, V::set1(value));
  });
}

template <class Access>
inline void add_to(const Access& at, Real* sums, V v) {
  at.store(sums, at.load(sums) + v);
}

// A sum over the elements of a row, panel by panel.
class RowSum {
 public:
  void add(const FullPanel&, V v) { whole_ = whole_ + v; }
  void add(const TailPanel& at, V v) { rest_ += lanes(v, at.slot); }
  Real value() const { return lanes(whole_, V::lanes) + rest_; }

 private:
  static Real lanes(V v, index_t count) {
    Real each[V::lanes];
    v.store(each);
    Real sum = 0;
    for (index_t i = 0; i < count; ++i) sum += each[i];
    return sum;
  }
  V whole_ = V::set1(0);
  Real rest_ = 0;
};

// Slots of a row that are normalised together.
struct Group {
  const Real* row;  // its record
  index_t first, slots;
  index_t record_slots;

  template <class Access>
  V load(const Access& at, index_t unit, index_t j) const {
    return at.load(row + unit * record_slots + (first + j) * at.slot);
  }
};

// (v - mean) scale, where scale = 1 / sqrt(variance + epsilon).
struct Normal {
  Group group;
  Real mean, scale;

  template <class Access>
  V value(const Access& at, index_t unit, index_t j) const {
    return (group.load(at, unit, j) - V::set1(mean)) * V::set1(scale);
  }
};

inline Normal normal(const CellStep& s, const Group& group) {
  const Real count = static_cast<Real>(group.slots * s.units);
  RowSum sum;
  for_each_panel_upwards(s, [&](const auto& at, index_t unit) {
    for (index_t j = 0; j < group.slots; ++j) sum.add(at, group.load(at, unit, j));
  });
  const Real mean = sum.value() / count;
  RowSum squares;
  for_each_panel_upwards(s, [&](const auto& at, index_t unit) {
    for (index_t j = 0; j < group.slots; ++j) {
      const V v = group.load(at, unit, j) - V::set1(mean);
      squares.add(at, v * v);
    }
  });
  const Real variance = squares.value() / count + s.terms->epsilon;
  return {group, mean, static_cast<Real>(1.0 / __builtin_sqrt(static_cast<double>(variance)))};
}

// Where a row's gradients are: [panel][slot][lane], panels far apart.
struct GradientRow {
  Real* d;
  index_t panel;

  template <class Access>
  Real* slot(const Access& at, index_t unit, index_t j) const {
    return d + unit / V::lanes * panel + j * at.slot;
  }
};
inline GradientRow gradient_row(const CellStep& s, index_t row) { return {s.d + row * s.d_stride, s.d_panel}; }

// In slots [first, ..): gradients of the normalised values in, of the values out.
//   dv = scale (dn - mean(dn) - n mean(dn n)), n = the normalised value
inline void normal_backward(const CellStep& s, const Normal& normal, const GradientRow& d, index_t first) {
  const index_t slots = normal.group.slots;
  RowSum sum, dot;
  for_each_panel_upwards(s, [&](const auto& at, index_t unit) {
    for (index_t j = 0; j < slots; ++j) {
      const V dn = at.load(d.slot(at, unit, first + j));
      sum.add(at, dn);
      dot.add(at, dn * normal.value(at, unit, j));
    }
  });
  const Real count = static_cast<Real>(slots * s.units);
  const V mean = V::set1(sum.value() / count);
  const V mean_dot = V::set1(dot.value() / count);
  for_each_panel(s, [&](const auto& at, index_t unit) {
    for (index_t j = 0; j < slots; ++j) {
      Real* to = d.slot(at, unit, first + j);
      at.store(to, V::set1(normal.scale) * (at.load(to) - mean - normal.value(at, unit, j) * mean_dot));
    }
  });
}

// The backward pass of scaling a gate's normalised value: adds to the scale's gradient, stores the value's in `slot`.
template <class Access>
inline void scale_backward(const Access& at, V da, V value, const Real* scale, Real* dscale, Real* slot) {
  add_to(at, dscale, da * value);
  at.store(slot, da * at.load(scale));
}

// Clips pre-activations to ±limit. Whether one was clipped can be told from its gate, which then has the limit's value.
class Clip {
 public:
  explicit Clip(Real limit)
      : on_(limit > 0),
        high_(V::set1(limit)),
        low_(V::set1(-limit)),
        sigmoid_high_(sigmoid(high_)),
        sigmoid_low_(sigmoid(low_)),
        tanh_high_(tanh(high_)),
        tanh_low_(tanh(low_)) {}

  V operator()(V a) const { return on_ ? min(high_, max(low_, a)) : a; }
  V sigmoid_slope(V gate) const {
    const V slope = gate * (V::set1(1) - gate);
    return on_ ? slope * below(sigmoid_low_, gate) * below(gate, sigmoid_high_) : slope;
  }
  V tanh_slope(V gate) const {
    const V slope = V::set1(1) - gate * gate;
    return on_ ? slope * below(tanh_low_, gate) * below(gate, tanh_high_) : slope;
  }

 private:
  bool on_;
  V high_, low_, sigmoid_high_, sigmoid_low_, tanh_high_, tanh_low_;
};
