// The extension module: its parts, the configuration, and what tests and benchmarks measure by.
#include "module.h"

#include <pybind11/stl.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <vector>

#include "../dispatch.h"
#include "../parallel.h"
#include "arrays.h"
#include "without_gil.h"

namespace rnnext {
namespace {

py::array elementwise(void (*function)(const float*, float*, index_t), const char* who, const py::object& x_in) {
  if (!py::isinstance<py::array>(x_in)) throw py::type_error(std::string(who) + ": x is not a NumPy array");
  auto input = py::reinterpret_borrow<py::array>(x_in);
  const Argument argument{who, "x"};
  const py::array x = aligned_array<float>(argument.require<float>(input, static_cast<int>(input.ndim()), ""));
  py::array_t<float> y(std::vector<py::ssize_t>(x.shape(), x.shape() + x.ndim()));
  parallel(1, [&](const Member&) { function(static_cast<const float*>(x.data()), y.mutable_data(), x.size()); });
  return y;
}

void expect_threads(const std::string& who, const std::string& name, int count) {
  if (count < 1 || count > most_threads) {
    throw py::value_error(who + ": " + name + " is " + std::to_string(count) + ", expected 1 to " +
                          std::to_string(most_threads));
  }
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Operations a second of nothing but fused multiply-adds, in each of many short turns.
std::vector<double> fma_rates(int threads) {
  expect_threads("fma_rates", "threads", threads);
  const KernelTable& k = kernels();
  constexpr index_t n = 400'000;
  std::atomic<float> sink{0.0f};
  std::vector<double> rates(400);
  const WithoutGil unlocked;
  for (double& rate : rates) {
    int team = 1;
    const auto start = std::chrono::steady_clock::now();
    parallel(threads, [&](const Member& member) {
      sink = k.fma_chains(n);
      if (member.id == 0) team = member.size;
    });
    rate = 2.0 * static_cast<double>(n) * k.f32.lanes * k.fma_chain_count * team / seconds_since(start);
  }
  return rates;
}

// Bytes a second read from memory, best of several passes over an array that no cache holds.
double read_bandwidth(int threads) {
  expect_threads("read_bandwidth", "threads", threads);
  const KernelTable& k = kernels();
  constexpr std::size_t floats = std::size_t{64} << 20;
  std::atomic<float> sink{0.0f};
  double best = 0.0;
  const WithoutGil unlocked;
  const std::vector<float> memory(floats, 1.0f);
  for (int pass = 0; pass < 5; ++pass) {
    const auto start = std::chrono::steady_clock::now();
    parallel(threads, [&](const Member& member) {
      const Range part = share(static_cast<std::ptrdiff_t>(floats), member.id, member.size);
      sink = k.read_all(memory.data() + part.begin, part.end - part.begin);
    });
    best = std::max(best, static_cast<double>(floats * sizeof(float)) / seconds_since(start));
  }
  return best;
}

std::string compiler() {
#if defined(__clang__)
  return "Clang " + std::to_string(__clang_major__) + "." + std::to_string(__clang_minor__);
#else
  return "GCC " + std::to_string(__GNUC__) + "." + std::to_string(__GNUC_MINOR__);
#endif
}

py::dict config() {
  py::dict d;
  d["compiler"] = compiler();
  d["openmp"] = openmp_available();
  d["isas_compiled"] = compiled_isas();
  d["isas_available"] = available_isas();
  d["isa"] = kernels().name;
  d["threads"] = num_threads();
  return d;
}

}  // namespace
}  // namespace rnnext

PYBIND11_MODULE(_core, m) {
  using namespace rnnext;
  kernels();  // a bad RNNEXT_ISA is said at import, not in the middle of a training run
  bind_recurrent(m);
  bind_optimizers(m);
  bind_rows(m);
  m.def("sigmoid", [](const py::object& x) { return elementwise(kernels().sigmoid, "sigmoid", x); }, py::arg("x"));
  m.def("tanh", [](const py::object& x) { return elementwise(kernels().tanh, "tanh", x); }, py::arg("x"));
  m.def("get_num_threads", num_threads);
  m.def(
      "set_num_threads",
      [](int count) {
        expect_threads("set_num_threads", "count", count);
        set_num_threads(count);
      },
      py::arg("count"));
  m.def("isa", [] { return std::string(kernels().name); });
  m.def("config", config);
  m.def("fma_rates", fma_rates, py::arg("threads"));
  m.def("read_bandwidth", read_bandwidth, py::arg("threads"));
}
