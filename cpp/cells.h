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
  bool has_recurrent_bias;  // the candidate's, which the reset gate scales
  int update_block;         // Keras's block of the update gate, -1 if there is none
};

inline const CellTraits& traits(Cell cell) {
  static constexpr CellTraits all[cell_count] = {
      // LSTM: Keras i f c o, slots i f g o
      {4, 4, {0, 4, {0, 1, 2, 3}}, 1, {{{0, 4, {0, 1, 2, 3}}, {}}}, true, false, false, -1},
      // GRU, reset after: Keras z r h, slots n r z q
      {3, 4, {0, 3, {2, 1, 0}}, 1, {{{1, 3, {1, 0, 2}}, {}}}, false, false, true, 0},
      // GRU, reset before: Keras z r h, slots n z r
      {3, 3, {0, 3, {2, 0, 1}}, 2, {{{1, 2, {0, 1}}, {0, 1, {2}}}}, false, true, false, 0},
  };
  return all[static_cast<int>(cell)];
}

}  // namespace rnnext
