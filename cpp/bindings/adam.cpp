// Adam's updates in place. Every array is checked before any is changed.
#include "../adam.h"

#include "arrays.h"
#include "module.h"

namespace rnnext {
namespace {

// An array that is changed in place: float32, C-contiguous, writeable.
float* in_place(const Argument& argument, const py::object& object, const std::vector<index_t>& shape) {
  if (!py::isinstance<py::array_t<float>>(object)) {
    throw py::type_error(argument.function + ": " + argument.name + " is not a float32 array");
  }
  auto array = py::reinterpret_borrow<py::array>(object);
  if (shape_of(array) != shape) argument.fail("has shape " + describe(shape_of(array)) + ", expected " + describe(shape));
  if ((array.flags() & py::array::c_style) == 0 || !array.writeable()) {
    argument.fail("is changed in place, expected a writeable C-contiguous array");
  }
  return static_cast<float*>(array.mutable_data());
}

const float* contiguous(const Argument& argument, const py::object& object, const std::vector<index_t>& shape) {
  if (!py::isinstance<py::array_t<float>>(object)) {
    throw py::type_error(argument.function + ": " + argument.name + " is not a float32 array");
  }
  auto array = py::reinterpret_borrow<py::array>(object);
  if (shape_of(array) != shape) argument.fail("has shape " + describe(shape_of(array)) + ", expected " + describe(shape));
  if ((array.flags() & py::array::c_style) == 0) argument.fail("is not C-contiguous");
  return static_cast<const float*>(array.data());
}

// What each call has in common: the rule and the steps so far.
struct History {
  History(const std::string& function, const py::object& alpha_in, const py::object& keep_in)
      : alpha(Argument{function, "alpha"}.require<float>(alpha_in, 1, "[step + 1]")),
        keep(Argument{function, "keep"}.require<float>(keep_in, 1, "[step + 1]")) {
    const index_t count = alpha.shape(0);
    if (count < 1) throw py::value_error(function + ": alpha is empty, expected [step + 1]");
    view = {contiguous({function, "alpha"}, alpha, {count}), contiguous({function, "keep"}, keep, {count}), count - 1};
  }
  py::array alpha, keep;
  AdamHistory view{};
};

struct Table {
  Table(const std::string& function, const py::object& p, const py::object& m, const py::object& v, const py::object& last) {
    const py::array parameter = Argument{function, "p"}.require<float>(p, 2, "[V, D]");
    const std::array<index_t, 2> shape{parameter.shape(0), parameter.shape(1)};
    const std::vector<index_t> whole(shape.begin(), shape.end());
    const py::array steps = Argument{function, "last_step"}.require<index_t>(last, 1, "[V]");
    Argument{function, "last_step"}.expect_shape(steps, {shape[0]}, "[V]");
    if ((steps.flags() & py::array::c_style) == 0) Argument{function, "last_step"}.fail("is not C-contiguous");
    view.p = rnnext::view<2>(in_place({function, "p"}, p, whole), shape);
    view.m = rnnext::view<2>(in_place({function, "m"}, m, whole), shape);
    view.v = rnnext::view<2>(in_place({function, "v"}, v, whole), shape);
    view.last_step = rnnext::view<1>(static_cast<index_t*>(const_cast<void*>(steps.data())), {shape[0]});
  }
  AdamTable view{};
};

// [N] of distinct rows of a table, ascending.
View<const index_t, 1> checked_rows(const std::string& function, const py::object& object, index_t count, py::array& keep) {
  const Argument argument{function, "rows"};
  keep = py::array_t<index_t, py::array::c_style>::ensure(argument.require<index_t>(object, 1, "[N]"));
  const auto* rows = static_cast<const index_t*>(keep.data());
  for (index_t i = 0; i < keep.shape(0); ++i) {
    if (rows[i] < 0 || rows[i] >= count || (i > 0 && rows[i] <= rows[i - 1])) {
      argument.fail("has " + std::to_string(rows[i]) + " at " + std::to_string(i) + ", expected ascending rows from 0 to " +
                    std::to_string(count - 1));
    }
  }
  return view<1>(rows, {keep.shape(0)});
}

void dense(const py::object& p_in, const py::object& m_in, const py::object& v_in, const py::object& g_in, float g_scale,
           const AdamRule& rule, const py::object& alpha, const py::object& keep) {
  const std::string who = "adam_dense";
  if (!py::isinstance<py::array>(p_in)) throw py::type_error(who + ": p is not a NumPy array");
  const auto parameter = py::reinterpret_borrow<py::array>(p_in);
  const std::vector<index_t> shape = shape_of(parameter);
  const History history(who, alpha, keep);
  float* p = in_place({who, "p"}, p_in, shape);
  float* m = in_place({who, "m"}, m_in, shape);
  float* v = in_place({who, "v"}, v_in, shape);
  const float* g = contiguous({who, "g"}, g_in, shape);
  const index_t n = parameter.size();
  const py::gil_scoped_release unlocked;
  adam_dense(rule, history.view, n, p, m, v, g, g_scale);
}

void rows(const py::object& p, const py::object& m, const py::object& v, const py::object& last, const py::object& rows_in,
          const py::object& g_in, float g_scale, const AdamRule& rule, const py::object& alpha, const py::object& keep) {
  const std::string who = "adam_rows";
  const History history(who, alpha, keep);
  const Table table(who, p, m, v, last);
  py::array kept_rows;
  const auto row_view = checked_rows(who, rows_in, table.view.p.shape[0], kept_rows);
  const std::array<index_t, 2> shape{row_view.shape[0], table.view.p.shape[1]};
  const auto g = view<2>(contiguous({who, "g"}, g_in, {shape[0], shape[1]}), shape);
  const py::gil_scoped_release unlocked;
  adam_rows(rule, history.view, table.view, row_view, g, g_scale);
}

void catch_up(const py::object& p, const py::object& m, const py::object& v, const py::object& last, const py::object& rows_in,
              const AdamRule& rule, const py::object& alpha, const py::object& keep) {
  const std::string who = "adam_catch_up";
  const History history(who, alpha, keep);
  const Table table(who, p, m, v, last);
  py::array kept_rows;
  View<const index_t, 1> row_view{};
  if (!rows_in.is_none()) row_view = checked_rows(who, rows_in, table.view.p.shape[0], kept_rows);
  const py::gil_scoped_release unlocked;
  adam_catch_up(rule, history.view, table.view, row_view);
}

}  // namespace

void bind_adam(py::module_& m) {
  py::class_<AdamRule>(m, "AdamRule")
      .def(py::init([](float beta1, float beta2, float epsilon) { return AdamRule{beta1, beta2, epsilon}; }), py::kw_only(),
           py::arg("beta1"), py::arg("beta2"), py::arg("epsilon"));
  m.def("adam_dense", dense, py::arg("p"), py::arg("m"), py::arg("v"), py::arg("g"), py::arg("g_scale"), py::arg("rule"),
        py::arg("alpha"), py::arg("keep"));
  m.def("adam_rows", rows, py::arg("p"), py::arg("m"), py::arg("v"), py::arg("last_step"), py::arg("rows"), py::arg("g"),
        py::arg("g_scale"), py::arg("rule"), py::arg("alpha"), py::arg("keep"));
  m.def("adam_catch_up", catch_up, py::arg("p"), py::arg("m"), py::arg("v"), py::arg("last_step"), py::arg("rows"),
        py::arg("rule"), py::arg("alpha"), py::arg("keep"));
}

}  // namespace rnnext
