// recurrent_forward, recurrent_backward and the tape between them: arguments are checked, results allocated, the GIL released.
#include "../parallel.h"
#include "../plan.h"
#include "../recurrent.h"

#include <algorithm>
#include <variant>

#include "arrays.h"
#include "module.h"

namespace rnnext {
namespace {

Cell parse_cell(const std::string& function, const std::string& name) {
  if (name == "lstm") return Cell::lstm;
  if (name == "gru_reset_after") return Cell::gru_reset_after;
  if (name == "gru_reset_before") return Cell::gru_reset_before;
  throw py::value_error(function + ": cell is '" + name + "', expected 'lstm', 'gru_reset_after' or 'gru_reset_before'");
}

// [B] of int64, checked against [0, T].
class Positions {
 public:
  Positions(const Argument& argument, const py::object& object, index_t rows, index_t positions) {
    if (object.is_none()) return;
    array_ = aligned_array<index_t>::ensure(argument.require<index_t>(object, 1, "[B]"));
    argument.expect_shape(array_, {rows}, "[B]");
    data_ = static_cast<const index_t*>(array_.data());
    for (index_t b = 0; b < rows; ++b) {
      if (data_[b] < 0 || data_[b] > positions) {
        argument.fail("has " + std::to_string(data_[b]) + " at row " + std::to_string(b) + ", expected 0 to " +
                      std::to_string(positions) + " = T");
      }
    }
  }
  const index_t* data() const { return data_; }

 private:
  py::array array_;
  const index_t* data_ = nullptr;
};

void check_fit(const std::string& function, const Positions& starts, const Positions& lengths, index_t rows,
               index_t positions) {
  if (starts.data() == nullptr || lengths.data() == nullptr) return;
  for (index_t b = 0; b < rows; ++b) {
    if (starts.data()[b] + lengths.data()[b] > positions) {
      throw py::value_error(function + ": starts + lengths is " + std::to_string(starts.data()[b]) + " + " +
                            std::to_string(lengths.data()[b]) + " at row " + std::to_string(b) + ", expected at most " +
                            std::to_string(positions) + " = T");
    }
  }
}

// The input: an array [B, T, I], or a tuple of ids [B, T] and a table [V, I] whose rows they name; ids alone where `vocabulary`
// says how many rows were packed.
template <class Real>
struct InputArrays {
  py::array x, ids, table;
  Input<Real> views{};
  index_t rows, positions, width;

  InputArrays(const std::string& function, const py::object& object, const PackedCell<Real>* packed = nullptr) {
    const Argument ids_argument{function, "ids"};
    if (packed != nullptr && packed->vocabulary_rows > 0) {
      take_ids(ids_argument, object, packed->vocabulary_rows);
      width = packed->inputs;
    } else if (!py::isinstance<py::tuple>(object)) {
      x = with_contiguous_rows<Real>(Argument{function, "x"}.require<Real>(object, 3, "[B, T, I]"));
      views.x = view_of<Real, 3>(x);
      rows = x.shape(0);
      positions = x.shape(1);
      width = x.shape(2);
    } else {
      const auto pair = py::reinterpret_borrow<py::tuple>(object);
      if (pair.size() != 2) {
        Argument{function, "x"}.fail("is a tuple of " + std::to_string(pair.size()) + ", expected (ids, table)");
      }
      table = with_contiguous_rows<Real>(Argument{function, "table"}.require<Real>(pair[1], 2, "[V, I]"));
      take_ids(ids_argument, pair[0], table.shape(0));
      views.table = view_of<Real, 2>(table);
      width = table.shape(1);
    }
  }

 private:
  void take_ids(const Argument& argument, const py::object& object, index_t count) {
    ids = aligned_array<std::int32_t>::ensure(argument.require<std::int32_t>(object, 2, "[B, T]"));
    rows = ids.shape(0);
    positions = ids.shape(1);
    views.ids = view<2>(static_cast<const std::int32_t*>(ids.data()), {rows, positions});
    for (index_t i = 0; i < rows * positions; ++i) {
      const std::int32_t id = views.ids.data[i];
      if (id < 0 || id >= count) {
        argument.fail("has " + std::to_string(id) + " at row " + std::to_string(i / positions) + ", position " +
                      std::to_string(i % positions) + ", expected 0 to " + std::to_string(count - 1));
      }
    }
  }
};

// A layer's weights, checked against each other and, if it is known, the width of its input.
template <class Real>
struct WeightArrays {
  py::array kernel, recurrent, bias;
  CellWeights<Real> views{};

