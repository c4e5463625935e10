// The arguments of recurrent_forward and PackedCell as checked views: shapes against each other, ids against their table, terms
// against the cell. Every error names the function, the argument, what came and what was expected.
#pragma once

#include <cmath>
#include <string>

#include "../recurrent.h"
#include "arrays.h"

namespace rnnext {

inline Cell parse_cell(const std::string& function, const std::string& name) {
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
    array_ = aligned_array<index_t>(argument.require<index_t>(object, 1, "[B]"));
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

inline void check_fit(const std::string& function, const Positions& starts, const Positions& lengths, index_t rows,
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
    ids = aligned_array<std::int32_t>(argument.require<std::int32_t>(object, 2, "[B, T]"));
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

// A layer's weights as they are given, those of the rarer terms too; whatever is None is not there.
struct WeightArguments {
  py::object kernel, recurrent_kernel, bias;
  py::object peephole, projection, kernel_norm, recurrent_norm, state_norm, clip;
  bool coupled;
  double epsilon;
  bool update_gate_writes;

  bool norms() const { return !kernel_norm.is_none() || !recurrent_norm.is_none() || !state_norm.is_none(); }
  bool terms() const { return norms() || !peephole.is_none() || !projection.is_none() || !clip.is_none() || coupled; }
};

inline void expect_lstm(const std::string& who, const CellTraits& cell, const char* name, bool given) {
  if (given && !cell.has_c) throw py::value_error(who + ": " + name + " was given, but a GRU has no such term");
}

// A layer's weights, checked against each other and, if it is known, the width of its input.
template <class Real>
struct WeightArrays {
  py::array kernel, recurrent, bias, peephole, projection, kernel_norm, recurrent_norm, state_norm;
  CellWeights<Real> views{};

  WeightArrays(const std::string& who, const std::string& cell_name, const WeightArguments& given, index_t inputs = -1) {
    views.cell = parse_cell(who, cell_name);
    views.update_gate_writes = given.update_gate_writes;
    const CellTraits& cell = traits(views.cell);
    const index_t gates = cell.gates;
    expect_lstm(who, cell, "projection", !given.projection.is_none());
    const Argument recurrent_argument{who, "recurrent_kernel"};
    recurrent = with_contiguous_rows<Real>(recurrent_argument.require<Real>(given.recurrent_kernel, 2, "[H, G*H]"));
    index_t units = recurrent.shape(0);
    if (!given.projection.is_none()) {
      const Argument argument{who, "projection"};
      projection = with_contiguous_rows<Real>(argument.require<Real>(given.projection, 2, "[H, P]"));
      units = projection.shape(0);
      argument.expect_shape(projection, {units, recurrent.shape(0)}, "[H, P], P being recurrent_kernel's rows");
      views.projection = view_of<Real, 2>(projection);
    }
    const std::string H = std::to_string(units);
    if (units < 1 || recurrent.shape(0) < 1) {
      recurrent_argument.fail("has shape " + describe(shape_of(recurrent)) + ", expected at least one unit");
    }
    recurrent_argument.expect_shape(recurrent, {recurrent.shape(0), gates * units},
                                    (views.projection ? "[P, G*H] with H=" : "[H, G*H] with H=") + H);
    const Argument kernel_argument{who, "kernel"};
    kernel = with_contiguous_rows<Real>(kernel_argument.require<Real>(given.kernel, 2, "[I, G*H]"));
    if (inputs < 0) inputs = kernel.shape(0);
    kernel_argument.expect_shape(kernel, {inputs, gates * units}, "[I, G*H] with I=" + std::to_string(inputs) + ", H=" + H);
    views.kernel = view_of<Real, 2>(kernel);
    views.recurrent_kernel = view_of<Real, 2>(recurrent);
    if (!given.bias.is_none())
      views.bias = vectors(who, "bias", given.bias, cell.has_recurrent_bias ? 2 : 1, gates * units, "G*H", bias);
    if (given.terms()) take_terms(who, cell, given);
  }

 private:
  // `rows` vectors of `width`, [rows, width], or one [width].
  static View<const Real, 2> vectors(const std::string& who, const char* name, const py::object& object, index_t rows,
                                     index_t width, const std::string& symbol, py::array& keep) {
    const Argument argument{who, name};
    const std::string symbols = rows == 1 ? "[" + symbol + "]" : "[" + std::to_string(rows) + ", " + symbol + "]";
    keep = argument.require<Real>(object, rows == 1 ? 1 : 2, symbols);
    if (rows == 1) {
      argument.expect_shape(keep, {width}, symbols);
    } else {
      argument.expect_shape(keep, {rows, width}, symbols);
    }
    keep = aligned_array<Real>(keep);
    return view<2>(static_cast<const Real*>(keep.data()), {rows, width});
  }

  void take_terms(const std::string& who, const CellTraits& cell, const WeightArguments& given) {
    const index_t units = views.units();
    const index_t width = cell.gates * units;
    expect_lstm(who, cell, "peephole", !given.peephole.is_none());
    expect_lstm(who, cell, "coupled", given.coupled);
    expect_lstm(who, cell, "state_norm", !given.state_norm.is_none());
    views.coupled = given.coupled;
    if (!given.clip.is_none()) {
      const auto problem = [&] {
        return who + ": clip is " + std::string(py::repr(given.clip)) + ", expected a number above 0, or None";
      };
      try {
        views.clip = py::cast<double>(given.clip);
      } catch (const py::cast_error&) {
        throw py::type_error(problem());
      }
      if (!(views.clip > 0 && std::isfinite(views.clip))) throw py::value_error(problem());
    }
    if (!given.peephole.is_none()) views.peephole = vectors(who, "peephole", given.peephole, 3, units, "H", peephole);
    if (given.norms()) {
      const std::pair<const char*, bool> norms[] = {{"kernel_norm", !given.kernel_norm.is_none()},
                                                    {"recurrent_norm", !given.recurrent_norm.is_none()},
                                                    {"state_norm", !given.state_norm.is_none() || !cell.has_c}};
      for (const auto& [name, there] : norms) {
        if (!there)
          throw py::value_error(who + ": " + name + " is None, expected an array like the other norms, or none of them");
      }
      if (!(given.epsilon > 0 && std::isfinite(given.epsilon))) {
        throw py::value_error(who + ": norm_epsilon is " + std::to_string(given.epsilon) + ", expected a number above 0");
      }
      views.epsilon = given.epsilon;
      views.kernel_norm = vectors(who, "kernel_norm", given.kernel_norm, 1, width, "G*H", kernel_norm);
      views.recurrent_norm = vectors(who, "recurrent_norm", given.recurrent_norm, 1, width, "G*H", recurrent_norm);
      if (cell.has_c) views.state_norm = vectors(who, "state_norm", given.state_norm, 2, units, "H", state_norm);
    }
    views.cell = with_terms(views.cell, given.norms());
  }
};

// One run over sequences as it is given; whatever is None is not there.
struct CallArguments {
  py::object h0, c0, starts, lengths, mask, zone_h, zone_c;
  bool reverse, return_sequences;
};

template <class Real>
struct BetweenArrays {
  py::array mask, zone_h, zone_c;
  Between<Real> views{};

  BetweenArrays(const std::string& who, const CallArguments& given, const CellTraits& cell, index_t rows, index_t positions,
                index_t outputs, index_t units) {
    expect_lstm(who, cell, "zoneout_c", !given.zone_c.is_none());
    if (!given.mask.is_none()) {
      const Argument argument{who, "recurrent_mask"};
      mask = argument.require<Real>(given.mask, 2, "[B, H]");
      argument.expect_shape(mask, {rows, outputs}, "[B, H]");
      mask = with_contiguous_rows<Real>(mask);
      views.mask = view_of<Real, 2>(mask);
    }
    views.zone_h = shares({who, "zoneout_h"}, given.zone_h, {rows, positions, outputs}, zone_h);
    views.zone_c = shares({who, "zoneout_c"}, given.zone_c, {rows, positions, units}, zone_c);
  }

 private:
  static View<const Real, 3> shares(const Argument& argument, const py::object& object, std::array<index_t, 3> shape,
                                    py::array& keep) {
    if (object.is_none()) return {};
    keep = argument.require<Real>(object, 3, "[B, T, H]");
    argument.expect_shape(keep, {shape[0], shape[1], shape[2]}, "[B, T, H]");
    keep = with_contiguous_rows<Real>(keep);
    return view_of<Real, 3>(keep);
  }
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

}  // namespace rnnext
