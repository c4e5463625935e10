#include "plan.h"

#include <algorithm>
#include <cmath>

namespace rnnext {
namespace {

// Rough figures of a processor; only the ranking of the alternatives depends on them.
constexpr double flops_per_lane = 12.5e9;        // a second, of one core in the tiles
constexpr double near_bytes = 700e3;             // of recurrent weights that L2 can keep
constexpr double near_bytes_per_second = 150e9;  // from L2
constexpr double far_bytes_per_second = 15e9;    // from beyond L2
constexpr double near_rows_bytes = 50e3;         // of the records that a set of rows reads in a step
constexpr index_t least_rows = 16;
constexpr double barrier_seconds = 0.3e-6;  // including the fetch of what the other threads have written
constexpr double worth_a_thread = 1e6;      // operations

double step_seconds(const Work& work, int row_groups, int unit_groups) {
  const double rows_alive = static_cast<double>(work.tokens) / static_cast<double>(std::max<index_t>(work.steps, 1));
  const double rows = std::max(rows_alive / row_groups, 2.0);  // a lone row uses half of a tile
  const double units = static_cast<double>(work.units);
  const double panels = std::ceil(units / work.lanes);
  const double weights = units * units * static_cast<double>(work.gates) * std::ceil(panels / unit_groups) / panels;
  const double arithmetic = 2 * weights * rows / (flops_per_lane * work.lanes);
  const double bytes = 4 * weights;
  const double streaming = bytes / (bytes <= near_bytes ? near_bytes_per_second : far_bytes_per_second);
  const double waiting = unit_groups > 1 ? work.barriers * barrier_seconds * std::log2(2.0 * unit_groups) : 0.0;
  return std::max(arithmetic, streaming) + waiting;
}

// In how many sets of rows a group divides its rows. A single one where threads meet in every step, or where the weights are
// fetched from beyond L2 in every step.
int turns_of(const Work& work, const Plan& plan) {
  const double weights = 4.0 * static_cast<double>(work.units * work.units * work.gates);
  if (plan.unit_groups > 1 || weights > near_bytes) return 1;
  const auto wanted = static_cast<index_t>(near_rows_bytes / (4.0 * static_cast<double>(work.units * work.gates)));
  const index_t turns = work.rows / plan.row_groups / std::max<index_t>(wanted, least_rows);
  return static_cast<int>(std::clamp<index_t>(turns, 1, std::max<index_t>(work.row_groups / plan.row_groups, 1)));
}

}  // namespace

index_t row_blocks(index_t rows, index_t units) {
  const index_t least = std::clamp<index_t>(units / 8, 16, 64);
  return std::clamp<index_t>(rows / least, 1, 16);
}

int threads_for(double operations, int available) {
  return static_cast<int>(std::clamp(operations / worth_a_thread, 1.0, static_cast<double>(available)));
}

int threads_for(const Work& work, int available) {
  const double operations = 2.0 * static_cast<double>(work.tokens) * static_cast<double>(work.inputs + work.units) *
                            static_cast<double>(work.gates * work.units) * (work.backward ? 3 : 1);
  return threads_for(operations, available);
}

Plan make_plan(const Work& work, int threads) {
  Plan best{1, 1};
  double best_seconds = step_seconds(work, 1, 1);
  for (int unit_groups = 1; unit_groups <= (work.whole_rows ? 1 : threads); ++unit_groups) {
    const int row_groups = static_cast<int>(std::min<index_t>(threads / unit_groups, std::max<index_t>(work.row_groups, 1)));
    const double seconds = step_seconds(work, row_groups, unit_groups);
    if (seconds < best_seconds) {
      best = {row_groups, unit_groups};
      best_seconds = seconds;
    }
  }
  best.turns = turns_of(work, best);
  return best;
}

}  // namespace rnnext