  WeightArrays(const std::string& who, const std::string& cell_name, const py::object& kernel_in,
               const py::object& recurrent_in, const py::object& bias_in, bool update_gate_writes, index_t inputs = -1) {
    views.cell = parse_cell(who, cell_name);
    views.update_gate_writes = update_gate_writes;
    const CellTraits& cell = traits(views.cell);
    const index_t gates = cell.gates;
    const Argument recurrent_argument{who, "recurrent_kernel"};
    recurrent = with_contiguous_rows<Real>(recurrent_argument.require<Real>(recurrent_in, 2, "[H, G*H]"));
    const index_t units = recurrent.shape(0);
    const std::string H = std::to_string(units);
    if (units < 1) recurrent_argument.fail("has shape " + describe(shape_of(recurrent)) + ", expected at least one unit");
    recurrent_argument.expect_shape(recurrent, {units, gates * units}, "[H, G*H] with H=" + H);
    const Argument kernel_argument{who, "kernel"};
    kernel = with_contiguous_rows<Real>(kernel_argument.require<Real>(kernel_in, 2, "[I, G*H]"));
    if (inputs < 0) inputs = kernel.shape(0);
    kernel_argument.expect_shape(kernel, {inputs, gates * units}, "[I, G*H] with I=" + std::to_string(inputs) + ", H=" + H);
    views.kernel = view_of<Real, 2>(kernel);
    views.recurrent_kernel = view_of<Real, 2>(recurrent);
    if (bias_in.is_none()) return;
    const Argument argument{who, "bias"};
    const bool two_rows = cell.has_recurrent_bias;
    bias = argument.require<Real>(bias_in, two_rows ? 2 : 1, two_rows ? "[2, G*H]" : "[G*H]");
    if (two_rows) {
      argument.expect_shape(bias, {2, gates * units}, "[2, G*H] with H=" + H);
    } else {
      argument.expect_shape(bias, {gates * units}, "[G*H] with H=" + H);
    }
    bias = aligned_array<Real>::ensure(bias);
    views.bias = view<2>(static_cast<const Real*>(bias.data()), {two_rows ? 2 : 1, gates * units});
  }
};

// The tape and the arrays it refers to.
template <class Real>
struct PyTape {
  std::unique_ptr<Tape<Real>> tape;
  InputArrays<Real> input;
  bool bias_is_row;  // [G*H] rather than [1, G*H] or [2, G*H]
  bool sequences;
};

// What Python holds, of either type of elements.
struct AnyPackedCell {
  std::variant<PackedCell<float>, PackedCell<double>> of;
};
struct AnyTape {
  std::variant<PyTape<float>, PyTape<double>> of;
};

template <class Real>
View<const Real, 2> optional_state(const std::string& function, const char* name, const py::object& object, index_t rows,
                                   index_t units, py::array& keep) {
  if (object.is_none()) return {};
  const Argument argument{function, name};
  keep = argument.require<Real>(object, 2, "[B, H]");
  argument.expect_shape(keep, {rows, units}, "[B, H]");
  keep = with_contiguous_rows<Real>(keep);
  return view_of<Real, 2>(keep);
}

// What the two ways to run forward share: states, lengths, results. Returns (y, h_T, c_T) and hands the tape over.
template <class Real>
py::tuple run_forward(const std::string& who, Forward<Real> args, const InputArrays<Real>& input, const CellTraits& cell,
                      index_t units, const py::object& h0_in, const py::object& c0_in, const py::object& starts_in,
                      const py::object& lengths_in, bool reverse, bool return_sequences, std::unique_ptr<Tape<Real>>* tape) {
  const index_t rows = input.rows;
  const index_t positions = input.positions;
  if (!cell.has_c && !c0_in.is_none()) throw py::value_error(who + ": c0 was given, but a GRU has no cell state");
  py::array h0, c0;
  args.h0 = optional_state<Real>(who, "h0", h0_in, rows, units, h0);
  args.c0 = optional_state<Real>(who, "c0", c0_in, rows, units, c0);
  const Positions starts({who, "starts"}, starts_in, rows, positions);
  const Positions lengths({who, "lengths"}, lengths_in, rows, positions);
  check_fit(who, starts, lengths, rows, positions);

  auto [h_T, h_T_view] = new_array<Real, 2>({rows, units});
  args.h_T = h_T_view;
  py::object c_T = py::none();
  if (cell.has_c) {
    auto [array, array_view] = new_array<Real, 2>({rows, units});
    c_T = array;
    args.c_T = array_view;
  }
  py::object y = h_T;
  if (return_sequences) {
    auto [array, array_view] = new_array<Real, 3>({rows, positions, units});
    y = array;
    args.y = array_view;
  }
  args.input = input.views;
  {
    const py::gil_scoped_release unlocked;
    // Without a tape nothing is summed over blocks: only threads need one each.
    const index_t blocks = tape != nullptr ? row_blocks(rows, units) : std::clamp<index_t>(rows, 1, num_threads());
    // All rows in full, from no state, with nothing to return on the way: those that begin alike may go together.
    const bool together = args.input.ids && !starts.data() && !lengths.data() && !args.h0 && !args.c0 && !return_sequences;
    Schedule schedule = together ? make_trunk_schedule(rows, positions, args.input.ids.data, reverse, blocks)
                                 : make_schedule(rows, positions, starts.data(), lengths.data(), reverse, blocks);
    std::unique_ptr<Tape<Real>> made = recurrent_forward(args, std::move(schedule), tape != nullptr);
    if (tape != nullptr) *tape = std::move(made);
  }
  return py::make_tuple(y, h_T, c_T);
}

template <class Real>
py::tuple forward(const std::string& cell_name, const py::object& x_in, const py::object& kernel_in,
                  const py::object& recurrent_in, const py::object& bias_in, const py::object& h0_in, const py::object& c0_in,
                  const py::object& starts_in, const py::object& lengths_in, bool reverse, bool update_gate_writes,
                  bool return_sequences, bool keep_tape) {
  const std::string who = "recurrent_forward";
  const CellTraits& cell = traits(parse_cell(who, cell_name));
  const InputArrays<Real> input(who, x_in);
  const WeightArrays<Real> weights(who, cell_name, kernel_in, recurrent_in, bias_in, update_gate_writes, input.width);
  const index_t units = weights.recurrent.shape(0);
  Forward<Real> args{};
  args.weights = weights.views;
  std::unique_ptr<Tape<Real>> tape;
  const py::tuple results = run_forward<Real>(who, args, input, cell, units, h0_in, c0_in, starts_in, lengths_in, reverse,
                                              return_sequences, keep_tape ? &tape : nullptr);
  py::object tape_object = py::none();
  if (tape) {
    tape_object = py::cast(new AnyTape{PyTape<Real>{std::move(tape), input, !cell.has_recurrent_bias, return_sequences}},
                           py::return_value_policy::take_ownership);
  }
  return py::make_tuple(results[0], results[1], results[2], tape_object);
}

template <class Real>
PackedCell<Real> pack(const std::string& cell_name, const py::object& kernel_in, const py::object& recurrent_in,
                      const py::object& bias_in, const py::object& vocabulary_in, bool update_gate_writes) {
  const std::string who = "PackedCell";
  const WeightArrays<Real> weights(who, cell_name, kernel_in, recurrent_in, bias_in, update_gate_writes);
  py::array vocabulary;
  View<const Real, 2> vocabulary_view{};
  if (!vocabulary_in.is_none()) {
    const Argument argument{who, "vocabulary"};
    vocabulary = with_contiguous_rows<Real>(argument.require<Real>(vocabulary_in, 2, "[V, I]"));
    argument.expect_shape(vocabulary, {vocabulary.shape(0), weights.kernel.shape(0)}, "[V, I]");
    vocabulary_view = view_of<Real, 2>(vocabulary);
  }
  const py::gil_scoped_release unlocked;
  return make_packed_cell(weights.views, vocabulary_view);
}

template <class Real>
py::tuple infer(const PackedCell<Real>& packed, const py::object& x_in, const py::object& h0_in, const py::object& c0_in,
                const py::object& starts_in, const py::object& lengths_in, bool reverse, bool return_sequences) {
  const std::string who = "recurrent_infer";
  const InputArrays<Real> input(who, x_in, &packed);
  if (input.width != packed.inputs) {
    throw py::value_error(who + ": x has width " + std::to_string(input.width) + ", expected " + std::to_string(packed.inputs) +
                          " = I");
  }
  Forward<Real> args{};
  args.packed = &packed;
  return run_forward<Real>(who, args, input, packed.traits, packed.units, h0_in, c0_in, starts_in, lengths_in, reverse,
                           return_sequences, nullptr);
}

template <class Real>
py::tuple backward(const PyTape<Real>& py_tape, const py::object& dy_in, const py::object& dh_T_in, const py::object& dc_T_in,
                   bool need_dx) {
  const std::string who = "recurrent_backward";
  const Tape<Real>& tape = *py_tape.tape;
  const CellTraits& cell = traits(tape.cell);
  const Schedule& schedule = tape.schedule;
  const index_t rows = schedule.rows - schedule.trunks;
  const index_t units = tape.units;
  const index_t width = cell.gates * units;

  py::array dy, dh_T, dc_T;
  View<const Real, 3> dy_view{};
  View<const Real, 2> dh_T_view = optional_state<Real>(who, "dh_T", dh_T_in, rows, units, dh_T);
  if (!dy_in.is_none()) {
    const Argument argument{who, "dy"};
    if (py_tape.sequences) {
      dy = argument.require<Real>(dy_in, 3, "[B, T, H]");
      argument.expect_shape(dy, {rows, schedule.positions, units}, "[B, T, H]");
      dy = with_contiguous_rows<Real>(dy);
      dy_view = view_of<Real, 3>(dy);
    } else {
      dy = argument.require<Real>(dy_in, 2, "[B, H]");
      argument.expect_shape(dy, {rows, units}, "[B, H]");
      if (dh_T_view) {
        throw py::value_error(who + ": dy and dh_T were both given, but without return_sequences y is h_T: add them");
      }
      dy = with_contiguous_rows<Real>(dy);
      dh_T_view = view_of<Real, 2>(dy);
    }
  }
  if (!cell.has_c && !dc_T_in.is_none()) throw py::value_error(who + ": dc_T was given, but a GRU has no cell state");
  const View<const Real, 2> dc_T_view = optional_state<Real>(who, "dc_T", dc_T_in, rows, units, dc_T);

  py::object dx = py::none(), dbias = py::none(), dh0 = py::none(), dc0 = py::none();
  View<Real, 3> dx_view{};
  View<Real, 2> dtable_view{}, dbias_view{}, dh0_view{}, dc0_view{};
  if (need_dx && !py_tape.input.views.x) {
    const auto count = static_cast<index_t>(tape.table_rows.size());
    py::array_t<index_t> table_rows(count);
    std::copy(tape.table_rows.begin(), tape.table_rows.end(), table_rows.mutable_data());
    auto [array, array_view] = new_array<Real, 2>({count, tape.inputs});
    dx = py::make_tuple(table_rows, array);
    dtable_view = array_view;
  } else if (need_dx) {
    auto [array, array_view] = new_array<Real, 3>({rows, schedule.positions, tape.inputs});
    dx = array;
    dx_view = array_view;
  }
  auto [dkernel, dkernel_view] = new_array<Real, 2>({tape.inputs, width});
  auto [drecurrent, drecurrent_view] = new_array<Real, 2>({units, width});
  if (tape.has_bias) {
    auto [array, array_view] = new_array<Real, 2>({cell.has_recurrent_bias ? 2 : 1, width});
    dbias = py_tape.bias_is_row ? py::object(array.attr("reshape")(-1)) : py::object(array);
    dbias_view = array_view;
  }
  if (schedule.trunks == 0) {
    auto [array, array_view] = new_array<Real, 2>({rows, units});
    dh0 = array;
    dh0_view = array_view;
  }
  if (cell.has_c && schedule.trunks == 0) {
    auto [array, array_view] = new_array<Real, 2>({rows, units});
    dc0 = array;
    dc0_view = array_view;
  }
  const Backward<Real> args{.dy = dy_view,
                            .dh_T = dh_T_view,
                            .dc_T = dc_T_view,
                            .dx = dx_view,
                            .dtable_rows = dtable_view,
                            .dkernel = dkernel_view,
                            .drecurrent = drecurrent_view,
                            .dbias = dbias_view,
                            .dh0 = dh0_view,
                            .dc0 = dc0_view};
  {
    const py::gil_scoped_release unlocked;
    recurrent_backward(tape, args);
  }
  return py::make_tuple(dx, dkernel, drecurrent, dbias, dh0, dc0);
}

// Weights and inputs say which type of elements a call computes in; where they differ it is float32, and the other is refused.
bool in_float64(const py::object& x, const py::object& weights) {
  if (!py::isinstance<py::tuple>(x)) return holds<double>(x) && holds<double>(weights);
  const auto pair = py::reinterpret_borrow<py::tuple>(x);
  return pair.size() == 2 && holds<double>(pair[1]) && holds<double>(weights);
}

}  // namespace

void bind_recurrent(py::module_& m) {
  py::class_<AnyTape>(m, "Tape").def_property_readonly(
      "nbytes", [](const AnyTape& tape) { return std::visit([](const auto& t) { return t.tape->nbytes(); }, tape.of); });
  m.def(
      "recurrent_forward",
      [](const std::string& cell, const py::object& x, const py::object& kernel, const py::object& recurrent_kernel,
         const py::object& bias, const py::object& h0, const py::object& c0, const py::object& starts,
         const py::object& lengths, bool reverse, bool update_gate_writes, bool return_sequences, bool keep_tape) {
        const auto run = [&]<class Real>(Real) {
          return forward<Real>(cell, x, kernel, recurrent_kernel, bias, h0, c0, starts, lengths, reverse, update_gate_writes,
                               return_sequences, keep_tape);
        };
        return in_float64(x, recurrent_kernel) ? run(double{}) : run(float{});
      },
      py::arg("cell"), py::arg("x"), py::arg("kernel"), py::arg("recurrent_kernel"), py::arg("bias"),
      py::arg("h0") = py::none(), py::arg("c0") = py::none(), py::kw_only(), py::arg("starts") = py::none(),
      py::arg("lengths") = py::none(), py::arg("reverse") = false, py::arg("update_gate_writes") = false,
      py::arg("return_sequences") = false, py::arg("keep_tape") = true);
  py::class_<AnyPackedCell>(m, "PackedCell")
      .def(py::init([](const std::string& cell, const py::object& kernel, const py::object& recurrent_kernel,
                       const py::object& bias, const py::object& vocabulary, bool update_gate_writes) {
             const auto make = [&]<class Real>(Real) {
               return AnyPackedCell{pack<Real>(cell, kernel, recurrent_kernel, bias, vocabulary, update_gate_writes)};
             };
             return in_float64(kernel, recurrent_kernel) ? make(double{}) : make(float{});
           }),
           py::arg("cell"), py::arg("kernel"), py::arg("recurrent_kernel"), py::arg("bias"), py::arg("vocabulary") = py::none(),
           py::kw_only(), py::arg("update_gate_writes") = false);
  m.def(
      "recurrent_infer",
      [](const AnyPackedCell& packed, const py::object& x, const py::object& h0, const py::object& c0, const py::object& starts,
         const py::object& lengths, bool reverse, bool return_sequences) {
        return std::visit([&](const auto& p) { return infer(p, x, h0, c0, starts, lengths, reverse, return_sequences); },
                          packed.of);
      },
      py::arg("packed"), py::arg("x"), py::arg("h0") = py::none(), py::arg("c0") = py::none(), py::kw_only(),
      py::arg("starts") = py::none(), py::arg("lengths") = py::none(), py::arg("reverse") = false,
      py::arg("return_sequences") = false);
  m.def(
      "recurrent_backward",
      [](const AnyTape& tape, const py::object& dy, const py::object& dh_T, const py::object& dc_T, bool need_dx) {
        return std::visit([&](const auto& t) { return backward(t, dy, dh_T, dc_T, need_dx); }, tape.of);
      },
      py::arg("tape"), py::arg("dy"), py::arg("dh_T") = py::none(), py::arg("dc_T") = py::none(), py::kw_only(),
      py::arg("need_dx") = true);
}

}  // namespace rnnext
