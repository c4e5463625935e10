// A typed view of an array that somebody else owns: pointer, shape, strides. Checks its indices in debug builds.
#pragma once

#include <array>
#include <cassert>
#include <concepts>
#include <cstddef>

#include "kernels.h"

namespace rnnext {

template <class T, int Rank>
struct View {
  T* data = nullptr;
  std::array<index_t, Rank> shape{};
  std::array<index_t, Rank> strides{};  // in elements

  explicit operator bool() const { return data != nullptr; }

  template <std::integral... I>
    requires(sizeof...(I) == Rank)
  T& operator()(I... indices) const {
    const std::array<index_t, Rank> at{static_cast<index_t>(indices)...};
    index_t offset = 0;
    for (std::size_t d = 0; d < Rank; ++d) {
      assert(at[d] >= 0 && at[d] < shape[d]);
      offset += at[d] * strides[d];
    }
    return data[offset];
  }
};

// A C-contiguous view.
template <int Rank, class T>
View<T, Rank> view(T* data, std::array<index_t, Rank> shape) {
  View<T, Rank> v{data, shape, {}};
  index_t stride = 1;
  for (int d = Rank - 1; d >= 0; --d) {
    const auto i = static_cast<std::size_t>(d);
    v.strides[i] = stride;
    stride *= shape[i];
  }
  return v;
}

}  // namespace rnnext
