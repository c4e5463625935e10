// How many threads a call gets and how they share it, from the work alone: no timing, no per-shape set-up.
#pragma once

#include "kernels.h"

namespace rnnext {

struct Work {
  index_t tokens;  // steps times rows, without padding
  index_t steps;
  index_t rows;
  index_t inputs;
  index_t units;
  index_t gates;
  bool backward;
  int barriers;        // in a step, when threads share rows
  index_t row_groups;  // at most
  bool whole_rows;     // a thread needs all units of its rows
  int lanes;           // of a vector
};

// In how many blocks of rows gradients are summed; the blocks' sums are then added in order. It does not depend on the number
// of threads, so neither do the results. A block has enough rows to be worth loading the weights for.
index_t row_blocks(index_t rows, index_t units);

// `row_groups` groups of `unit_groups` threads. A group owns rows and walks all their steps without waiting for the others; the
// threads of a group share the hidden units and meet in every step. Forward a group walks its rows in `turns` sets, one after
// the other, so that what a step reads and writes of them stays in L2.
struct Plan {
  int row_groups;
  int unit_groups;
  int turns = 1;
  int threads() const { return row_groups * unit_groups; }
};

int threads_for(double operations, int available);
int threads_for(const Work& work, int available);
Plan make_plan(const Work& work, int threads);

}  // namespace rnnext
