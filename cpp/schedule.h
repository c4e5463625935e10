// Which row reads which token at which step: lengths, starts and direction turned into steps. Knows positions; does not know
// what is computed at them.
//
// Rows are sorted so that those alive at a step are the first alive(t): by falling length, as a row leaves after its last
// token. Tokens are numbered by step, then by sorted row: token(t, row) = offset[t] + row. States are kept in blocks, block t
// being those before step t, with room for all rows alive before or after it.
//
// Where rows begin with the same tokens and states (left padding that nobody masked), their common beginning is computed once:
// the first rows of the order are then trunks, and every other row joins at its first own token, with the state of a trunk.
// Rows are then sorted by the step at which they join.
#pragma once

#include <vector>

#include "kernels.h"

namespace rnnext {

struct Schedule {
  index_t steps = 0;      // of the longest row
  index_t rows = 0;       // B, and the trunks
  index_t positions = 0;  // T
  bool reverse = false;
  index_t blocks = 1;            // of rows, among which row_set deals them
  index_t trunks = 0;            // none, or one for each block
  std::int32_t trunk_id = 0;     // the token that all steps of a trunk read
  std::vector<index_t> order;    // [rows], sorted row -> caller's row, -1 for a trunk
  std::vector<index_t> starts;   // [rows], by sorted row
  std::vector<index_t> lengths;  // [rows], by sorted row
  std::vector<index_t> offset;   // [steps + 1], tokens before a step
  std::vector<index_t> states;   // [steps + 2], where a block of states begins

  index_t tokens() const { return offset.back(); }
  index_t alive(index_t t) const { return offset[static_cast<std::size_t>(t) + 1] - offset[static_cast<std::size_t>(t)]; }
  index_t token(index_t t, index_t row) const { return offset[static_cast<std::size_t>(t)] + row; }
  index_t state(index_t t, index_t row) const { return states[static_cast<std::size_t>(t)] + row; }
  // The first row that joins at step t, of those up to alive(t).
  index_t joining(index_t t) const { return trunks > 0 && t > 0 ? alive(t - 1) : alive(t); }
  // After how many steps a row has its last state.
  index_t last_step(index_t row) const { return trunks > 0 ? steps : lengths[static_cast<std::size_t>(row)]; }
  bool dense() const { return trunks == 0 && (rows == 0 || lengths.back() == steps); }  // all rows are equally long
  bool whole() const { return tokens() == rows * positions; }                           // there is no padding
  std::size_t nbytes() const {
    return (order.size() + starts.size() + lengths.size() + offset.size() + states.size()) * sizeof(index_t);
  }

  // Positions in the caller's arrays.
  index_t input_position(index_t row, index_t t) const {
    const auto r = static_cast<std::size_t>(row);
    return reverse ? starts[r] + lengths[r] - 1 - t : starts[r] + t;
  }
  index_t first_output(index_t row) const {
    const auto r = static_cast<std::size_t>(row);
    return reverse ? positions - starts[r] - lengths[r] : starts[r];
  }
};

// starts and lengths are [B], or null for rows that fill all positions.
Schedule make_schedule(index_t rows, index_t positions, const index_t* starts, const index_t* lengths, bool reverse,
                       index_t blocks);

// For rows of ids [rows, positions] that fill all positions and start from the same state: a schedule with trunks if rows have
// enough in common for it to pay, else one without.
Schedule make_trunk_schedule(index_t rows, index_t positions, const std::int32_t* ids, bool reverse, index_t blocks);

// The rows of one group out of `groups`. Rows of equal length are dealt in blocks, others one by one, so that every group has
// its share of the rows alive at any step, and its trunk first.
struct RowSet {
  index_t first, step, count;  // count: of all rows

  index_t row(index_t i) const { return first + i * step; }
  // How many of them are among the first `alive` rows.
  index_t alive(index_t alive_rows) const {
    const index_t n = alive_rows > first ? (alive_rows - first + step - 1) / step : 0;
    return n < count ? n : count;
  }
};
RowSet row_set(const Schedule& schedule, index_t group, index_t groups);

}  // namespace rnnext
