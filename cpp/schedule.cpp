#include "schedule.h"

#include <algorithm>
#include <numeric>

#include "parallel.h"

namespace rnnext {

Schedule make_schedule(index_t rows, index_t positions, const index_t* starts, const index_t* lengths, bool reverse) {
  const auto count = static_cast<std::size_t>(rows);
  const auto start_of = [&](index_t b) { return starts != nullptr ? starts[b] : 0; };
  const auto length_of = [&](index_t b) { return lengths != nullptr ? lengths[b] : positions - start_of(b); };
  Schedule s;
  s.rows = rows;
  s.positions = positions;
  s.reverse = reverse;
  s.order.resize(count);
  std::iota(s.order.begin(), s.order.end(), index_t{0});
  std::stable_sort(s.order.begin(), s.order.end(), [&](index_t a, index_t b) { return length_of(a) > length_of(b); });
  for (const index_t b : s.order) {
    s.starts.push_back(start_of(b));
    s.lengths.push_back(length_of(b));
  }
  s.steps = rows > 0 ? s.lengths.front() : 0;
  s.offset.assign(1, 0);
  index_t alive = rows;
  for (index_t t = 0; t < s.steps; ++t) {
    while (s.lengths[static_cast<std::size_t>(alive) - 1] <= t) --alive;
    s.offset.push_back(s.offset.back() + alive);
  }
  return s;
}

RowSet row_set(const Schedule& schedule, int group, int groups) {
  if (schedule.dense()) {
    const Range rows = share(schedule.rows, group, groups);
    return {rows.begin, 1, rows.end - rows.begin};
  }
  return {group, groups, (schedule.rows - group + groups - 1) / groups};
}

}  // namespace rnnext
