// The sums over tokens of one block of rows: gradients of weights, biases and a table's rows. Knows which rows are multiplied
// with which gates' gradients; does not know when, or what a gate is.
//
// Outputs may be split over threads, the sum over tokens never is: it runs in the order of the steps, last first.
#pragma once

#include <algorithm>
#include <array>
#include <vector>

#include "buffer.h"
#include "parallel.h"
#include "recurrent.h"

namespace rnnext {

// Gradients of the gates' pre-activations, [panel][token][slot][lane].
template <class Real>
struct GateGradients {
  Real* d;
  index_t tokens;
  index_t panel;              // elements from panel to panel
  Real* projected = nullptr;  // [token, projected_stride], of a projection's results
  index_t projected_stride = 0;

  const Real* row(index_t token, index_t stride) const { return d + token * stride; }
};

template <class Real>
class WeightGradients {
 public:
  WeightGradients(const Tape<Real>& tape, const RecurrentKernels<Real>& kernels);

  static index_t d_stride(const CellTraits& cell, int lanes) { return (cell.record_slots * lanes + 15) / 16 * 16; }

  // What the block's tokens were computed from, in the order of the steps.
  struct Sources {
    std::vector<const Real*> x, h, rh;       // [tokens]; x without a table
    std::vector<std::int32_t> row_of_token;  // [tokens], with a table
    index_t zero_state_tokens = 0;           // how many of the first tokens have a previous state of zeros
  };
  Sources sources;
  void make_room(std::size_t tokens);  // for that many in the sources

  // Once the sources are known: `order(f)` calls f(first, end) for the ranges of tokens in the order in which they will be
  // added.
  template <class Order>
  void find_first_uses(Order&& order) {
    std::fill(used_.begin(), used_.end(), char{0});
    order([&](index_t first, index_t end) {
      for (index_t token = first; token < end; ++token) {
        std::int32_t& row = sources.row_of_token[static_cast<std::size_t>(token)];
        char& used = used_[static_cast<std::size_t>(row)];
        if (used == 0) row = ~row;
        used = 1;
      }
    });
  }
  void clear(int part, int parts);
  // Adds the tokens [first, first + d.tokens) of the sources; this is part `part` of the outputs.
  void add(const GateGradients<Real>& d, index_t first, int part, int parts);
  // Adds this part of another block's sums.
  void add(const WeightGradients<Real>& other, int part, int parts);
  // With a table: adds the gradient of the input's weights, from the sums of its rows once they are complete.
  void add_table(const Real* const* table_rows, int part, int parts);

  GateGradients<Real> table_rows() const { return {table_.data(), table_count_, table_panel_}; }
  void store(const BlockSigns& signs, View<Real, 2> dkernel, View<Real, 2> drecurrent, int part, int parts) const;
  void store_terms(const BlockSigns& signs, const Backward<Real>& args) const;
  TermGradients<Real> term_gradients() const;
  void store_bias(const BlockSigns& signs, View<Real, 2> dbias) const;

 private:
  struct Weight {
    Operand op;
    index_t rows;         // M
    Buffer<Real> packed;  // empty where no state is multiplied
  };
  void outer(const GateGradients<Real>& d, const Real* const* const* sources, index_t zero_state_tokens, std::size_t first,
             std::size_t last, int part, int parts);
  void add_table_rows(const WeightGradients<Real>& other, int part, int parts);

  const RecurrentKernels<Real>& k_;
  const CellTraits& cell_;
  const PanelLayout layout_;
  const index_t d_stride_;
  std::array<Weight, 3> weights_;
  std::size_t count_ = 0;
  index_t outputs_ = 0;
  Buffer<Real> projection_;  // packed, with a projection
  Buffer<Real> terms_;       // [3 + 2G + 2, H], of cells with terms
  Buffer<Real> bias_;        // [panel][slot][lane]
  Buffer<Real> table_;       // with a table: sums of its different rows, as GateGradients
  std::vector<char> used_;   // [different rows], whether there is a sum
  index_t table_count_ = 0;
  index_t table_panel_ = 0;
};

}  // namespace rnnext
