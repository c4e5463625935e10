#include "adam.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "dispatch.h"
#include "parallel.h"

namespace rnnext {
namespace {

// How many threads are worth waking for updates of n parameters.
int update_threads(index_t n) {
  constexpr index_t worth_a_thread = 1 << 15;
  return static_cast<int>(std::clamp<index_t>(n / worth_a_thread, 1, num_threads()));
}

// After this many steps without a gradient m has shrunk, against √v, by 2^-30: what it still moves is below rounding.
index_t steps_that_matter(const AdamRule& rule) {
  const double shrink = rule.beta1 / std::sqrt(static_cast<double>(rule.beta2));
  if (shrink >= 1.0) return std::numeric_limits<index_t>::max();
  return shrink <= 0.0 ? 1 : static_cast<index_t>(std::ceil(-30.0 * std::log(2.0) / std::log(shrink)));
}

AdamUpdate update(const AdamRule& rule, const AdamHistory& history, float g_scale) {
  AdamUpdate u{};
  u.g_scale = g_scale;
  u.one_minus_beta1 = 1.0f - rule.beta1;
  u.one_minus_beta2 = 1.0f - rule.beta2;
  u.epsilon = rule.epsilon;
  u.alpha = history.alpha[history.step];
  u.keep = history.keep[history.step];
  return u;
}

// Row r from its last step through step `until`.
void idle(const AdamRule& rule, const AdamHistory& history, const AdamTable& table, index_t most, index_t r, index_t until) {
  const index_t first = table.last_step(r) + 1;
  if (first > until) return;
  AdamIdle u{};
  u.n = table.p.shape[1];
  u.p = &table.p(r, index_t{0});
  u.m = &table.m(r, index_t{0});
  u.v = &table.v(r, index_t{0});
  u.one_minus_beta1 = 1.0f - rule.beta1;
  u.one_minus_beta2 = 1.0f - rule.beta2;
  u.epsilon = rule.epsilon;
  u.steps = std::min(until - first + 1, most);
  u.alpha = history.alpha + first;
  u.keep = history.keep + first;
  const auto rest = static_cast<float>(until - first + 1 - u.steps);
  u.tail_m = std::pow(rule.beta1, rest);
  u.tail_v = std::pow(rule.beta2, rest);
  u.tail_keep = 1.0f;
  for (index_t t = first + u.steps; t <= until; ++t) u.tail_keep *= history.keep[t];
  kernels().adam_idle(u);
  table.last_step(r) = until;
}

}  // namespace

void adam_dense(const AdamRule& rule, const AdamHistory& history, index_t n, float* p, float* m, float* v, const float* g,
                float g_scale) {
  constexpr index_t line = 64;  // threads meet on cache lines
  parallel(update_threads(n), [&](const Member& member) {
    const Range lines = share((n + line - 1) / line, member.id, member.size);
    const index_t begin = std::min(lines.begin * line, n);
    AdamUpdate u = update(rule, history, g_scale);
    u.n = std::min(lines.end * line, n) - begin;
    u.p = p + begin;
    u.m = m + begin;
    u.v = v + begin;
    u.g = g + begin;
    kernels().adam(u);
  });
}

void adam_rows(const AdamRule& rule, const AdamHistory& history, const AdamTable& table, View<const index_t, 1> rows,
               View<const float, 2> g, float g_scale) {
  const index_t most = steps_that_matter(rule);
  parallel(update_threads(rows.shape[0] * table.p.shape[1]), [&](const Member& member) {
    const Range mine = share(rows.shape[0], member.id, member.size);
    AdamUpdate u = update(rule, history, g_scale);
    u.n = table.p.shape[1];
    for (index_t i = mine.begin; i < mine.end; ++i) {
      const index_t r = rows(i);
      idle(rule, history, table, most, r, history.step - 1);
      u.p = &table.p(r, index_t{0});
      u.m = &table.m(r, index_t{0});
      u.v = &table.v(r, index_t{0});
      u.g = &g(i, index_t{0});
      kernels().adam(u);
      table.last_step(r) = history.step;
    }
  });
}

void adam_catch_up(const AdamRule& rule, const AdamHistory& history, const AdamTable& table, View<const index_t, 1> rows) {
  const index_t most = steps_that_matter(rule);
  const index_t count = rows ? rows.shape[0] : table.p.shape[0];
  parallel(update_threads(count * table.p.shape[1]), [&](const Member& member) {
    const Range mine = share(count, member.id, member.size);
    for (index_t i = mine.begin; i < mine.end; ++i) {
      idle(rule, history, table, most, rows ? rows(i) : i, history.step);
    }
  });
}

}  // namespace rnnext
