// The optimizers' steps in place. Every array is checked before any is changed.
#include "../optimizers.h"

#include <pybind11/stl.h>

#include <unordered_set>

#include "arrays.h"
#include "module.h"
#include "without_gil.h"

namespace rnnext {
namespace {

// An array that is changed in place: float32, C-contiguous, writeable.
float* in_place(const Argument& argument, const py::object& object, const std::vector<index_t>& shape) {
  const py::array array = argument.require<float>(object, static_cast<int>(shape.size()), describe(shape));
  if (shape_of(array) != shape) argument.fail("has shape " + describe(shape_of(array)) + ", expected " + describe(shape));
  if ((array.flags() & py::array::c_style) == 0 || !array.writeable()) {
    argument.fail("is changed in place, expected a writeable C-contiguous array");
  }
  return static_cast<float*>(const_cast<void*>(array.data()));
}

OptimizerOptions parse_options(const std::string& optimizer, double momentum, bool nesterov, double rho, bool centered,
                               double beta_1, double beta_2, bool amsgrad, double epsilon) {
  OptimizerOptions o{};
  if (optimizer == "sgd") {
    o.optimizer = Optimizer::sgd;
  } else if (optimizer == "rmsprop") {
    o.optimizer = Optimizer::rmsprop;
  } else if (optimizer == "adam") {
    o.optimizer = Optimizer::adam;
  } else {
    throw py::value_error("OptimizerRule: optimizer is '" + optimizer + "', expected 'sgd', 'rmsprop' or 'adam'");
  }
  for (const auto& [name, value] : {std::pair{"momentum", momentum}, {"rho", rho}, {"beta_1", beta_1}, {"beta_2", beta_2}}) {
    if (!(value >= 0.0 && value <= 1.0)) {
      throw py::value_error("OptimizerRule: " + std::string(name) + " is " + std::to_string(value) + ", expected 0 to 1");
    }
  }
  if (!(epsilon >= 0.0))
    throw py::value_error("OptimizerRule: epsilon is " + std::to_string(epsilon) + ", expected at least 0");
  o.momentum = momentum;
  o.nesterov = nesterov;
  o.rho = rho;
  o.centered = centered;
  o.beta1 = beta_1;
  o.beta2 = beta_2;
  o.amsgrad = amsgrad;
  o.epsilon = epsilon;
  return o;
}

// A parameter as Python holds it: the arrays live as long as this does.
struct PyParameter {
  PyParameter(const std::shared_ptr<OptimizerRule>& rule, std::string name_in, const py::object& p,
              const std::array<py::object, slot_count>& slots)
      : rule(rule), name(std::move(name_in)) {
    if (!py::isinstance<py::array>(p)) throw py::type_error("OptimizedParameter: p of " + name + " is not a NumPy array");
    value = py::reinterpret_borrow<py::array>(p);
    shape = shape_of(value);
    kept = {p, slots[0], slots[1], slots[2]};
  }

  static std::unique_ptr<PyParameter> make(const std::shared_ptr<OptimizerRule>& rule, std::string name, const py::object& p,
                                           const std::array<py::object, slot_count>& slots, bool decays) {
    auto self = std::make_unique<PyParameter>(rule, std::move(name), p, slots);
    std::array<float*, slot_count> addresses{};
    for (std::size_t k = 0; k < slot_count; ++k) {
      const Argument argument{"OptimizedParameter", "slots[" + std::to_string(k) + "] of " + self->name};
      if (slots[k].is_none() == rule->has_slot[k])
        argument.fail(rule->has_slot[k] ? "is None, expected an array" : "is not None");
      if (rule->has_slot[k]) addresses[k] = in_place(argument, slots[k], self->shape);
    }
    float* address = in_place({"OptimizedParameter", "p of " + self->name}, p, self->shape);
    const index_t rows = self->shape.empty() ? 1 : self->shape[0];
    index_t width = 1;
    for (std::size_t d = 1; d < self->shape.size(); ++d) width *= self->shape[d];
    self->engine = std::make_unique<OptimizedParameter>(rule, rows, width, address, addresses, decays);
    return self;
  }

