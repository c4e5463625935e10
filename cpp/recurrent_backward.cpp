#include <algorithm>

#include "dispatch.h"
#include "parallel.h"
#include "plan.h"
#include "recurrent.h"
#include "weight_gradients.h"

namespace rnnext {
namespace {

std::size_t elements(index_t rows, index_t stride) { return static_cast<std::size_t>(rows * stride); }

// The rows of each block walk back through time by themselves, in segments of steps: first come the gradients of the gates'
// pre-activations for a segment's tokens, then, while these are in the cache, whatever is summed from them.
template <class Real>
class BackwardPass {
 public:
  BackwardPass(const Tape<Real>& tape, const Backward<Real>& args);
  void run();

 private:
  struct Segment {
    index_t begin, end;   // steps
    index_t first_token;  // of the block's
    GateGradients<Real> d;
  };
  struct Block {
    RowSet rows;
    std::vector<index_t> offset;        // [steps + 1], the block's tokens before a step
    std::vector<index_t> segment_ends;  // steps, ascending
    std::unique_ptr<WeightGradients<Real>> sums;
  };
  // A thread's part in the group that it walks with.
  struct Walker {
    int group;
    int part, parts;
    Range flat;     // runs of the hidden units
    Range units;    // of them those of c,
    Range outputs;  // and those of h
    Meeting barrier;
    std::size_t id;
  };

  Block make_block(index_t number);
  Segment segment(const Block& block, std::size_t i, int group) const;
  void collect_sources(const Block& block) const;
  void load_gradients(const Member& member);
  void walk(Block& block, const Walker& walker);
  void step(index_t t, const Block& block, const Segment& segment, const Walker& walker);
  void divide(index_t t, const RowSet& rows, const Walker& walker, const Real* const* dy);
  void rejoin(index_t t, const RowSet& rows, const Walker& walker);
  void part_from_trunk(index_t t, const RowSet& rows, const Walker& walker);
  void input_gradients(const Block& block, const Segment& segment, const Walker& walker);
  void product_with_input(const GateGradients<Real>& d, const Real* const* from, Real* const* to, index_t rows, Range runs);
  void table_gradients(const Member& member);
  void store_states(const Member& member);
  void clear_padding(const Member& member);

  const Real* h_before(index_t t, index_t row) const { return tape_.h.data() + s_.state(t, row) * tape_.state_stride; }
  // What the products read of h_before.
  const Real* left_before(index_t t, index_t row) const {
    return (tape_.between.mask ? tape_.left : tape_.h).data() + s_.state(t, row) * tape_.state_stride;
  }

