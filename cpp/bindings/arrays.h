// Python's arrays as checked views, and new arrays. Every error names the function, the argument, what came and what was
// expected.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <array>
#include <initializer_list>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "../buffer.h"
#include "../view.h"

namespace rnnext {

namespace py = pybind11;

// A C-contiguous array at an address that is aligned for T, which not every view of NumPy's is. Constructed from an array it is
// that array or, where it must be, a copy.
template <class T>
using aligned_array = py::array_t<T, static_cast<int>(py::array::c_style) | py::detail::npy_api::NPY_ARRAY_ALIGNED_>;

inline std::string describe(const std::vector<index_t>& shape) {
  std::string text = "(";
  for (std::size_t i = 0; i < shape.size(); ++i) text += (i > 0 ? ", " : "") + std::to_string(shape[i]);
  return text + (shape.size() == 1 ? ",)" : ")");
}

inline std::vector<index_t> shape_of(const py::array& array) { return {array.shape(), array.shape() + array.ndim()}; }

inline std::string type_name(const py::object& object) { return py::str(py::type::of(object).attr("__name__")); }

template <class T>
bool holds(const py::object& object) {
  return py::isinstance<py::array>(object) && py::reinterpret_borrow<py::array>(object).dtype().equal(py::dtype::of<T>());
}

// One argument of one function, for what its errors say.
struct Argument {
  std::string function;
  std::string name;

  [[noreturn]] void fail(const std::string& what) const { throw py::value_error(function + ": " + name + " " + what); }

  void expect_shape(const py::array& array, std::initializer_list<index_t> expected, const std::string& symbols) const {
    if (shape_of(array) != std::vector<index_t>(expected)) {
      fail("has shape " + describe(shape_of(array)) + ", expected " + describe(expected) + " = " + symbols);
    }
  }

  template <class T>
  py::array require(const py::object& object, int rank, const std::string& symbols) const {
    if (!py::isinstance<py::array>(object)) {
      throw py::type_error(function + ": " + name + " is a " + type_name(object) + ", expected a NumPy array");
    }
    auto array = py::reinterpret_borrow<py::array>(object);
    if (!array.dtype().is(py::dtype::of<T>()) && !array.dtype().equal(py::dtype::of<T>())) {
      throw py::type_error(function + ": " + name + " has dtype " + std::string(py::str(array.dtype())) + ", expected " +
                           std::string(py::str(py::dtype::of<T>())));
    }
    if (array.ndim() != rank) {
      fail("has shape " + describe(shape_of(array)) + ", expected " + symbols + " (" + std::to_string(rank) + " dimensions)");
    }
    return array;
  }
};

// Whether it is aligned, and its strides are whole elements.
inline bool is_viewable(const py::array& array) {
  bool whole_strides = true;
  for (py::ssize_t d = 0; d < array.ndim(); ++d) whole_strides &= array.strides(d) % array.itemsize() == 0;
  return whole_strides && (array.flags() & py::detail::npy_api::NPY_ARRAY_ALIGNED_) != 0;
}

// The array itself if its rows are contiguous and it is aligned, else a copy.
template <class Real>
py::array with_contiguous_rows(const py::array& array) {
  const auto last = array.ndim() - 1;
  const bool rows = array.shape(last) <= 1 || array.strides(last) == array.itemsize();
  if (rows && is_viewable(array)) return array;
  return aligned_array<Real>(array);
}

template <class Real, int Rank>
View<const Real, Rank> view_of(const py::array& array) {
  View<const Real, Rank> v;
  v.data = static_cast<const Real*>(array.data());
  for (int d = 0; d < Rank; ++d) {
    const auto i = static_cast<std::size_t>(d);
    v.shape[i] = array.shape(d);
    v.strides[i] = array.strides(d) / array.itemsize();
  }
  return v;
}

// A new array whose memory goes back to the engine's kept blocks.
template <class Real, int Rank>
std::pair<py::array, View<Real, Rank>> new_array(std::array<index_t, Rank> shape) {
  index_t count = 1;
  for (const index_t n : shape) {
    if (__builtin_mul_overflow(count, n, &count)) throw std::bad_alloc();
  }
  auto* buffer = new Buffer<Real>(static_cast<std::size_t>(count));
  const py::capsule owner(buffer, [](void* p) { delete static_cast<Buffer<Real>*>(p); });
  if (buffer->data() == nullptr) {  // nothing in it
    py::array_t<Real> empty(std::vector<py::ssize_t>(shape.begin(), shape.end()));
    return {empty, view<Rank>(empty.mutable_data(), shape)};
  }
  py::array array(py::dtype::of<Real>(), std::vector<py::ssize_t>(shape.begin(), shape.end()), buffer->data(), owner);
  return {std::move(array), view<Rank>(buffer->data(), shape)};
}

}  // namespace rnnext
