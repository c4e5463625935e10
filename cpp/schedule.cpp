#include "schedule.h"

#include <algorithm>
#include <numeric>

namespace rnnext {
namespace {

// Offsets of tokens and states from the number of rows alive at each step.
void number(Schedule& s, const std::vector<index_t>& alive) {
  s.offset.assign(1, 0);
  s.states.assign(1, 0);
  index_t before = s.rows;  // the first block holds the initial states of all rows
  for (const index_t now : alive) {
    s.offset.push_back(s.offset.back() + now);
    s.states.push_back(s.states.back() + std::max(before, now));
    before = now;
  }
  s.states.push_back(s.states.back() + before);
}

// How many of a row's first tokens, in the order of the steps, are `id`; its last token does not count.
index_t leading(const std::int32_t* row, index_t positions, bool reverse, std::int32_t id) {
  index_t n = 0;
  while (n + 1 < positions && row[reverse ? positions - 1 - n : n] == id) ++n;
  return n;
}

}  // namespace

Schedule make_schedule(index_t rows, index_t positions, const index_t* starts, const index_t* lengths, bool reverse,
                       index_t blocks) {
  const auto count = static_cast<std::size_t>(rows);
  const auto start_of = [&](index_t b) { return starts != nullptr ? starts[b] : 0; };
  const auto length_of = [&](index_t b) { return lengths != nullptr ? lengths[b] : positions - start_of(b); };
  Schedule s;
  s.rows = rows;
  s.positions = positions;
  s.reverse = reverse;
  s.blocks = blocks;
  s.order.resize(count);
  std::iota(s.order.begin(), s.order.end(), index_t{0});
  std::stable_sort(s.order.begin(), s.order.end(), [&](index_t a, index_t b) { return length_of(a) > length_of(b); });
  for (const index_t b : s.order) {
    s.starts.push_back(start_of(b));
    s.lengths.push_back(length_of(b));
  }
  s.steps = rows > 0 ? s.lengths.front() : 0;
  std::vector<index_t> alive_at;
  index_t alive = rows;
  for (index_t t = 0; t < s.steps; ++t) {
    while (s.lengths[static_cast<std::size_t>(alive) - 1] <= t) --alive;
    alive_at.push_back(alive);
  }
  number(s, alive_at);
  return s;
}

Schedule make_trunk_schedule(index_t rows, index_t positions, const std::int32_t* ids, bool reverse, index_t blocks) {
  std::int32_t id = 0;
  index_t longest = 0;
  for (index_t b = 0; b < rows && positions > 0; ++b) {
    const std::int32_t* row = ids + b * positions;
    const std::int32_t first = row[reverse ? positions - 1 : 0];
    if (const index_t n = leading(row, positions, reverse, first); n > longest) {
      longest = n;
      id = first;
    }
  }
  std::vector<index_t> joins;  // by the caller's row
  index_t common = 0;
  for (index_t b = 0; b < rows; ++b) {
    joins.push_back(longest > 0 ? leading(ids + b * positions, positions, reverse, id) : 0);
    common += joins.back();
  }
  if (common <= 2 * blocks * positions) return make_schedule(rows, positions, nullptr, nullptr, reverse, blocks);

  Schedule s;
  s.steps = positions;
  s.rows = blocks + rows;
  s.positions = positions;
  s.reverse = reverse;
  s.blocks = blocks;
  s.trunks = blocks;
  s.trunk_id = id;
  s.order.assign(static_cast<std::size_t>(blocks), -1);
  s.order.resize(static_cast<std::size_t>(s.rows));
  const auto own = s.order.begin() + blocks;
  std::iota(own, s.order.end(), index_t{0});
  const auto join_of = [&](index_t b) { return joins[static_cast<std::size_t>(b)]; };
  std::stable_sort(own, s.order.end(), [&](index_t a, index_t b) { return join_of(a) < join_of(b); });
  s.starts.assign(static_cast<std::size_t>(s.rows), 0);
  s.lengths.assign(static_cast<std::size_t>(s.rows), positions);
  std::vector<index_t> alive_at;
  index_t alive = blocks;
  for (index_t t = 0; t < positions; ++t) {
    while (alive < s.rows && join_of(s.order[static_cast<std::size_t>(alive)]) <= t) ++alive;
    alive_at.push_back(alive);
  }
  number(s, alive_at);
  return s;
}

RowSet row_set(const Schedule& schedule, index_t group, index_t groups) {
  if (schedule.dense()) {
    const index_t begin = schedule.rows * group / groups;
    return {begin, 1, schedule.rows * (group + 1) / groups - begin};
  }
  return {group, groups, (schedule.rows - group + groups - 1) / groups};
}

}  // namespace rnnext
