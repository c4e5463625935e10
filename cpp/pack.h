// Weights from Keras's layout into the kernels' panels and gradients back. Knows layouts only.
//
// Gate panels: for each panel of `lanes` units [K][slot][lane], the last with its own lane count and rows rounded up to whole
// vectors. Transposed panels: for each run of plain columns [slot of D, in record order][column].
#pragma once

#include <vector>

#include "cells.h"
#include "view.h"

namespace rnnext {

struct PanelLayout {
  index_t units;
  index_t lanes;

  index_t full() const { return units / lanes; }
  index_t tail() const { return units % lanes; }
  index_t panels() const { return full() + (tail() > 0 ? 1 : 0); }
  index_t width(index_t panel) const { return panel < full() ? lanes : tail(); }
  // Floats of one packed row of a panel.
  index_t row_size(const Operand& op, index_t panel) const { return round_up(op.slots * width(panel)); }
  index_t round_up(index_t n) const { return (n + lanes - 1) / lanes * lanes; }
  // Floats of all panels for K rows, and where a panel begins.
  index_t panel_offset(const Operand& op, index_t panel, index_t rows) const { return panel * lanes * op.slots * rows; }
  index_t packed_size(const Operand& op, index_t rows) const {
    return panel_offset(op, full(), rows) + (tail() > 0 ? row_size(op, full()) * rows : 0);
  }
};

// Elements from row to row of a buffer: an odd number of whole cache lines, since rows that are a power of two apart fall on
// the same few sets of a cache.
template <class Real>
constexpr index_t row_stride(index_t width) {
  constexpr index_t line = 64 / sizeof(Real);
  return ((width + line - 1) / line | 1) * line;
}

// +1 or -1 for each of Keras's gate blocks: writing with the update gate instead of keeping is the same cell with that gate's
// weights negated, since 1 - σ(a) = σ(-a).
struct BlockSigns {
  std::array<float, 4> of;
};
BlockSigns block_signs(const CellTraits& cell, bool update_gate_writes);
// The same for the weights of the products. Where products are normalised, weights stay as they are, and the scales and biases
// behind the normalisation get the sign.
BlockSigns weight_signs(const CellTraits& cell, bool update_gate_writes);

// w [K, G*H] into panels [begin, end).
template <class Real>
void pack_gates(View<const Real, 2> w, const Operand& op, const BlockSigns& signs, const PanelLayout& layout, index_t begin,
                index_t end, Real* packed);

// Rows [begin, end) of dw [K, G*H] from panels.
template <class Real>
void unpack_gates(const Real* packed, const Operand& op, const BlockSigns& signs, const PanelLayout& layout, index_t begin,
                  index_t end, View<Real, 2> dw);

// Where runs of plain columns begin, and the last one ends: runs of `run` columns, but for the last;
std::vector<index_t> equal_runs(index_t columns, index_t run);
// or of at most `most` vectors, as even as can be: a lone vector has too few sums to keep the multipliers busy.
std::vector<index_t> even_runs(index_t columns, index_t lanes, index_t most);
inline index_t count_of(const std::vector<index_t>& runs) { return static_cast<index_t>(runs.size()) - 1; }

// w [M, G*H] transposed, into the runs [begin, end) of the columns M.
template <class Real>
void pack_transposed(View<const Real, 2> w, const Operand& op, const BlockSigns& signs, const PanelLayout& layout,
                     const std::vector<index_t>& runs, index_t begin, index_t end, Real* packed);
index_t transposed_size(index_t columns, const Operand& op, const PanelLayout& layout);

}  // namespace rnnext
