// Adam over whole arrays and over rows of a table. A row without a gradient still moves in Adam, by what its moments remember;
// that needs nothing but the steps' rates, so it is done when the row is next wanted, and the result is the dense optimizer's.
#pragma once

#include "kernels.h"
#include "view.h"

namespace rnnext {

struct AdamRule {
  float beta1, beta2, epsilon;
};

// alpha and keep of every step so far: entry t belongs to step t, entry 0 is unused.
struct AdamHistory {
  const float* alpha;  // [step + 1]
  const float* keep;   // [step + 1]
  index_t step;        // the current one
};

struct AdamTable {
  View<float, 2> p, m, v;       // [V, D], C-contiguous
  View<index_t, 1> last_step;   // [V], the step up to which a row is current
};

// One step of n parameters with gradient g times g_scale.
void adam_dense(const AdamRule& rule, const AdamHistory& history, index_t n, float* p, float* m, float* v, const float* g,
                float g_scale);

// One step of the given rows with gradient g [N, D] times g_scale; each row is first brought up to the step before.
void adam_rows(const AdamRule& rule, const AdamHistory& history, const AdamTable& table, View<const index_t, 1> rows,
               View<const float, 2> g, float g_scale);

// Brings the given rows, or all if there are none given, up to the current step.
void adam_catch_up(const AdamRule& rule, const AdamHistory& history, const AdamTable& table, View<const index_t, 1> rows);

}  // namespace rnnext
