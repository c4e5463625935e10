#include "pack.h"

#include <algorithm>

namespace rnnext {

BlockSigns block_signs(const CellTraits& cell, bool update_gate_writes) {
  BlockSigns signs{{1.0f, 1.0f, 1.0f, 1.0f}};
  if (update_gate_writes && cell.update_block >= 0) signs.of[static_cast<std::size_t>(cell.update_block)] = -1.0f;
  return signs;
}

BlockSigns weight_signs(const CellTraits& cell, bool update_gate_writes) {
  return block_signs(cell, update_gate_writes && !cell.has_norm);
}

namespace {

// Rows of a weight that are visited together: enough for whole cache lines on both sides, few enough for the TLB to hold their
// pages.
constexpr index_t near_rows = 4;

struct Block {
  index_t column;  // of Keras's kernel
  float sign;
};

Block block(const Operand& op, const BlockSigns& signs, index_t units, int slot) {
  const auto b = static_cast<std::size_t>(op.blocks[static_cast<std::size_t>(slot)]);
  return {static_cast<index_t>(b) * units, signs.of[b]};
}

constexpr index_t line = 16;  // floats of a cache line, doubles of two

template <index_t WIDTH, class Real>
void scale_whole(const Real* __restrict from, float sign, Real* __restrict to) {
  for (index_t i = 0; i < WIDTH; ++i) to[i] = sign * from[i];
}

// Almost every panel is as wide as a vector: then the compiler knows the width.
template <class Real>
void scale(const Real* __restrict from, index_t width, float sign, Real* __restrict to) {
  if (width == 16) return scale_whole<16>(from, sign, to);
  if (width == 8) return scale_whole<8>(from, sign, to);
  if (width == 4) return scale_whole<4>(from, sign, to);
  for (index_t i = 0; i < width; ++i) to[i] = sign * from[i];
}

// to[c, r] = sign * from[r, c]
template <class Real>
void transpose(const Real* __restrict from, index_t from_stride, index_t rows, index_t columns, float sign, Real* __restrict to,
               index_t to_stride) {
  if (rows == line && columns == line) {
    for (index_t c = 0; c < line; ++c) {
      for (index_t r = 0; r < line; ++r) to[c * to_stride + r] = sign * from[r * from_stride + c];
    }
  } else {
    for (index_t c = 0; c < columns; ++c) {
      for (index_t r = 0; r < rows; ++r) to[c * to_stride + r] = sign * from[r * from_stride + c];
    }
  }
}

}  // namespace

template <class Real>
void pack_gates(View<const Real, 2> w, const Operand& op, const BlockSigns& signs, const PanelLayout& layout, index_t begin,
                index_t end, Real* packed) {
  const index_t rows = w.shape[0];
  for (index_t first = 0; first < rows; first += near_rows) {
    const index_t last = std::min(first + near_rows, rows);
    for (index_t p = begin; p < end; ++p) {
      const index_t width = layout.width(p);
      const index_t row_size = layout.row_size(op, p);
      for (index_t k = first; k < last; ++k) {
        Real* to = packed + layout.panel_offset(op, p, rows) + k * row_size;
        for (int slot = 0; slot < op.slots; ++slot) {
          const auto [column, sign] = block(op, signs, layout.units, slot);
          scale(&w(k, column + p * layout.lanes), width, sign, to + slot * width);
        }
        std::fill(to + op.slots * width, to + row_size, Real{0});
      }
    }
  }
}

template <class Real>
void unpack_gates(const Real* packed, const Operand& op, const BlockSigns& signs, const PanelLayout& layout, index_t begin,
                  index_t end, View<Real, 2> dw) {
  for (index_t first = begin; first < end; first += near_rows) {
    const index_t last = std::min(first + near_rows, end);
    for (index_t p = 0; p < layout.panels(); ++p) {
      const index_t width = layout.width(p);
      const index_t row_size = layout.row_size(op, p);
      for (index_t k = first; k < last; ++k) {
        const Real* from = packed + layout.panel_offset(op, p, dw.shape[0]) + k * row_size;
        for (int slot = 0; slot < op.slots; ++slot) {
          const auto [column, sign] = block(op, signs, layout.units, slot);
          scale(from + slot * width, width, sign, &dw(k, column + p * layout.lanes));
        }
      }
    }
  }
}

std::vector<index_t> equal_runs(index_t columns, index_t run) {
  std::vector<index_t> begins;
  for (index_t begin = 0; begin < columns; begin += run) begins.push_back(begin);
  begins.push_back(columns);
  return begins;
}

std::vector<index_t> even_runs(index_t columns, index_t lanes, index_t most) {
  const index_t vectors = (columns + lanes - 1) / lanes;
  const index_t count = (vectors + most - 1) / most;
  std::vector<index_t> begins;
  for (index_t r = 0; r < count; ++r) begins.push_back(vectors * r / count * lanes);
  begins.push_back(columns);
  return begins;
}

index_t transposed_size(index_t columns, const Operand& op, const PanelLayout& layout) {
  return layout.round_up(columns) * op.slots * layout.units;
}

template <class Real>
void pack_transposed(View<const Real, 2> w, const Operand& op, const BlockSigns& signs, const PanelLayout& layout,
                     const std::vector<index_t>& runs, index_t begin, index_t end, Real* packed) {
  const index_t depth = op.slots * layout.units;
  for (index_t r = begin; r < end; ++r) {
    const index_t run = runs[static_cast<std::size_t>(r)];
    const index_t width = runs[static_cast<std::size_t>(r) + 1] - run;
    const index_t row_size = layout.round_up(width);
    Real* const panel = packed + run * depth;
    // A cache line of every packed row at a time: whole lines are written, and few streams are read.
    for (index_t first = 0; first < width; first += line) {
      const index_t rows = std::min(line, width - first);
      for (int slot = 0; slot < op.slots; ++slot) {
        const auto [column, sign] = block(op, signs, layout.units, slot);
        for (index_t p = 0; p < layout.panels(); ++p) {
          const index_t lanes = layout.width(p);
          const index_t depth_before = p * layout.lanes * op.slots + slot * lanes;
          transpose(&w(run + first, column + p * layout.lanes), w.strides[0], rows, lanes, sign,
                    panel + depth_before * row_size + first, row_size);
        }
      }
    }
    for (index_t k = 0; k < depth; ++k) std::fill(panel + k * row_size + width, panel + (k + 1) * row_size, Real{0});
  }
}

#define RNNEXT_INSTANTIATE(Real)                                                                                         \
  template void pack_gates(View<const Real, 2>, const Operand&, const BlockSigns&, const PanelLayout&, index_t, index_t, \
                           Real*);                                                                                       \
  template void unpack_gates(const Real*, const Operand&, const BlockSigns&, const PanelLayout&, index_t, index_t,       \
                             View<Real, 2>);                                                                             \
  template void pack_transposed(View<const Real, 2>, const Operand&, const BlockSigns&, const PanelLayout&,              \
                                const std::vector<index_t>&, index_t, index_t, Real*);
RNNEXT_INSTANTIATE(float)
RNNEXT_INSTANTIATE(double)
#undef RNNEXT_INSTANTIATE

}  // namespace rnnext