  const Tape<Real>& tape_;
  const Backward<Real>& args_;
  const Schedule& s_;
  const RecurrentKernels<Real>& k_;
  const CellTraits& cell_;
  const PanelLayout layout_;
  const index_t d_stride_;
  Work work_;
  int threads_;
  std::vector<Block> blocks_;
  index_t segment_tokens_ = 0;  // at most
  index_t d_panel_ = 0;
  std::vector<std::array<Buffer<Real>, 2>> d_;           // by group; a thread may be one segment ahead of the others
  std::vector<std::array<Buffer<Real>, 2>> dprojected_;  // the same, with a projection
  Buffer<Real> dh_, dc_, drh_;                           // [rows, state_stride]
  Buffer<Real> kept_h_, kept_c_;                         // the same, with zoneout: gradients that pass by a step
  std::unique_ptr<Barrier[]> groups_;
  std::vector<std::vector<const Real*>> from_;  // by member
  std::vector<std::vector<Real*>> to_;
};

template <class Real>
BackwardPass<Real>::BackwardPass(const Tape<Real>& tape, const Backward<Real>& args)
    : tape_(tape),
      args_(args),
      s_(tape.schedule),
      k_(recurrent_kernels<Real>()),
      cell_(traits(tape.cell)),
      layout_{tape.units, k_.lanes},
      d_stride_(WeightGradients<Real>::d_stride(cell_, k_.lanes)),
      work_{s_.tokens(),          s_.steps,  s_.rows,         tape.inputs, tape.units, cell_.gates, true,
            cell_.has_rh ? 2 : 1, s_.blocks, cell_.has_terms, k_.lanes},
      threads_(threads_for(work_, num_threads())) {
  for (index_t b = 0; b < s_.blocks; ++b) blocks_.push_back(make_block(b));
  // One more row than needed keeps panels from falling on the same cache sets.
  d_panel_ = (segment_tokens_ + 1) * d_stride_;
  d_.resize(static_cast<std::size_t>(std::min<index_t>(threads_, s_.blocks)));
  for (auto& pair : d_) {
    for (Buffer<Real>& d : pair) d = Buffer<Real>(elements(layout_.panels(), d_panel_) + 64);
  }
  dh_ = Buffer<Real>(elements(s_.rows, tape.state_stride));
  if (cell_.has_c) dc_ = Buffer<Real>(elements(s_.rows, tape.state_stride));
  if (tape.rh.size() > 0) drh_ = Buffer<Real>(elements(s_.rows, tape.state_stride));
  if (tape.between.zone_h) kept_h_ = Buffer<Real>(elements(s_.rows, tape.state_stride));
  if (tape.between.zone_c) kept_c_ = Buffer<Real>(elements(s_.rows, tape.state_stride));
  if (tape.projects()) {
    dprojected_.resize(d_.size());
    for (auto& pair : dprojected_) {
      for (Buffer<Real>& d : pair) d = Buffer<Real>(elements(segment_tokens_, tape.state_stride));
    }
  }
  groups_ = std::make_unique<Barrier[]>(static_cast<std::size_t>(threads_));
  for (int g = 0; g < threads_; ++g) groups_[static_cast<std::size_t>(g)].make_room(threads_);
  from_.resize(static_cast<std::size_t>(threads_));
  to_.resize(static_cast<std::size_t>(threads_));
  const auto most = static_cast<std::size_t>(std::max(segment_tokens_, s_.rows));
  for (auto& v : from_) v.resize(most);
  for (auto& v : to_) v.resize(most);
}

// Segments have enough tokens to be worth loading the weight gradients for, few enough for their own gradients to stay in the
// cache.
template <class Real>
typename BackwardPass<Real>::Block BackwardPass<Real>::make_block(index_t number) {
  constexpr index_t tokens_wanted = 128;
  Block block;
  block.rows = row_set(s_, number, s_.blocks);
  block.offset.assign(1, 0);
  index_t begin = 0;
  for (index_t t = 0; t < s_.steps; ++t) {
    block.offset.push_back(block.offset.back() + block.rows.alive(s_.alive(t)));
    const index_t tokens = block.offset.back() - block.offset[static_cast<std::size_t>(begin)];
    if (tokens >= tokens_wanted || t + 1 == s_.steps) {
      block.segment_ends.push_back(t + 1);
      segment_tokens_ = std::max(segment_tokens_, tokens);
      begin = t + 1;
    }
  }
  block.sums = std::make_unique<WeightGradients<Real>>(tape_, k_);
  block.sums->make_room(static_cast<std::size_t>(block.offset.back()));
  return block;
}

template <class Real>
typename BackwardPass<Real>::Segment BackwardPass<Real>::segment(const Block& block, std::size_t i, int group) const {
  const index_t begin = i == 0 ? 0 : block.segment_ends[i - 1];
  const index_t end = block.segment_ends[i];
  const index_t first = block.offset[static_cast<std::size_t>(begin)];
  const index_t tokens = block.offset[static_cast<std::size_t>(end)] - first;
  const auto g = static_cast<std::size_t>(group);
  Segment segment{begin, end, first, {d_[g][i % 2].data(), tokens, d_panel_}};
  if (tape_.projects()) {
    segment.d.projected = dprojected_[g][i % 2].data();
    segment.d.projected_stride = tape_.state_stride;
  }
  return segment;
}

template <class Real>
void BackwardPass<Real>::collect_sources(const Block& block) const {
  auto& sources = block.sums->sources;
  if (tape_.from_zero && s_.steps > 0) sources.zero_state_tokens = block.offset[1];
  for (index_t t = 0; t < s_.steps; ++t) {
    const index_t alive = block.rows.alive(s_.alive(t));
    for (index_t i = 0; i < alive; ++i) {
      const index_t row = block.rows.row(i);
      const index_t token = s_.token(t, row);
      sources.h.push_back(left_before(t, row));
      if (tape_.rh.size() > 0) sources.rh.push_back(tape_.rh.data() + token * tape_.state_stride);
      if (tape_.from_table()) {
        sources.row_of_token.push_back(tape_.row_of_token[static_cast<std::size_t>(token)]);
      } else {
        sources.x.push_back(tape_.x_rows[static_cast<std::size_t>(token)]);
      }
    }
  }
}

template <class Real>
void BackwardPass<Real>::run() {
  const BlockSigns signs = weight_signs(cell_, tape_.update_gate_writes);
  WeightGradients<Real>& sums = *blocks_.front().sums;
  parallel(threads_, [&](const Member& member) {
    const Plan plan = make_plan(work_, member.size);
    if (member.id == 0) {
      for (int g = 0; g < plan.row_groups; ++g) groups_[static_cast<std::size_t>(g)].reset(plan.unit_groups);
    }
    load_gradients(member);
    if (args_.dx) clear_padding(member);
    member.all.wait();
    if (member.id < plan.threads()) {
      const int group = member.id / plan.unit_groups;
      const int part = member.id % plan.unit_groups;
      const Range flat = share(count_of(tape_.hidden_runs), part, plan.unit_groups);
      const auto begin = [&](index_t run) { return tape_.hidden_runs[static_cast<std::size_t>(run)]; };
      const Range outputs{begin(flat.begin), begin(flat.end)};
      const Range units = cell_.has_terms ? Range{0, tape_.units} : outputs;
      const Walker walker{group,
                          part,
                          plan.unit_groups,
                          flat,
                          units,
                          outputs,
                          {groups_[static_cast<std::size_t>(group)], part},
                          static_cast<std::size_t>(member.id)};
      const Range blocks = share(s_.blocks, group, plan.row_groups);
      for (index_t b = blocks.begin; b < blocks.end; ++b) walk(blocks_[static_cast<std::size_t>(b)], walker);
    }
    member.all.wait();
    for (std::size_t b = 1; b < blocks_.size(); ++b) sums.add(*blocks_[b].sums, member.id, member.size);
    if (blocks_.size() > 1) member.all.wait();
    if (tape_.from_table()) table_gradients(member);
    sums.store(signs, args_.dkernel, args_.drecurrent, member.id, member.size);
    store_states(member);
  });
  const BlockSigns behind = block_signs(cell_, tape_.update_gate_writes);
  if (args_.dbias) sums.store_bias(behind, args_.dbias);
  if (cell_.has_terms) sums.store_terms(behind, args_);
}

template <class Real>
void add_row(View<const Real, 2> from, index_t row, Real* to) {
  if (!from) return;
  for (index_t u = 0; u < from.shape[1]; ++u) to[u] += from(row, u);
}

// What the caller gives for the last states: their own gradients, and those of the outputs that repeat them.
template <class Real>
void BackwardPass<Real>::load_gradients(const Member& member) {
  const Range rows = share(s_.rows, member.id, member.size);
  for (index_t r = rows.begin; r < rows.end; ++r) {
    const index_t caller = s_.order[static_cast<std::size_t>(r)];
    Real* dh = dh_.data() + r * tape_.state_stride;
    std::fill_n(dh, tape_.state_stride, Real{0});
    if (caller >= 0) add_row(args_.dh_T, caller, dh);  // a trunk has no output
    if (cell_.has_c) {
      Real* dc = dc_.data() + r * tape_.state_stride;
      std::fill_n(dc, tape_.state_stride, Real{0});
      if (caller >= 0) add_row(args_.dc_T, caller, dc);
    }
    if (caller < 0) continue;
    if (!args_.dy) continue;
    for (index_t t = s_.first_output(r) + s_.lengths[static_cast<std::size_t>(r)]; t < s_.positions; ++t) {
      for (index_t u = 0; u < tape_.outputs; ++u) dh[u] += args_.dy(caller, t, u);
    }
  }
}

// Positions without a token have no gradient.
template <class Real>
void BackwardPass<Real>::clear_padding(const Member& member) {
  if (s_.whole()) return;
  const Range rows = share(s_.rows, member.id, member.size);
  for (index_t r = rows.begin; r < rows.end; ++r) {
    const index_t caller = s_.order[static_cast<std::size_t>(r)];
    const index_t first = s_.starts[static_cast<std::size_t>(r)];
    const index_t end = first + s_.lengths[static_cast<std::size_t>(r)];
    for (index_t t = 0; t < s_.positions; ++t) {
      if (t < first || t >= end) std::fill_n(&args_.dx(caller, t, index_t{0}), tape_.inputs, Real{0});
    }
  }
}

template <class Real>
void BackwardPass<Real>::walk(Block& block, const Walker& walker) {
  if (walker.part == 0) {
    collect_sources(block);
    if (tape_.from_table()) {
      block.sums->find_first_uses([&](auto&& range) {
        for (std::size_t i = block.segment_ends.size(); i-- > 0;) {
          const Segment s = segment(block, i, walker.group);
          range(s.first_token, s.first_token + s.d.tokens);
        }
      });
    }
  }
  block.sums->clear(walker.part, walker.parts);
  walker.barrier.wait();
  for (std::size_t i = block.segment_ends.size(); i-- > 0;) {
    const Segment now = segment(block, i, walker.group);
    for (index_t t = now.end; t-- > now.begin;) step(t, block, now, walker);
    if (args_.dx) input_gradients(block, now, walker);
    walker.barrier.wait();
    block.sums->add(now.d, now.first_token, walker.part, walker.parts);
  }
  walker.barrier.wait();
}

template <class Real>
void BackwardPass<Real>::step(index_t t, const Block& block, const Segment& segment, const Walker& walker) {
  const RowSet& rows = block.rows;
  const index_t first = rows.first;
  CellStep<Real> args{};
  args.rows = rows.alive(s_.alive(t));
  args.state_stride = tape_.state_stride * rows.step;
  args.units = tape_.units;
  args.outputs = tape_.outputs;
  args.descending = t % 2 != 0;
  args.from_zero = t == 0 && tape_.from_zero;
  args.flat_runs = tape_.hidden_runs.data();
  args.flat_begin = walker.flat.begin;
  args.flat_end = walker.flat.end;
  args.panel_begin = walker.units.begin / k_.lanes;
  args.panel_end = (walker.units.end + k_.lanes - 1) / k_.lanes;
  args.h_prev = h_before(t, first);
  args.left = left_before(t, first);
  if (tape_.between.mask) args.mask = tape_.mask.data() + first * tape_.state_stride;
  if (cell_.has_c) {
    args.c_prev = tape_.c.data() + s_.state(t, first) * tape_.state_stride;
    args.c = tape_.c.data() + s_.state(t + 1, first) * tape_.state_stride;
    if (tape_.between.zone_c) args.c = tape_.c_new.data() + s_.token(t, first) * tape_.state_stride;
    args.dc = dc_.data() + first * tape_.state_stride;
  }
  if (tape_.rh.size() > 0) args.drh = drh_.data() + first * tape_.state_stride;
  args.dh = dh_.data() + first * tape_.state_stride;
  args.gates = tape_.gates.data() + s_.token(t, first) * tape_.record_stride;
  args.gates_stride = tape_.record_stride * rows.step;
  args.d = segment.d.d + (block.offset[static_cast<std::size_t>(t)] - segment.first_token) * d_stride_;
  args.d_stride = d_stride_;
  args.d_panel = segment.d.panel;
  if (segment.d.projected != nullptr) {
    args.dprojected =
        segment.d.projected + (block.offset[static_cast<std::size_t>(t)] - segment.first_token) * segment.d.projected_stride;
    args.dprojected_stride = segment.d.projected_stride;
  }
  args.terms = tape_.terms ? &tape_.terms->view : nullptr;
  args.dterms = block.sums->term_gradients();
  args.weights_t[0] = tape_.recurrent_t[0].data();
  args.weights_t[1] = tape_.recurrent_t[1].data();
  if (args_.dy) {
    auto& dy = from_[walker.id];
    for (index_t i = 0; i < args.rows; ++i) {
      const index_t row = rows.row(i);
      dy[static_cast<std::size_t>(i)] =
          &args_.dy(s_.order[static_cast<std::size_t>(row)], s_.first_output(row) + t, index_t{0});
    }
    args.dy = dy.data();
  }
  const bool zoned = tape_.between.zone_h || tape_.between.zone_c;
  if (zoned) {
    divide(t, rows, walker, args.dy);
    args.dy = nullptr;
  }
  const CellKernels<Real>& cell = k_.cells[static_cast<int>(tape_.cell)];
  for (int phase = 0; phase < cell.backward_phases; ++phase) {
    cell.backward[phase](args);
    if (phase + 1 < cell.backward_phases) walker.barrier.wait();
  }
  if (zoned) rejoin(t, rows, walker);
  part_from_trunk(t, rows, walker);
}

// With zoneout a state's gradient, which includes the output's, divides into two parts: one past the step, one through it.
template <class Real>
void BackwardPass<Real>::divide(index_t t, const RowSet& rows, const Walker& walker, const Real* const* dy) {
  const Range outputs = walker.outputs, units = walker.units;
  for (index_t i = 0; i < rows.alive(s_.alive(t)); ++i) {
    const index_t row = rows.row(i);
    const index_t caller = s_.order[static_cast<std::size_t>(row)];
    const index_t position = s_.input_position(row, t);
    const index_t of_h = row * tape_.state_stride + outputs.begin;
    const index_t of_c = row * tape_.state_stride + units.begin;
    if (dy != nullptr) k_.add(dy[i] + outputs.begin, outputs.size(), dh_.data() + of_h);
    if (tape_.between.zone_h) {
      k_.divide(&tape_.between.zone_h(caller, position, outputs.begin), outputs.size(), dh_.data() + of_h,
                kept_h_.data() + of_h);
    }
    if (tape_.between.zone_c) {
      k_.divide(&tape_.between.zone_c(caller, position, units.begin), units.size(), dc_.data() + of_c, kept_c_.data() + of_c);
    }
  }
}

template <class Real>
void BackwardPass<Real>::rejoin(index_t t, const RowSet& rows, const Walker& walker) {
  const Range outputs = walker.outputs, units = walker.units;
  for (index_t i = 0; i < rows.alive(s_.alive(t)); ++i) {
    const index_t of_h = rows.row(i) * tape_.state_stride + outputs.begin;
    const index_t of_c = rows.row(i) * tape_.state_stride + units.begin;
    if (tape_.between.zone_h) k_.add(kept_h_.data() + of_h, outputs.size(), dh_.data() + of_h);
    if (tape_.between.zone_c) k_.add(kept_c_.data() + of_c, units.size(), dc_.data() + of_c);
  }
}

// The rows that joined at step t hand their gradients back to their trunk, whose state they started from.
template <class Real>
void BackwardPass<Real>::part_from_trunk(index_t t, const RowSet& rows, const Walker& walker) {
  const auto hand_back = [&](const Buffer<Real>& gradients, index_t row, Range part) {
    Real* to = gradients.data() + rows.first * tape_.state_stride;
    const Real* from = gradients.data() + row * tape_.state_stride;
    for (index_t u = part.begin; u < part.end; ++u) to[u] += from[u];
  };
  for (index_t i = rows.alive(s_.joining(t)); i < rows.alive(s_.alive(t)); ++i) {
    hand_back(dh_, rows.row(i), walker.outputs);
    if (cell_.has_c) hand_back(dc_, rows.row(i), walker.units);
  }
}

// dx = D · Wᵀ for the segment's tokens.
template <class Real>
void BackwardPass<Real>::input_gradients(const Block& block, const Segment& segment, const Walker& walker) {
  auto& from = from_[walker.id];
  auto& to = to_[walker.id];
  std::size_t n = 0;
  for (index_t t = segment.begin; t < segment.end; ++t) {
    const index_t alive = block.rows.alive(s_.alive(t));
    for (index_t i = 0; i < alive; ++i, ++n) {
      const index_t row = block.rows.row(i);
      from[n] = segment.d.row(static_cast<index_t>(n), d_stride_);
      to[n] = &args_.dx(s_.order[static_cast<std::size_t>(row)], s_.input_position(row, t), index_t{0});
    }
  }
  const Range runs = share(count_of(tape_.input_runs), walker.part, walker.parts);
  product_with_input(segment.d, from.data(), to.data(), static_cast<index_t>(n), runs);
}

template <class Real>
void BackwardPass<Real>::product_with_input(const GateGradients<Real>& d, const Real* const* from, Real* const* to,
                                            index_t rows, Range runs) {
  const index_t slots = cell_.input.slots;
  const index_t full = layout_.full();
  const index_t run = k_.lanes * k_.flat_vectors;
  const index_t inputs = tape_.inputs;
  k_.product({.a = from,
              .c = to,
              .rows = rows,
              .k = {0, full, slots * k_.lanes, d.panel, full * d.panel, slots * layout_.tail()},
              .n = {0, inputs / run, run, run, inputs / run * run, inputs % run},
              .b = tape_.input_t.data(),
              .bias = nullptr,
              .accumulate = false,
              .run_begin = runs.begin,
              .run_end = runs.end});
}

// The gradients of the input's weights and of the table, from the tokens' gradients summed for each different row.
template <class Real>
void BackwardPass<Real>::table_gradients(const Member& member) {
  WeightGradients<Real>& sums = *blocks_.front().sums;
  sums.add_table(tape_.x_rows.data(), member.id, member.size);
  member.all.wait();
  if (!args_.dtable_rows) return;
  const GateGradients<Real> d = sums.table_rows();
  const Range rows = share(d.tokens, member.id, member.size);
  constexpr index_t chunk = 192;
  std::array<const Real*, chunk> from{};
  std::array<Real*, chunk> to{};
  for (index_t begin = rows.begin; begin < rows.end; begin += chunk) {
    const index_t count = std::min<index_t>(chunk, rows.end - begin);
    for (index_t i = 0; i < count; ++i) {
      from[static_cast<std::size_t>(i)] = d.row(begin + i, d_stride_);
      to[static_cast<std::size_t>(i)] = &args_.dtable_rows(begin + i, index_t{0});
    }
    product_with_input(d, from.data(), to.data(), count, {0, count_of(tape_.input_runs)});
  }
}

template <class Real>
void BackwardPass<Real>::store_states(const Member& member) {
  if (tape_.from_zero) return;
  const Range rows = share(s_.rows, member.id, member.size);
  for (index_t r = rows.begin; r < rows.end; ++r) {
    const index_t caller = s_.order[static_cast<std::size_t>(r)];
    std::copy_n(dh_.data() + r * tape_.state_stride, tape_.outputs, &args_.dh0(caller, index_t{0}));
    if (cell_.has_c) std::copy_n(dc_.data() + r * tape_.state_stride, tape_.units, &args_.dc0(caller, index_t{0}));
  }
}

}  // namespace

template <class Real>
void recurrent_backward(const Tape<Real>& tape, const Backward<Real>& args) {
  BackwardPass<Real>(tape, args).run();
}
template void recurrent_backward(const Tape<float>&, const Backward<float>&);
template void recurrent_backward(const Tape<double>&, const Backward<double>&);

}  // namespace rnnext
