// What the time loop must know of a cell without knowing its equations: which gates a product covers, where Keras keeps them,
// and which states a step carries.
#pragma once

#include <array>

#include "kernels.h"

namespace rnnext {

// The gates that one product feeds: slots [first_slot, first_slot + slots) of a record.
struct Operand {
  int first_slot;
  int slots;
  std::array<int, 4> blocks;  // Keras's gate block of each slot
};

struct CellTraits {
  int gates;         // G, blocks of Keras's kernels
  int record_slots;  // what a step saves for each unit
  Operand input;
  int recurrent_count;
  std::array<Operand, 2> recurrent;  // of h_prev, then of r ⊙ h_prev
  bool has_c;
  bool has_rh;
  bool has_recurrent_bias;      // the candidate's, which the reset gate scales
  int update_block;             // Keras's block of the update gate, -1 if there is none
  int bias_slot = 0;            // where the gradients begin whose sums are b's,
  int recurrent_bias_slot = 1;  // and b''s
  bool has_terms = false;       // then a thread needs whole rows
  bool has_norm = false;
  std::array<int, 4> norm_blocks{};  // Keras's gate block of each vector of Terms::recurrent_norm
};

inline const CellTraits& traits(Cell cell) {
  static constexpr CellTraits all[cell_count] = {
      // LSTM: Keras i f c o, slots i f g o
      {4, 4, {0, 4, {0, 1, 2, 3}}, 1, {{{0, 4, {0, 1, 2, 3}}, {}}}, true, false, false, -1},
      // GRU, reset after: Keras z r h, slots n r z q
      {3, 4, {0, 3, {2, 1, 0}}, 1, {{{1, 3, {1, 0, 2}}, {}}}, false, false, true, 0},
      // GRU, reset before: Keras z r h, slots n z r
      {3, 3, {0, 3, {2, 0, 1}}, 2, {{{1, 2, {0, 1}}, {0, 1, {2}}}}, false, true, false, 0},
      // The same with terms.
      {4, 4, {0, 4, {0, 1, 2, 3}}, 1, {{{0, 4, {0, 1, 2, 3}}, {}}}, true, false, false, -1, 0, 1, true},
      {3, 4, {0, 3, {2, 1, 0}}, 1, {{{1, 3, {1, 0, 2}}, {}}}, false, false, true, 0, 0, 1, true},
      {3, 3, {0, 3, {2, 0, 1}}, 2, {{{1, 2, {0, 1}}, {0, 1, {2}}}}, false, true, false, 0, 0, 1, true},
      // With normalisation: the input's product, the recurrent ones, then the gates.
      {4, 12, {0, 4, {0, 1, 2, 3}}, 1, {{{4, 4, {0, 1, 2, 3}}, {}}}, true, false, false, -1, 8, 8, true, true, {0, 1, 2, 3}},
      {3, 10, {0, 3, {2, 1, 0}}, 1, {{{3, 3, {1, 0, 2}}, {}}}, false, false, true, 0, 6, 7, true, true, {1, 0, 2}},
      {3, 9, {0, 3, {2, 0, 1}}, 2, {{{4, 2, {0, 1}}, {3, 1, {2}}}}, false, true, false, 0, 6, 6, true, true, {2, 0, 1}},
  };
  return all[static_cast<int>(cell)];
}

inline Cell with_terms(Cell plain, bool norm) { return static_cast<Cell>(static_cast<int>(plain) + (norm ? 6 : 3)); }

}  // namespace rnnext
