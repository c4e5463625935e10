#include "pack.h"

#include <algorithm>

namespace rnnext {

BlockSigns block_signs(const CellTraits& cell, bool update_gate_writes) {
  BlockSigns signs{{1.0f, 1.0f, 1.0f, 1.0f}};
  if (update_gate_writes && cell.update_block >= 0) signs.of[static_cast<std::size_t>(cell.update_block)] = -1.0f;
  return signs;
}

namespace {

// Rows of a weight that are visited together: enough for whole cache lines on both sides, few enough for their pages to stay
// translated.
constexpr index_t near_rows = 4;

struct Block {
  index_t column;  // of Keras's kernel
  float sign;
};

Block block(const Operand& op, const BlockSigns& signs, index_t units, int slot) {
  const auto b = static_cast<std::size_t>(op.blocks[static_cast<std::size_t>(slot)]);
  return {static_cast<index_t>(b) * units, signs.of[b]};
}

constexpr index_t line = 16;  // floats of a cache line

// Almost every panel is as wide as a cache line: then the compiler knows the width and moves whole vectors.
void scale(const float* __restrict from, index_t width, float sign, float* __restrict to) {
  if (width == line) {
    for (index_t i = 0; i < line; ++i) to[i] = sign * from[i];
  } else {
    for (index_t i = 0; i < width; ++i) to[i] = sign * from[i];
  }
}

// to[c, r] = sign * from[r, c]
void transpose(const float* __restrict from, index_t from_stride, index_t rows, index_t columns, float sign,
               float* __restrict to, index_t to_stride) {
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

void pack_gates(View<const float, 2> w, const Operand& op, const BlockSigns& signs, const PanelLayout& layout, index_t begin,
                index_t end, float* packed) {
  const index_t rows = w.shape[0];
  for (index_t first = 0; first < rows; first += near_rows) {
    const index_t last = std::min(first + near_rows, rows);
    for (index_t p = begin; p < end; ++p) {
      const index_t width = layout.width(p);
      const index_t row_floats = layout.row_floats(op, p);
      for (index_t k = first; k < last; ++k) {
        float* to = packed + layout.panel_offset(op, p, rows) + k * row_floats;
        for (int slot = 0; slot < op.slots; ++slot) {
          const auto [column, sign] = block(op, signs, layout.units, slot);
          scale(&w(k, column + p * layout.lanes), width, sign, to + slot * width);
        }
        std::fill(to + op.slots * width, to + row_floats, 0.0f);
      }
    }
  }
}

void unpack_gates(const float* packed, const Operand& op, const BlockSigns& signs, const PanelLayout& layout, index_t begin,
                  index_t end, View<float, 2> dw) {
  for (index_t first = begin; first < end; first += near_rows) {
    const index_t last = std::min(first + near_rows, end);
    for (index_t p = 0; p < layout.panels(); ++p) {
      const index_t width = layout.width(p);
      const index_t row_floats = layout.row_floats(op, p);
      for (index_t k = first; k < last; ++k) {
        const float* from = packed + layout.panel_offset(op, p, dw.shape[0]) + k * row_floats;
        for (int slot = 0; slot < op.slots; ++slot) {
          const auto [column, sign] = block(op, signs, layout.units, slot);
          scale(from + slot * width, width, sign, &dw(k, column + p * layout.lanes));
        }
      }
    }
  }
}

index_t transposed_floats(index_t columns, index_t run, const Operand& op, const PanelLayout& layout) {
  const index_t depth = op.slots * layout.units;
  return columns / run * run * depth + layout.round_up(columns % run) * depth;
}

void pack_transposed(View<const float, 2> w, const Operand& op, const BlockSigns& signs, const PanelLayout& layout, index_t run,
                     index_t begin, index_t end, float* packed) {
  const index_t depth = op.slots * layout.units;
  for (index_t r = begin; r < end; ++r) {
    const index_t width = std::min(run, w.shape[0] - r * run);
    const index_t row_floats = layout.round_up(width);
    float* const panel = packed + r * run * depth;
    // A cache line of every packed row at a time: whole lines are written, and few streams are read.
    for (index_t first = 0; first < width; first += line) {
      const index_t rows = std::min(line, width - first);
      for (int slot = 0; slot < op.slots; ++slot) {
        const auto [column, sign] = block(op, signs, layout.units, slot);
        for (index_t p = 0; p < layout.panels(); ++p) {
          const index_t lanes = layout.width(p);
          const index_t depth_before = p * layout.lanes * op.slots + slot * lanes;
          transpose(&w(r * run + first, column + p * layout.lanes), w.strides[0], rows, lanes, sign,
                    panel + depth_before * row_floats + first, row_floats);
        }
      }
    }
    for (index_t k = 0; k < depth; ++k) std::fill(panel + k * row_floats + width, panel + (k + 1) * row_floats, 0.0f);
  }
}

}  // namespace rnnext
