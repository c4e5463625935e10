// Weights from Keras's layout into the kernels' panels and gradients back. Knows layouts only.
//
// Gate panels: for each panel of `lanes` units [K][slot][lane], the last with its own lane count and rows rounded up to whole
// vectors. Transposed panels: for each run of plain columns [slot of D, in record order][column].
#pragma once

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
  index_t row_floats(const Operand& op, index_t panel) const { return round_up(op.slots * width(panel)); }
  index_t round_up(index_t n) const { return (n + lanes - 1) / lanes * lanes; }
  // Floats of all panels for K rows, and where a panel begins.
  index_t panel_offset(const Operand& op, index_t panel, index_t rows) const { return panel * lanes * op.slots * rows; }
  index_t packed_floats(const Operand& op, index_t rows) const {
    return panel_offset(op, full(), rows) + (tail() > 0 ? row_floats(op, full()) * rows : 0);
  }
};

// Floats from row to row of a buffer: whole cache lines, and an odd number of them, since rows that are a power of two apart
// fall on the same few sets of a cache.
inline index_t row_stride(index_t floats) { return ((floats + 15) / 16 | 1) * 16; }

// +1 or -1 for each of Keras's gate blocks: writing with the update gate instead of keeping is the same cell with that gate's
// weights negated, since 1 - σ(a) = σ(-a).
struct BlockSigns {
  std::array<float, 4> of;
};
BlockSigns block_signs(const CellTraits& cell, bool update_gate_writes);

// w [K, G*H] into panels [begin, end).
void pack_gates(View<const float, 2> w, const Operand& op, const BlockSigns& signs, const PanelLayout& layout, index_t begin,
                index_t end, float* packed);

// Rows [begin, end) of dw [K, G*H] from panels.
void unpack_gates(const float* packed, const Operand& op, const BlockSigns& signs, const PanelLayout& layout, index_t begin,
                  index_t end, View<float, 2> dw);

// w [M, G*H] transposed, into runs [begin, end) of `run` columns out of M.
void pack_transposed(View<const float, 2> w, const Operand& op, const BlockSigns& signs, const PanelLayout& layout, index_t run,
                     index_t begin, index_t end, float* packed);
index_t transposed_floats(index_t columns, index_t run, const Operand& op, const PanelLayout& layout);

}  // namespace rnnext
