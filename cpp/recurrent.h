// The time loop: a recurrent layer over whole sequences, forward and backward. Knows steps, rows, lengths and which product
// when; a gate is the cells' business and a vector the kernels'. Views are checked by the caller.
#pragma once

#include <memory>
#include <vector>

#include "buffer.h"
#include "cells.h"
#include "packed_cell.h"
#include "schedule.h"
#include "view.h"

namespace rnnext {

// The input is an array, or rows of a table that have not been gathered: then each different row is projected once. Without a
// table, ids name rows of a packed vocabulary.
template <class Real>
struct Input {
  View<const Real, 3> x;            // [B, T, I], the last stride is 1; null if there are ids
  View<const std::int32_t, 2> ids;  // [B, T], rows of the table
  View<const Real, 2> table;        // [V, I], the last stride is 1
};

// What happens to the states between two steps; views are null where nothing does.
template <class Real>
struct Between {
  View<const Real, 2> mask;    // [B, H], multiplies the h that the products read
  View<const Real, 3> zone_h;  // [B, T, H], share of the old state that stays in the step that reads a position
  View<const Real, 3> zone_c;  // [B, T, H]

  bool any() const { return mask || zone_h || zone_c; }
};

template <class Real>
struct Forward {
  CellWeights<Real> weights;       // not read if they are packed already
  const PackedCell<Real>* packed;  // or null
  Input<Real> input;
  View<const Real, 2> h0, c0;  // [B, H]; null is zeros
  Between<Real> between;
  View<Real, 3> y;         // [B, T, H]; null if only the last state is wanted
  View<Real, 2> h_T, c_T;  // [B, H]; c_T for cells that have one
};

// What a forward pass keeps for its backward pass. The blocks of states start with the initial states, zeros if there are none,
// so h_prev of step 0 is where that of any other step is. Rows are in the schedule's order. Refers to the input, which must
// live as long and not change.
template <class Real>
struct Tape {
  Cell cell;
  bool update_gate_writes;
  bool has_bias;
  bool from_zero;  // there is no initial state
  index_t inputs;
  index_t units;
  index_t outputs;  // of h
  std::shared_ptr<const CellTerms<Real>> terms;
  Between<Real> between;
  Schedule schedule;
  std::vector<const Real*> x_rows;         // [tokens] of [I]; with ids [different rows]
  std::vector<std::int32_t> table_rows;    // with ids: the rows used, ascending
  std::vector<std::int32_t> row_of_token;  // [tokens], where in table_rows
  index_t state_stride;
  index_t record_stride;
  Buffer<Real> h;                                // [states, state_stride], by the schedule's blocks of states
  Buffer<Real> c;                                // the same
  Buffer<Real> rh;                               // [tokens, state_stride], r ⊙ h_prev
  Buffer<Real> left;                             // with a mask: h times the mask, laid out like h
  Buffer<Real> mask;                             // [rows, state_stride], of the schedule's rows
  Buffer<Real> c_new;                            // [tokens, state_stride], c before zone_c
  Buffer<Real> gates;                            // [tokens, record_stride]
  std::vector<index_t> input_runs, hidden_runs;  // of the columns of these:
  Buffer<Real> input_t;                          // packed transposed kernel
  std::array<Buffer<Real>, 2> recurrent_t;       // packed transposed recurrent kernels, by operand

  bool from_table() const { return !row_of_token.empty(); }
  // Whether a state is ever multiplied.
  bool recurs() const { return schedule.steps > 1 || !from_zero; }
  bool projects() const { return terms != nullptr && terms->view.projection != nullptr; }
  std::size_t nbytes() const;  // of all that is kept here, without what is referred to
};

template <class Real>
struct Backward {
  View<const Real, 3> dy;          // [B, T, H], or null
  View<const Real, 2> dh_T, dc_T;  // [B, H], or null
  View<Real, 3> dx;                // [B, T, I], or null if not wanted or the input came from a table
  View<Real, 2> dtable_rows;       // [different rows, I], or null
  View<Real, 2> dkernel;           // [I, G*H]
  View<Real, 2> drecurrent;        // [H, G*H]
  View<Real, 2> dbias;             // [1, G*H]; reset after: [2, G*H]; may be null
  // Of terms that there are.
  View<Real, 2> dpeephole;     // [3, H]
  View<Real, 2> dprojection;   // [H, P]
  View<Real, 2> dkernel_norm;  // [1, G*H]
  View<Real, 2> drecurrent_norm;
  View<Real, 2> dstate_norm;  // [2, H]
  View<Real, 2> dh0, dc0;     // [B, H]; dc0 for cells that have one; null if there was no initial state
};

// Returns the tape if it is wanted, else null. A tape needs weights that are not packed.
template <class Real>
std::unique_ptr<Tape<Real>> recurrent_forward(const Forward<Real>& args, Schedule schedule, bool keep_tape);

template <class Real>
void recurrent_backward(const Tape<Real>& tape, const Backward<Real>& args);

}  // namespace rnnext