  std::shared_ptr<OptimizerRule> rule;
  std::string name;
  py::array value;
  std::vector<index_t> shape;
  std::array<py::object, slot_count + 1> kept;
  std::unique_ptr<OptimizedParameter> engine;
};

void settle_rows(PyParameter& self, const py::array& rows) {
  const py::array whole = py::array::ensure(rows, py::array::c_style);
  if (!whole) throw std::bad_alloc();
  const auto settle = [&](auto id) {
    const auto* ids = static_cast<const decltype(id)*>(whole.data());
    const index_t count = whole.size();
    const WithoutGil unlocked;
    self.engine->settle_rows(ids, count);
  };
  if (whole.dtype().equal(py::dtype::of<std::int32_t>())) return settle(std::int32_t{});
  if (whole.dtype().equal(py::dtype::of<std::int64_t>())) return settle(std::int64_t{});
  throw py::type_error("settle_rows: rows has dtype " + std::string(py::str(rows.dtype())) + ", expected int32 or int64");
}

template <class T>
py::array as_array(const std::vector<T>& values, const std::vector<index_t>& shape) {
  py::array_t<T> array(std::vector<py::ssize_t>(shape.begin(), shape.end()));
  std::copy(values.begin(), values.end(), array.mutable_data());
  return array;
}

template <class T>
std::vector<T> as_vector(const Argument& argument, const py::object& object, const std::vector<index_t>& shape) {
  const py::array array = argument.require<T>(object, static_cast<int>(shape.size()), describe(shape));
  if (shape_of(array) != shape) argument.fail("has shape " + describe(shape_of(array)) + ", expected " + describe(shape));
  const auto whole = aligned_array<T>(array);
  return {whole.data(), whole.data() + whole.size()};
}

py::object pending(PyParameter& self) {
  std::optional<OptimizedParameter::Pending> found;
  {
    const WithoutGil unlocked;
    found = self.engine->pending();
  }
  if (!found) return py::none();
  py::dict d;
  if (!found->anchor.empty()) d["anchor"] = as_array(found->anchor, self.shape);
  d["last"] = as_array(found->last, {self.engine->rows()});
  d["rates"] = as_array(found->rates, {static_cast<index_t>(found->rates.size())});
  d["decays"] = as_array(found->decays, {static_cast<index_t>(found->decays.size())});
  return d;
}

// Checks what pending() returned once, and puts it into place unless `check_only`.
void restore(PyParameter& self, const py::object& object, bool check_only) {
  std::optional<OptimizedParameter::Pending> found;
  if (!object.is_none()) {
    const auto d = py::cast<py::dict>(object);
    const auto argument = [&](const char* key) { return Argument{"load_state", std::string(key) + " of " + self.name}; };
    const auto item = [&](const char* key) {
      if (!d.contains(key)) throw py::value_error("load_state: " + std::string(key) + " of " + self.name + " is missing");
      return py::object(d[key]);
    };
    OptimizedParameter::Pending p;
    const py::array rates = argument("rates").require<double>(item("rates"), 1, "[steps]");
    if (rates.size() > OptimizerRule::period) argument("rates").fail("has " + std::to_string(rates.size()) + " steps");
    p.rates = as_vector<double>(argument("rates"), rates, {rates.size()});
    p.decays = as_vector<double>(argument("decays"), item("decays"), {rates.size()});
    p.last = as_vector<std::int32_t>(argument("last"), item("last"), {self.engine->rows()});
    for (const std::int32_t step : p.last) {
      if (step < 0 || step > rates.size()) {
        argument("last").fail("has step " + std::to_string(step) + ", expected 0 to " + std::to_string(rates.size()));
      }
    }
    const bool moves = std::any_of(p.decays.begin(), p.decays.end(), [](double decay) { return decay != 0.0; });
    if (self.rule->reach > 0 || moves || d.contains("anchor")) {
      p.anchor = as_vector<float>(argument("anchor"), item("anchor"), self.shape);
    }
    found = std::move(p);
  }
  if (check_only) return;
  const WithoutGil unlocked;
  self.engine->restore(found);
}

// A gradient as a list of arrays, or tuples (rows, values), gives it.
ParameterGradient checked_gradient(const PyParameter& parameter, const py::handle& object, std::vector<py::array>& kept) {
  const std::string who = "apply";
  const Argument argument{who, "the gradient of " + parameter.name};
  ParameterGradient gradient{parameter.engine.get(), nullptr, nullptr, 0};
  std::vector<index_t> shape = parameter.shape;
  auto values = py::reinterpret_borrow<py::object>(object);
  if (py::isinstance<py::tuple>(object)) {
    if (shape.empty()) argument.fail("has rows, expected an array, as the parameter has none");
    const auto pair = py::reinterpret_borrow<py::tuple>(object);
    const Argument rows_argument{who, "rows of the gradient of " + parameter.name};
    kept.push_back(aligned_array<index_t>(rows_argument.require<index_t>(pair[0], 1, "[N]")));
    gradient.rows = static_cast<const index_t*>(kept.back().data());
    gradient.count = kept.back().shape(0);
    for (index_t i = 0; i < gradient.count; ++i) {
      const index_t row = gradient.rows[i];
      if (row < 0 || row >= shape[0] || (i > 0 && row <= gradient.rows[i - 1])) {
        rows_argument.fail("has " + std::to_string(row) + " at " + std::to_string(i) + ", expected ascending rows from 0 to " +
                           std::to_string(shape[0] - 1));
      }
    }
    shape[0] = gradient.count;
    values = pair[1];
  }
  const py::array array = argument.require<float>(values, static_cast<int>(shape.size()), describe(shape));
  if (shape_of(array) != shape) argument.fail("has shape " + describe(shape_of(array)) + ", expected " + describe(shape));
  kept.push_back(aligned_array<float>(array));
  gradient.g = static_cast<const float*>(kept.back().data());
  return gradient;
}

void step(const OptimizerRule& rule, const py::list& parameters, const py::list& gradients, double rate, double decay,
          double clipnorm, double global_clipnorm, double clipvalue) {
  if (parameters.size() != gradients.size()) {
    throw py::value_error("apply: gradients has " + std::to_string(gradients.size()) + " entries, expected " +
                          std::to_string(parameters.size()) + ", one for each parameter");
  }
  std::vector<py::array> kept;
  std::vector<ParameterGradient> checked;
  std::unordered_set<const PyParameter*> seen;
  for (std::size_t k = 0; k < parameters.size(); ++k) {
    const py::object given = parameters[k];
    if (!py::isinstance<PyParameter>(given)) {
      throw py::type_error("apply: parameters has a " + type_name(given) + " at " + std::to_string(k) +
                           ", expected OptimizedParameters alone");
    }
    const auto& parameter = given.cast<const PyParameter&>();
    if (!seen.insert(&parameter).second) {
      throw py::value_error("apply: parameters has " + parameter.name + " twice, expected each parameter once");
    }
    checked.push_back(checked_gradient(parameter, gradients[k], kept));
  }
  const WithoutGil unlocked;
  optimizer_step(rule, checked, rate, decay, {clipnorm, global_clipnorm, clipvalue});
}

}  // namespace

void bind_optimizers(py::module_& m) {
  py::class_<OptimizerRule, std::shared_ptr<OptimizerRule>>(m, "OptimizerRule")
      .def(py::init([](const std::string& optimizer, double momentum, bool nesterov, double rho, bool centered, double beta_1,
                       double beta_2, bool amsgrad, double epsilon) {
             return std::make_shared<OptimizerRule>(
                 parse_options(optimizer, momentum, nesterov, rho, centered, beta_1, beta_2, amsgrad, epsilon));
           }),
           py::arg("optimizer"), py::kw_only(), py::arg("momentum") = 0.0, py::arg("nesterov") = false, py::arg("rho") = 0.0,
           py::arg("centered") = false, py::arg("beta_1") = 0.0, py::arg("beta_2") = 0.0, py::arg("amsgrad") = false,
           py::arg("epsilon") = 0.0);
  py::class_<PyParameter>(m, "OptimizedParameter")
      .def(py::init(&PyParameter::make), py::arg("rule").none(false), py::arg("name"), py::arg("p"), py::arg("slots"),
           py::kw_only(), py::arg("decays"))
      .def(
          "settle", [](PyParameter& self) { self.engine->settle(); }, py::call_guard<WithoutGil>())
      .def("settle_rows", settle_rows, py::arg("rows"))
      .def(
          "accept", [](PyParameter& self) { self.engine->accept(); }, py::call_guard<WithoutGil>())
      .def("pending", pending)
      .def(
          "check", [](PyParameter& self, const py::object& pending) { restore(self, pending, true); }, py::arg("pending"))
      .def("restore", [](PyParameter& self, const py::object& pending) { restore(self, pending, false); }, py::arg("pending"));
  m.def("optimizer_step", step, py::arg("rule"), py::arg("parameters"), py::arg("gradients"), py::kw_only(), py::arg("rate"),
        py::arg("decay"), py::arg("clipnorm"), py::arg("global_clipnorm"), py::arg("clipvalue"));
}

}  // namespace rnnext
