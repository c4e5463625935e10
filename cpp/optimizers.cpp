#include "optimizers.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "dispatch.h"
#include "parallel.h"

namespace rnnext {
namespace {

// How many threads it is worth waking to update n numbers.
int update_threads(index_t n) {
  constexpr index_t worth_a_thread = 1 << 15;
  return static_cast<int>(std::clamp<index_t>(n / worth_a_thread, 1, num_threads()));
}

// Steps until what is multiplied by `shrink` each time has shrunk by 2^-30.
int steps_to_nothing(double shrink) {
  if (shrink <= 0.0) return 0;
  if (shrink >= 1.0) return OptimizerRule::period;
  return static_cast<int>(std::min<double>(std::ceil(-30.0 * std::log(2.0) / std::log(shrink)), OptimizerRule::period));
}

std::vector<float> powers(double base) {
  std::vector<float> result(OptimizerRule::period + 1);
  for (std::size_t n = 0; n < result.size(); ++n) result[n] = static_cast<float>(std::pow(base, static_cast<double>(n)));
  return result;
}

// The scalars of rows whose last gradient is `age` steps ago; moved[n] is what the step n steps before the last one weighs.
index_t idle_runs(const OptimizerRule& rule, std::size_t age, const double* moved, AdamRun* runs) {
  const std::size_t steps = std::min(age, static_cast<std::size_t>(rule.reach));
  const auto length = static_cast<std::size_t>(rule.run);
  index_t count = 0;
  for (std::size_t first = 0; first < steps; first += length) {
    std::array<double, idle_terms> sums{};
    for (std::size_t i = first; i < std::min(first + length, steps); ++i) {
      for (std::size_t j = 0; j < idle_terms; ++j) sums[j] += moved[age - 1 - i] * rule.weight[i][j];
    }
    AdamRun& run = runs[count];
    run.centre = static_cast<float>(rule.centre[static_cast<std::size_t>(count)]);
    for (std::size_t j = 0; j < idle_terms; ++j) run.terms[j] = static_cast<float>(sums[j]);
    ++count;
  }
  return count;
}

}  // namespace

OptimizerRule::OptimizerRule(const OptimizerOptions& o) : options(o) {
  constants.momentum = static_cast<float>(o.momentum);
  constants.nesterov = o.nesterov;
  constants.one_minus_rho = static_cast<float>(1.0 - o.rho);
  constants.one_minus_beta1 = static_cast<float>(1.0 - o.beta1);
  constants.one_minus_beta2 = static_cast<float>(1.0 - o.beta2);
  constants.epsilon = static_cast<float>(o.epsilon);
  double shrink = o.momentum;  // of the movement, from one idle step to the next
  double push = 1.0;           // what an idle step adds for each unit of momentum
  double root = 1.0;           // what the denominator is multiplied by in an idle step, epsilon aside
  double memory = o.momentum;
  switch (o.optimizer) {
    case Optimizer::sgd:
      has_slot = {o.momentum != 0.0, false, false};
      fade = {powers(o.momentum), {}, {}};
      push = o.nesterov ? o.momentum : 1.0;
      break;
    case Optimizer::rmsprop:
      has_slot = {true, o.momentum != 0.0, o.centered};
      fade = {powers(o.rho), powers(o.momentum), powers(o.rho)};
      m_slot = 1;
      push = -1.0;
      break;
    case Optimizer::adam:
      has_slot = {true, true, o.amsgrad};
      fade = {powers(o.beta1), powers(o.beta2), powers(1.0)};
      v_slot = o.amsgrad ? 2 : 1;
      root = o.amsgrad ? 1.0 : std::sqrt(o.beta2);
      memory = o.beta1;
      shrink = root > 0.0 ? o.beta1 / root : 1.0;
      if (o.beta1 == 0.0) shrink = 0.0;
      break;
  }
  reach = steps_to_nothing(shrink);
  // Within a run the denominator stays within 5 % of its middle: the series then ends below rounding.
  run = root >= 1.0 ? period : std::clamp(root > 0.0 ? static_cast<int>(-0.1 / std::log(root)) : 1, 1, period);
  const int terms = root >= 1.0 || run == 1 ? 1 : idle_terms;  // more than one where the denominator changes
  for (int first = 1; first <= reach; first += run) {
    const int last = std::min(first + run - 1, reach);
    centre.push_back((std::pow(root, first) + std::pow(root, last)) / 2.0);
    for (int i = first; i <= last; ++i) {
      std::array<double, idle_terms> w{};
      w[0] = push * std::pow(memory, i);
      for (int j = 1; j < terms; ++j) {
        w[static_cast<std::size_t>(j)] = w[static_cast<std::size_t>(j - 1)] * (centre.back() - std::pow(root, i));
      }
      weight.push_back(w);
    }
  }
}

OptimizedParameter::OptimizedParameter(std::shared_ptr<const OptimizerRule> rule, index_t rows, index_t width, float* p,
                                       std::array<float*, slot_count> slots, bool decays)
    : rule_(std::move(rule)), rows_(rows), width_(width), p_(p), slots_(slots), decays_(decays) {}

// Whether a row can have moved since all were last settled.
bool OptimizedParameter::idle_moves() const {
  return table_ && table_->settled < table_->steps && (rule_->reach > 0 || table_->last_decay > table_->settled);
}

void OptimizedParameter::settle() {
  const ForkLock hold;
  settle_all();
}

template <class Id>
void OptimizedParameter::settle_rows(const Id* ids, index_t count) {
  const ForkLock hold;
  settle_named(ids, count);
}
template void OptimizedParameter::settle_rows(const std::int32_t*, index_t);
template void OptimizedParameter::settle_rows(const std::int64_t*, index_t);

void OptimizedParameter::accept() {
  const ForkLock hold;
  if (table_) rebase();
}

void OptimizedParameter::settle_all() {
  if (!idle_moves()) return;
  stale_.clear();
  stale_.reserve(static_cast<std::size_t>(rows_));
  for (index_t r = 0; r < rows_; ++r) {
    if (table_->current[static_cast<std::size_t>(r)] < table_->steps) stale_.push_back(r);
  }
  settle_stale();
  table_->settled = table_->steps;
}

template <class Id>
void OptimizedParameter::settle_named(const Id* ids, index_t count) {
  if (!idle_moves()) return;
  stale_.clear();
  stale_.reserve(static_cast<std::size_t>(std::min(count, rows_)));
  for (index_t i = 0; i < count; ++i) {
    const auto r = static_cast<index_t>(ids[i]);
    if (r < 0 || r >= rows_) continue;
    std::int32_t& current = table_->current[static_cast<std::size_t>(r)];
    if (current == table_->steps) continue;
    current = table_->steps;
    stale_.push_back(r);
  }
  try {
    settle_stale();
  } catch (const std::bad_alloc&) {
    for (const index_t r : stale_) table_->current[static_cast<std::size_t>(r)] = table_->last[static_cast<std::size_t>(r)];
    throw;
  }
}

// Rows of one age, counted from their last gradient, share their scalars; so the rows are taken in the order of their ages.
void OptimizedParameter::settle_stale() {
  if (stale_.empty()) return;
  Table& t = *table_;
  const OptimizerRule& rule = *rule_;
  const bool divided = rule.v_slot >= 0;
  const auto age = [&](index_t r) { return static_cast<std::size_t>(t.steps - t.last[static_cast<std::size_t>(r)]); };

  std::vector<index_t> first(static_cast<std::size_t>(t.steps) + 2);  // of each age, in order
  for (const index_t r : stale_) ++first[age(r) + 1];
  std::size_t oldest = 0;
  for (std::size_t a = 1; a < first.size(); ++a) {
    if (first[a] > 0) oldest = a - 1;
    first[a] += first[a - 1];
  }
  std::vector<index_t> order(stale_.size());
  for (const index_t r : stale_) order[static_cast<std::size_t>(first[age(r)]++)] = r;

  // kept[n]: what the decay of the last n steps leaves; moved[n]: what the step before them weighs today.
  std::vector<double> kept(oldest + 1, 1.0), moved(oldest, 1.0);
  for (std::size_t n = 0; n < oldest; ++n) {
    const std::size_t step = static_cast<std::size_t>(t.steps) - 1 - n;
    moved[n] = divided ? kept[n] * t.rates[step] : kept[n];
    kept[n + 1] = kept[n] * (1.0 - t.decays[step]);
  }

  const int threads =
      update_threads(static_cast<index_t>(order.size()) * width_ * static_cast<index_t>(1 + rule.centre.size()));
  std::vector<AdamRun> scratch(rule.centre.size() * static_cast<std::size_t>(threads));
  parallel(threads, [&](const Member& member) {
    AdamRun* runs = scratch.data() + rule.centre.size() * static_cast<std::size_t>(member.id);
    index_t run_count = 0;
    std::size_t known = 0;  // the age that the scalars belong to; no stale row is of age 0
    const Range mine = share(static_cast<std::ptrdiff_t>(order.size()), member.id, member.size);
    for (std::ptrdiff_t i = mine.begin; i < mine.end; ++i) {
      const index_t r = order[static_cast<std::size_t>(i)];
      if (const std::size_t n = age(r); n != known) {
        known = n;
        run_count = idle_runs(rule, n, moved.data(), runs);
      }
      const index_t offset = r * width_;
      const auto slot = [&](int k) { return slots_[static_cast<std::size_t>(k)] + offset; };
      const auto decay = static_cast<float>(1.0 - kept[known]);
      const float* anchor = t.anchor.data() + offset;
      if (divided) {
        kernels().adam_idle({width_, p_ + offset, anchor, slot(rule.m_slot), slot(rule.v_slot), decay, rule.constants.epsilon,
                             runs, run_count});
      } else {
        const bool moves = run_count > 0;
        kernels().momentum_idle(
            {width_, p_ + offset, anchor, moves ? slot(rule.m_slot) : nullptr, decay, moves ? runs[0].terms[0] : 0.0f});
      }
      t.current[static_cast<std::size_t>(r)] = t.steps;
    }
  });
}

// Makes the present step the one that everything is counted from.
void OptimizedParameter::rebase() {
  settle_all();
  Table& t = *table_;
  parallel(update_threads(rows_ * width_), [&](const Member& member) {
    const Range mine = share(rows_, member.id, member.size);
    for (index_t r = mine.begin; r < mine.end; ++r) {
      const auto missed = static_cast<std::size_t>(t.steps - t.last[static_cast<std::size_t>(r)]);
      if (missed == 0) continue;
      for (std::size_t k = 0; k < slot_count; ++k) {
        if (slots_[k] == nullptr) continue;
        const float fade = rule_->fade[k][missed];
        for (float* s = slots_[k] + r * width_; s < slots_[k] + (r + 1) * width_; ++s) *s *= fade;
      }
    }
  });
  if (t.anchor.data() != nullptr) std::copy_n(p_, rows_ * width_, t.anchor.data());
  std::fill(t.last.begin(), t.last.end(), 0);
  std::fill(t.current.begin(), t.current.end(), 0);
  t.rates.clear();
  t.decays.clear();
  t.steps = t.last_decay = t.settled = 0;
}

// Only valid while no row has moved without a gradient.
void OptimizedParameter::set_anchor() {
  table_->anchor = Buffer<float>(static_cast<std::size_t>(rows_ * width_));
  std::copy_n(p_, rows_ * width_, table_->anchor.data());
}

void OptimizedParameter::open_table() {
  Table t;
  t.last.assign(static_cast<std::size_t>(rows_), 0);
  t.current = t.last;
  t.rates.reserve(OptimizerRule::period);
  t.decays.reserve(OptimizerRule::period);
  table_ = std::move(t);
  if (rule_->reach > 0) set_anchor();
}

void OptimizedParameter::prepare_step(const ParameterGradient& gradient, double decay) {
  if (gradient.rows == nullptr) {
    if (table_) rebase();
    table_.reset();
    return;
  }
  if (!table_) open_table();
  if (table_->steps == OptimizerRule::period) rebase();
  if (decays_ && decay != 0.0 && table_->anchor.data() == nullptr) set_anchor();
  settle_named(gradient.rows, gradient.count);
}

void OptimizedParameter::finish_step(double rate, double decay) {
  if (!table_) return;
  Table& t = *table_;
  t.rates.push_back(rate);
  t.decays.push_back(decays_ ? decay : 0.0);
  ++t.steps;
  if (t.decays.back() != 0.0) t.last_decay = t.steps;
}

std::optional<OptimizedParameter::Pending> OptimizedParameter::pending() {
  const ForkLock hold;
  settle_all();
  if (!table_) return std::nullopt;
  const Table& t = *table_;
  return Pending{{t.anchor.data(), t.anchor.data() + t.anchor.size()}, t.last, t.rates, t.decays};
}

void OptimizedParameter::restore(const std::optional<Pending>& pending) {
  const ForkLock hold;
  table_.reset();
  if (!pending) return;
  open_table();
  Table& t = *table_;
  if (!pending->anchor.empty()) {
    t.anchor = Buffer<float>(pending->anchor.size());
    std::copy(pending->anchor.begin(), pending->anchor.end(), t.anchor.data());
  }
  t.last = pending->last;
  t.rates.insert(t.rates.end(), pending->rates.begin(), pending->rates.end());
  t.decays.insert(t.decays.end(), pending->decays.begin(), pending->decays.end());
  t.steps = t.settled = static_cast<std::int32_t>(t.rates.size());
  std::fill(t.current.begin(), t.current.end(), t.steps);
}

namespace {

// A piece of one gradient: elements [begin, end) of a whole one, rows [begin, end) of one by rows. Neither how the work is cut
// up nor the order in which norms are summed depends on the number of threads.
struct Piece {
  std::size_t gradient;
  index_t begin, end;
};

std::vector<Piece> cut(const std::vector<ParameterGradient>& gradients) {
  constexpr index_t floats = 2048;
  std::vector<Piece> pieces;
  for (std::size_t k = 0; k < gradients.size(); ++k) {
    const ParameterGradient& g = gradients[k];
    const index_t width = g.parameter->width();
    const index_t count = g.rows != nullptr ? g.count : g.parameter->rows() * width;
    const index_t step = g.rows != nullptr ? std::max<index_t>(1, floats / std::max<index_t>(1, width)) : floats;
    for (index_t begin = 0; begin < count; begin += step) pieces.push_back({k, begin, std::min(begin + step, count)});
  }
  return pieces;
}

double sum_squares(const ParameterGradient& g, const Piece& piece) {
  const index_t width = g.rows != nullptr ? g.parameter->width() : 1;
  return kernels().sum_squares(g.g + piece.begin * width, (piece.end - piece.begin) * width);
}

// What each gradient is multiplied by. Where a norm is not finite the gradients get what Keras makes of them.
std::vector<float> clip_scales(const Clipping& clipping, std::size_t gradients, const std::vector<Piece>& pieces,
                               const std::vector<double>& squares) {
  std::vector<double> sums(gradients);
  for (std::size_t i = 0; i < pieces.size(); ++i) sums[pieces[i].gradient] += squares[i];
  std::vector<float> scales(gradients, 1.0f);
  if (clipping.norm > 0.0) {
    for (std::size_t k = 0; k < gradients; ++k) {
      const double norm = std::sqrt(sums[k]);
      if (!(norm <= clipping.norm)) scales[k] = static_cast<float>(clipping.norm / norm);
    }
  } else if (clipping.global_norm > 0.0) {
    double total = 0.0;
    for (const double sum : sums) total += sum;
    const double norm = std::sqrt(total);
    const double scale = norm <= clipping.global_norm ? 1.0 : clipping.global_norm / norm + (norm - norm);
    std::fill(scales.begin(), scales.end(), static_cast<float>(scale));
  }
  return scales;
}

}  // namespace

void OptimizedParameter::step_piece(const ParameterGradient& gradient, index_t begin, index_t end, OptimizerStep step) {
  const auto at = [&](index_t offset) {
    step.p = p_ + offset;
    for (std::size_t k = 0; k < slot_count; ++k) step.slots[k] = slots_[k] == nullptr ? nullptr : slots_[k] + offset;
  };
  if (!decays_) step.decay = 0.0f;
  const auto kernel = kernels().optimizers[static_cast<int>(rule_->options.optimizer)];
  if (gradient.rows == nullptr) {
    step.n = end - begin;
    at(begin);
    step.g = gradient.g + begin;
    std::fill_n(step.fade, slot_count, 1.0f);
    kernel(step);
    return;
  }
  Table& t = *table_;
  step.n = width_;
  for (index_t i = begin; i < end; ++i) {
    const index_t r = gradient.rows[i];
    std::int32_t& last = t.last[static_cast<std::size_t>(r)];
    at(r * width_);
    step.anchor = t.anchor.data() == nullptr ? nullptr : t.anchor.data() + r * width_;
    step.g = gradient.g + i * width_;
    for (std::size_t k = 0; k < slot_count; ++k) {
      if (slots_[k] != nullptr) step.fade[k] = rule_->fade[k][static_cast<std::size_t>(t.steps - last)];
    }
    kernel(step);
    last = t.current[static_cast<std::size_t>(r)] = t.steps + 1;
  }
}

void optimizer_step(const OptimizerRule& rule, const std::vector<ParameterGradient>& gradients, double rate, double decay,
                    const Clipping& clipping) {
  const ForkLock hold;
  const std::vector<Piece> pieces = cut(gradients);
  std::vector<double> squares(pieces.size());
  std::vector<float> scales(gradients.size(), 1.0f);
  const bool by_norm = clipping.norm > 0.0 || clipping.global_norm > 0.0;
  for (const ParameterGradient& g : gradients) g.parameter->prepare_step(g, decay);

  const int threads = update_threads(2048 * static_cast<index_t>(pieces.size()));
  const auto count = static_cast<std::ptrdiff_t>(pieces.size());
  if (by_norm) {
    parallel(threads, [&](const Member& member) {
      const Range mine = share(count, member.id, member.size);
      for (auto i = static_cast<std::size_t>(mine.begin); i < static_cast<std::size_t>(mine.end); ++i) {
        squares[i] = sum_squares(gradients[pieces[i].gradient], pieces[i]);
      }
    });
    scales = clip_scales(clipping, gradients.size(), pieces, squares);
  }
  parallel(threads, [&](const Member& member) {
    OptimizerStep step{};
    step.constants = &rule.constants;
    step.g_limit = clipping.value > 0.0 ? static_cast<float>(clipping.value) : std::numeric_limits<float>::infinity();
    step.rate = static_cast<float>(rate);
    step.decay = static_cast<float>(decay);
    const Range mine = share(count, member.id, member.size);
    for (auto i = static_cast<std::size_t>(mine.begin); i < static_cast<std::size_t>(mine.end); ++i) {
      const ParameterGradient& g = gradients[pieces[i].gradient];
      step.g_scale = scales[pieces[i].gradient];
      g.parameter->step_piece(g, pieces[i].begin, pieces[i].end, step);
    }
  });
  for (const ParameterGradient& g : gradients) g.parameter->finish_step(rate, decay);
}

}  // namespace rnnext
