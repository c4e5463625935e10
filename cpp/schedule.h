// Which row reads which token at which step: lengths, starts and direction turned into dense steps. Knows positions; does not
// know what is computed at them.
//
// Rows are sorted by falling length, so that the rows alive at step t are the first alive(t). Tokens are numbered by step, then
// by sorted row: token(t, row) = offset[t] + row.
#pragma once

#include <vector>

#include "kernels.h"

namespace rnnext {

struct Schedule {
  index_t steps = 0;             // of the longest row
  index_t rows = 0;              // B
  index_t positions = 0;         // T
  bool reverse = false;
  std::vector<index_t> order;    // [B], sorted row -> caller's row
  std::vector<index_t> starts;   // [B], by sorted row
  std::vector<index_t> lengths;  // [B], by sorted row
  std::vector<index_t> offset;   // [steps + 1], tokens before a step

  index_t tokens() const { return offset.back(); }
  index_t alive(index_t t) const { return offset[static_cast<std::size_t>(t) + 1] - offset[static_cast<std::size_t>(t)]; }
  index_t token(index_t t, index_t row) const { return offset[static_cast<std::size_t>(t)] + row; }
  bool dense() const { return rows == 0 || lengths.back() == steps; }
  bool whole() const { return tokens() == rows * positions; }

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
Schedule make_schedule(index_t rows, index_t positions, const index_t* starts, const index_t* lengths, bool reverse);

// The rows of one group of threads out of `groups`. Rows of equal length are dealt in blocks, others one by one, so that every
// group has its share of the rows alive at any step.
struct RowSet {
  index_t first, step, count;  // count: of all rows

  index_t row(index_t i) const { return first + i * step; }
  // How many of them are among the first `alive` rows.
  index_t alive(index_t alive_rows) const {
    const index_t n = alive_rows > first ? (alive_rows - first + step - 1) / step : 0;
    return n < count ? n : count;
  }
};
RowSet row_set(const Schedule& schedule, int group, int groups);

}  // namespace rnnext
