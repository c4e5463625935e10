// recurrent_forward, recurrent_backward and the tape between them: arguments are checked, results allocated, the GIL released.
#include "../recurrent.h"

#include <algorithm>
#include <variant>

#include "../parallel.h"
#include "../plan.h"
#include "arrays.h"
#include "module.h"
#include "recurrent_arguments.h"
#include "without_gil.h"

namespace rnnext {
namespace {

// The tape and the arrays it refers to.
template <class Real>
struct PyTape {
  std::unique_ptr<Tape<Real>> tape;
  InputArrays<Real> input;
  BetweenArrays<Real> between;
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

// What the two ways to run forward share: states, lengths, results. Returns (y, h_T, c_T) and hands the tape over.
template <class Real>
py::tuple run_forward(const std::string& who, Forward<Real> args, const InputArrays<Real>& input,
                      const BetweenArrays<Real>& between, const CallArguments& call, const CellTraits& cell, index_t units,
                      index_t outputs, std::unique_ptr<Tape<Real>>* tape) {
  const index_t rows = input.rows;
  const index_t positions = input.positions;
  if (!cell.has_c && !call.c0.is_none()) throw py::value_error(who + ": c0 was given, but a GRU has no cell state");
  py::array h0, c0;
  args.h0 = optional_state<Real>(who, "h0", call.h0, rows, outputs, h0);
  args.c0 = optional_state<Real>(who, "c0", call.c0, rows, units, c0);
  const Positions starts({who, "starts"}, call.starts, rows, positions);
  const Positions lengths({who, "lengths"}, call.lengths, rows, positions);
  check_fit(who, starts, lengths, rows, positions);

  auto [h_T, h_T_view] = new_array<Real, 2>({rows, outputs});
  args.h_T = h_T_view;
  py::object c_T = py::none();
  if (cell.has_c) {
    auto [array, array_view] = new_array<Real, 2>({rows, units});
    c_T = array;
    args.c_T = array_view;
  }
  py::object y = h_T;
  if (call.return_sequences) {
    auto [array, array_view] = new_array<Real, 3>({rows, positions, outputs});
    y = array;
    args.y = array_view;
  }
  args.input = input.views;
  args.between = between.views;
  {
    const WithoutGil unlocked;
    // Without a tape nothing is summed over blocks: only threads need one each.
    const index_t blocks = tape != nullptr ? row_blocks(rows, units) : std::clamp<index_t>(rows, 1, num_threads());
    // All rows in full, from no state, with nothing of their own on the way: those that begin alike may go together.
    const bool together = args.input.ids && !starts.data() && !lengths.data() && !args.h0 && !args.c0 && !args.between.any() &&
                          !call.return_sequences;
    Schedule schedule = together ? make_trunk_schedule(rows, positions, args.input.ids.data, call.reverse, blocks)
                                 : make_schedule(rows, positions, starts.data(), lengths.data(), call.reverse, blocks);
    std::unique_ptr<Tape<Real>> made = recurrent_forward(args, std::move(schedule), tape != nullptr);
    if (tape != nullptr) *tape = std::move(made);
  }
  return py::make_tuple(y, h_T, c_T);
}

template <class Real>
py::tuple forward(const std::string& cell_name, const py::object& x, const WeightArguments& given, const CallArguments& call,
                  bool keep_tape) {
  const std::string who = "recurrent_forward";
  const CellTraits& cell = traits(parse_cell(who, cell_name));
  const InputArrays<Real> input(who, x);
  const WeightArrays<Real> weights(who, cell_name, given, input.width);
  const index_t units = weights.views.units();
  const index_t outputs = weights.recurrent.shape(0);
  const BetweenArrays<Real> between(who, call, cell, input.rows, input.positions, outputs, units);
  Forward<Real> args{};
  args.weights = weights.views;
  std::unique_ptr<Tape<Real>> tape;
  const py::tuple results =
      run_forward<Real>(who, args, input, between, call, cell, units, outputs, keep_tape ? &tape : nullptr);
  py::object tape_object = py::none();
  if (tape) {
    tape_object =
        py::cast(new AnyTape{PyTape<Real>{std::move(tape), input, between, !cell.has_recurrent_bias, call.return_sequences}},
                 py::return_value_policy::take_ownership);
  }
  return py::make_tuple(results[0], results[1], results[2], tape_object);
}

template <class Real>
PackedCell<Real> pack(const std::string& cell_name, const WeightArguments& given, const py::object& vocabulary_in) {
  const std::string who = "PackedCell";
  const WeightArrays<Real> weights(who, cell_name, given);
  py::array vocabulary;
  View<const Real, 2> vocabulary_view{};
  if (!vocabulary_in.is_none()) {
    const Argument argument{who, "vocabulary"};
    vocabulary = with_contiguous_rows<Real>(argument.require<Real>(vocabulary_in, 2, "[V, I]"));
    argument.expect_shape(vocabulary, {vocabulary.shape(0), weights.kernel.shape(0)}, "[V, I]");
    vocabulary_view = view_of<Real, 2>(vocabulary);
  }
  const WithoutGil unlocked;
  return make_packed_cell(weights.views, vocabulary_view);
}

template <class Real>
py::tuple infer(const PackedCell<Real>& packed, const py::object& x, const CallArguments& call) {
  const std::string who = "recurrent_infer";
  const InputArrays<Real> input(who, x, &packed);
  if (input.width != packed.inputs) {
    throw py::value_error(who + ": x has width " + std::to_string(input.width) + ", expected " + std::to_string(packed.inputs) +
                          " = I");
  }
  const BetweenArrays<Real> between(who, call, packed.traits, input.rows, input.positions, packed.outputs, packed.units);
  Forward<Real> args{};
  args.packed = &packed;
  return run_forward<Real>(who, args, input, between, call, packed.traits, packed.units, packed.outputs, nullptr);
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
  const index_t outputs = tape.outputs;
  const index_t width = cell.gates * units;
  Backward<Real> args{};

  py::array dy, dh_T, dc_T;
  args.dh_T = optional_state<Real>(who, "dh_T", dh_T_in, rows, outputs, dh_T);
  if (!dy_in.is_none()) {
    const Argument argument{who, "dy"};
    if (py_tape.sequences) {
      dy = argument.require<Real>(dy_in, 3, "[B, T, H]");
      argument.expect_shape(dy, {rows, schedule.positions, outputs}, "[B, T, H]");
      dy = with_contiguous_rows<Real>(dy);
      args.dy = view_of<Real, 3>(dy);
    } else {
      dy = argument.require<Real>(dy_in, 2, "[B, H]");
      argument.expect_shape(dy, {rows, outputs}, "[B, H]");
      if (args.dh_T) {
        throw py::value_error(who + ": dy and dh_T were both given, but without return_sequences y is h_T: add them");
      }
      dy = with_contiguous_rows<Real>(dy);
      args.dh_T = view_of<Real, 2>(dy);
    }
  }
  if (!cell.has_c && !dc_T_in.is_none()) throw py::value_error(who + ": dc_T was given, but a GRU has no cell state");
  args.dc_T = optional_state<Real>(who, "dc_T", dc_T_in, rows, units, dc_T);

  const auto result = [](std::array<index_t, 2> shape, View<Real, 2>& view) {
    auto [array, array_view] = new_array<Real, 2>(shape);
    view = array_view;
    return py::object(std::move(array));
  };
  const auto as_row = [](const py::object& array) { return py::object(array.attr("reshape")(-1)); };
  py::object dx = py::none(), dbias = py::none(), dh0 = py::none(), dc0 = py::none();
  if (need_dx && !py_tape.input.views.x) {
    const auto count = static_cast<index_t>(tape.table_rows.size());
    py::array_t<index_t> table_rows(count);
    std::copy(tape.table_rows.begin(), tape.table_rows.end(), table_rows.mutable_data());
    dx = py::make_tuple(table_rows, result({count, tape.inputs}, args.dtable_rows));
  } else if (need_dx) {
    auto [array, array_view] = new_array<Real, 3>({rows, schedule.positions, tape.inputs});
    dx = array;
    args.dx = array_view;
  }
  const py::object dkernel = result({tape.inputs, width}, args.dkernel);
  const py::object drecurrent = result({outputs, width}, args.drecurrent);
  if (tape.has_bias) {
    dbias = result({cell.has_recurrent_bias ? 2 : 1, width}, args.dbias);
    if (py_tape.bias_is_row) dbias = as_row(dbias);
  }
  if (!tape.from_zero) {
    dh0 = result({rows, outputs}, args.dh0);
    if (cell.has_c) dc0 = result({rows, units}, args.dc0);
  }
  py::dict dterms;
  if (tape.terms) {
    const Terms<Real>& terms = tape.terms->view;
    if (terms.peephole != nullptr) dterms["peephole"] = result({3, units}, args.dpeephole);
    if (terms.projection != nullptr) dterms["projection"] = result({units, outputs}, args.dprojection);
    if (cell.has_norm) {
      dterms["kernel_norm"] = as_row(result({1, width}, args.dkernel_norm));
      dterms["recurrent_norm"] = as_row(result({1, width}, args.drecurrent_norm));
      if (cell.has_c) dterms["state_norm"] = result({2, units}, args.dstate_norm);
    }
  }
  {
    const WithoutGil unlocked;
    recurrent_backward(tape, args);
  }
  if (dterms.empty()) return py::make_tuple(dx, dkernel, drecurrent, dbias, dh0, dc0);
  return py::make_tuple(dx, dkernel, drecurrent, dbias, dh0, dc0, dterms);
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
         const py::object& lengths, bool reverse, bool update_gate_writes, bool return_sequences, bool keep_tape,
         const py::object& recurrent_mask, const py::object& zoneout_h, const py::object& zoneout_c, const py::object& peephole,
         bool coupled, const py::object& clip, const py::object& projection, const py::object& kernel_norm,
         const py::object& recurrent_norm, const py::object& state_norm, double norm_epsilon) {
        const WeightArguments weights{kernel,         recurrent_kernel, bias, peephole, projection,   kernel_norm,
                                      recurrent_norm, state_norm,       clip, coupled,  norm_epsilon, update_gate_writes};
        const CallArguments call{h0, c0, starts, lengths, recurrent_mask, zoneout_h, zoneout_c, reverse, return_sequences};
        return in_float64(x, recurrent_kernel) ? forward<double>(cell, x, weights, call, keep_tape)
                                               : forward<float>(cell, x, weights, call, keep_tape);
      },
      py::arg("cell"), py::arg("x"), py::arg("kernel"), py::arg("recurrent_kernel"), py::arg("bias"),
      py::arg("h0") = py::none(), py::arg("c0") = py::none(), py::kw_only(), py::arg("starts") = py::none(),
      py::arg("lengths") = py::none(), py::arg("reverse") = false, py::arg("update_gate_writes") = false,
      py::arg("return_sequences") = false, py::arg("keep_tape") = true, py::arg("recurrent_mask") = py::none(),
      py::arg("zoneout_h") = py::none(), py::arg("zoneout_c") = py::none(), py::arg("peephole") = py::none(),
      py::arg("coupled") = false, py::arg("clip") = py::none(), py::arg("projection") = py::none(),
      py::arg("kernel_norm") = py::none(), py::arg("recurrent_norm") = py::none(), py::arg("state_norm") = py::none(),
      py::arg("norm_epsilon") = 1e-3);
  py::class_<AnyPackedCell>(m, "PackedCell")
      .def(
          py::init([](const std::string& cell, const py::object& kernel, const py::object& recurrent_kernel,
                      const py::object& bias, const py::object& vocabulary, bool update_gate_writes, const py::object& peephole,
                      bool coupled, const py::object& clip, const py::object& projection, const py::object& kernel_norm,
                      const py::object& recurrent_norm, const py::object& state_norm, double norm_epsilon) {
            const WeightArguments weights{kernel,         recurrent_kernel, bias, peephole, projection,   kernel_norm,
                                          recurrent_norm, state_norm,       clip, coupled,  norm_epsilon, update_gate_writes};
            return in_float64(kernel, recurrent_kernel) ? AnyPackedCell{pack<double>(cell, weights, vocabulary)}
                                                        : AnyPackedCell{pack<float>(cell, weights, vocabulary)};
          }),
          py::arg("cell"), py::arg("kernel"), py::arg("recurrent_kernel"), py::arg("bias"), py::arg("vocabulary") = py::none(),
          py::kw_only(), py::arg("update_gate_writes") = false, py::arg("peephole") = py::none(), py::arg("coupled") = false,
          py::arg("clip") = py::none(), py::arg("projection") = py::none(), py::arg("kernel_norm") = py::none(),
          py::arg("recurrent_norm") = py::none(), py::arg("state_norm") = py::none(), py::arg("norm_epsilon") = 1e-3);
  m.def(
      "recurrent_infer",
      [](const AnyPackedCell& packed, const py::object& x, const py::object& h0, const py::object& c0, const py::object& starts,
         const py::object& lengths, bool reverse, bool return_sequences, const py::object& zoneout_h,
         const py::object& zoneout_c) {
        const CallArguments call{h0, c0, starts, lengths, py::none(), zoneout_h, zoneout_c, reverse, return_sequences};
        return std::visit([&](const auto& p) { return infer(p, x, call); }, packed.of);
      },
      py::arg("packed"), py::arg("x"), py::arg("h0") = py::none(), py::arg("c0") = py::none(), py::kw_only(),
      py::arg("starts") = py::none(), py::arg("lengths") = py::none(), py::arg("reverse") = false,
      py::arg("return_sequences") = false, py::arg("zoneout_h") = py::none(), py::arg("zoneout_c") = py::none());
  m.def(
      "recurrent_backward",
      [](const AnyTape& tape, const py::object& dy, const py::object& dh_T, const py::object& dc_T, bool need_dx) {
        return std::visit([&](const auto& t) { return backward(t, dy, dh_T, dc_T, need_dx); }, tape.of);
      },
      py::arg("tape"), py::arg("dy"), py::arg("dh_T") = py::none(), py::arg("dc_T") = py::none(), py::kw_only(),
      py::arg("need_dx") = true);
}

}  // namespace rnnext
