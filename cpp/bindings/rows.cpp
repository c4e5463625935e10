// matmul, matmul_transposed: dense layers. sum_rows: the gradient of a table whose rows were copied together by ids.
// scale_steps: a dropout that is the same in all steps. draw_places: zoneout's choice for each step and unit.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "../dispatch.h"
#include "../matmul.h"
#include "../parallel.h"
#include "arrays.h"
#include "module.h"
#include "without_gil.h"

namespace rnnext {
namespace {

// How many threads share so many elements.
int threads_for_elements(index_t count) {
  constexpr index_t worth_a_thread = 1 << 16;
  return static_cast<int>(std::clamp<index_t>(count / worth_a_thread, 1, num_threads()));
}

template <class Real>
py::tuple sum_rows(const py::object& ids_in, const py::object& d_in, index_t table_rows) {
  const std::string who = "sum_rows";
  const Argument ids_argument{who, "ids"};
  const Argument d_argument{who, "d"};
  const py::array ids = aligned_array<std::int32_t>(ids_argument.require<std::int32_t>(ids_in, 2, "[B, T]"));
  py::array d = d_argument.require<Real>(d_in, 3, "[B, T, D]");
  d_argument.expect_shape(d, {ids.shape(0), ids.shape(1), d.shape(2)}, "[B, T, D]");
  d = aligned_array<Real>(d);
  if (table_rows < 0) {
    throw py::value_error(who + ": table_rows is " + std::to_string(table_rows) + ", expected at least 0");
  }
  const index_t tokens = ids.size();
  const index_t width = d.shape(2);
  const auto* id = static_cast<const std::int32_t*>(ids.data());
  std::vector<std::int32_t> place(static_cast<std::size_t>(table_rows), -1);
  std::vector<std::int32_t> used;
  for (index_t i = 0; i < tokens; ++i) {
    if (id[i] < 0 || id[i] >= table_rows) {
      ids_argument.fail("has " + std::to_string(id[i]) + ", expected 0 to " + std::to_string(table_rows - 1));
    }
    auto& at = place[static_cast<std::size_t>(id[i])];
    if (at < 0) used.push_back(id[i]);
    at = 0;
  }
  std::sort(used.begin(), used.end());
  for (std::size_t n = 0; n < used.size(); ++n) place[static_cast<std::size_t>(used[n])] = static_cast<std::int32_t>(n);
  py::array_t<index_t> rows(static_cast<py::ssize_t>(used.size()));
  std::copy(used.begin(), used.end(), rows.mutable_data());
  auto [sums, sums_view] = new_array<Real, 2>({static_cast<index_t>(used.size()), width});
  {
    const WithoutGil unlocked;
    std::fill_n(sums_view.data, static_cast<index_t>(used.size()) * width, Real{0});
    const auto* from = static_cast<const Real*>(d.data());
    for (index_t i = 0; i < tokens; ++i, from += width) {
      Real* to = sums_view.data + place[static_cast<std::size_t>(id[i])] * width;
      for (index_t j = 0; j < width; ++j) to[j] += from[j];
    }
  }
  return py::make_tuple(rows, sums);
}

template <class Real>
py::array scale_steps(const py::object& x_in, const py::object& scale_in) {
  const Argument x_argument{"scale_steps", "x"};
  const Argument scale_argument{"scale_steps", "scale"};
  const py::array x = aligned_array<Real>(x_argument.require<Real>(x_in, 3, "[B, T, D]"));
  py::array scale = scale_argument.require<Real>(scale_in, 3, "[B, 1, D]");
  const index_t rows = x.shape(0), steps = x.shape(1), width = x.shape(2);
  scale_argument.expect_shape(scale, {rows, 1, width}, "[B, 1, D]");
  scale = aligned_array<Real>(scale);
  auto [y, y_view] = new_array<Real, 3>({rows, steps, width});
  const auto* from = static_cast<const Real*>(x.data());
  const auto* by = static_cast<const Real*>(scale.data());
  Real* to = y_view.data;
  const auto& k = recurrent_kernels<Real>();
  {
    const WithoutGil unlocked;
    parallel(threads_for_elements(rows * steps * width), [&](const Member& member) {
      const Range mine = share(rows * steps, member.id, member.size);
      for (index_t i = mine.begin; i < mine.end; ++i)
        k.multiply(from + i * width, by + i / steps * width, width, to + i * width);
    });
  }
  return y;
}

// Number `number` of the sequence of SplitMix64 (Steele, Lea, Flood 2014) from `seed`: 64 bits. Any number of the sequence can
// be computed without those before it, so threads can share the work.
std::uint64_t bits_of(std::uint64_t seed, index_t number) {
  std::uint64_t z = seed + (static_cast<std::uint64_t>(number) + 1) * 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

// 16 bits decide each place: 1 where they are less than `below`, else 0.
template <class Real>
py::array draw_places(std::uint64_t seed, std::uint32_t below, index_t count) {
  constexpr index_t numbers = 128;
  constexpr index_t chunk = numbers * 4;  // places
  auto [places, view] = new_array<Real, 1>({count});
  Real* to = view.data;
  {  // counting references to what is returned needs the lock again
    const WithoutGil unlocked;
    parallel(threads_for_elements(count), [&](const Member& member) {
      std::array<std::uint64_t, numbers> bits;
      std::array<std::uint16_t, chunk> drawn;
      const Range mine = share((count + chunk - 1) / chunk, member.id, member.size);
      for (index_t c = mine.begin; c < mine.end; ++c) {
        for (index_t n = 0; n < numbers; ++n) bits[static_cast<std::size_t>(n)] = bits_of(seed, c * numbers + n);
        std::memcpy(drawn.data(), bits.data(), sizeof bits);
        const index_t end = std::min(chunk, count - c * chunk);
        for (index_t i = 0; i < end; ++i) to[c * chunk + i] = drawn[static_cast<std::size_t>(i)] < below ? Real{1} : Real{0};
      }
    });
  }
  return places;
}

// What `multiply` makes of a [N, K] and b, whose rows are as many as a has of its axis `shared`.
py::array multiplied(void (*multiply)(View<const float, 2>, View<const float, 2>, View<float, 2>), const Argument& a_argument,
                     const py::object& a_in, const Argument& b_argument, const py::object& b_in, const std::string& b_symbols,
                     int shared) {
  const py::array a = with_contiguous_rows<float>(a_argument.require<float>(a_in, 2, "[N, K]"));
  py::array b = b_argument.require<float>(b_in, 2, b_symbols);
  b_argument.expect_shape(b, {a.shape(shared), b.shape(1)}, b_symbols);
  if (!is_viewable(b)) b = aligned_array<float>(b);
  auto [c, view] = new_array<float, 2>({a.shape(1 - shared), b.shape(1)});
  {
    const WithoutGil unlocked;
    multiply(view_of<float, 2>(a), view_of<float, 2>(b), view);
  }
  return c;
}

}  // namespace

void bind_rows(py::module_& m) {
  m.def(
      "matmul",
      [](const py::object& a, const py::object& b) {
        return multiplied(matmul, {"matmul", "a"}, a, {"matmul", "b"}, b, "[K, M]", 1);
      },
      py::arg("a"), py::arg("b"));
  m.def(
      "matmul_transposed",
      [](const py::object& a, const py::object& d) {
        return multiplied(matmul_transposed, {"matmul_transposed", "a"}, a, {"matmul_transposed", "d"}, d, "[N, M]", 0);
      },
      py::arg("a"), py::arg("d"));
  m.def(
      "sum_rows",
      [](const py::object& ids, const py::object& d, index_t table_rows) {
        return holds<double>(d) ? sum_rows<double>(ids, d, table_rows) : sum_rows<float>(ids, d, table_rows);
      },
      py::arg("ids"), py::arg("d"), py::arg("table_rows"));
  m.def(
      "scale_steps",
      [](const py::object& x, const py::object& scale) {
        return holds<double>(x) ? scale_steps<double>(x, scale) : scale_steps<float>(x, scale);
      },
      py::arg("x"), py::arg("scale"));
  m.def(
      "draw_places",
      [](std::uint64_t seed, double rate, index_t count, bool float64) {
        if (!(rate >= 0.0 && rate <= 1.0))
          throw py::value_error("draw_places: rate is " + std::to_string(rate) + ", expected 0 to 1");
        if (count < 0) throw py::value_error("draw_places: count is " + std::to_string(count) + ", expected at least 0");
        const auto below = static_cast<std::uint32_t>(std::lround(rate * 65536.0));
        return float64 ? draw_places<double>(seed, below, count) : draw_places<float>(seed, below, count);
      },
      py::arg("seed"), py::arg("rate"), py::arg("count"), py::arg("float64") = false);
}

}  // namespace rnnext
