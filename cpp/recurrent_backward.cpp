#include <algorithm>

#include "dispatch.h"
#include "parallel.h"
#include "plan.h"
#include "recurrent.h"

namespace rnnext {
namespace {

std::size_t floats(index_t rows, index_t stride) { return static_cast<std::size_t>(rows * stride); }

// One weight gradient: dW[m, :] sums, over tokens, source[token][m] times the record's slots.
struct WeightGradient {
  Operand op;
  index_t rows;  // M
  const float* const* source;  // [tokens of the segment]
  Buffer packed;               // gate panels of M rows
};

class BackwardPass {
 public:
  BackwardPass(const Tape& tape, const Backward& args);
  void run();

 private:
  // The gradients of the pre-activations of a segment's tokens, [panel][token][slot][lane].
  struct Segment {
    index_t begin, end;  // steps
    index_t first_token, tokens;
    float* d;
    index_t panel;  // floats from panel to panel
  };

  void plan_segments();
  Segment segment(std::size_t i) const;
  void load_gradients(const Member& member);
  void walk(const Member& member, const Plan& plan);
  void step(index_t t, const Segment& segment, const RowSet& rows, Range flat, const float** dy, Barrier& group);
  void input_gradients(const Segment& segment, const RowSet& rows, int part, int parts, std::size_t member);
  void product_with_input(const Segment& segment, const float* const* from, float* const* to, index_t rows, Range runs);
  void weight_gradients(const Segment& segment, const Member& member, std::size_t first, std::size_t last);
  void bias_gradients(const Segment& segment, const Member& member);
  void gather_table_rows(const Segment& segment, const Member& member);
  void table_gradients(const Member& member);
  void outer(const Segment& segment, const WeightGradient& gradient, index_t panel, index_t m_begin, index_t m_end);
  void store_weights(const Member& member);
  void store_bias();
  void store_states(const Member& member);
  void clear_padding(const Member& member);

  index_t state_row(index_t t, index_t row) const { return t == 0 ? row : s_.rows + s_.token(t - 1, row); }
  const float* h_after(index_t t, index_t row) const { return tape_.h.data() + state_row(t, row) * tape_.state_stride; }

  const Tape& tape_;
  const Backward& args_;
  const Schedule& s_;
  const KernelTable& k_;
  const CellTraits& cell_;
  const PanelLayout layout_;
  const index_t flat_runs_;
  const index_t d_stride_;
  Work work_;
  int threads_;
  std::vector<index_t> segment_ends_;  // steps, ascending
  index_t segment_tokens_ = 0;         // at most
  index_t d_panel_ = 0;
  std::array<Buffer, 2> d_;  // a thread may be one segment ahead of the others
  Buffer dh_, dc_, drh_;     // [B, state_stride]
  Buffer bias_;              // [panel][slot][lane]
  Segment table_{};     // with ids: the same as a segment, of the different rows in place of tokens
  Buffer table_d_;
  std::array<WeightGradient, 3> gradients_;
  std::size_t gradient_count_ = 0;
  std::vector<const float*> h_rows_, rh_rows_;  // [tokens]
  std::unique_ptr<Barrier[]> groups_;
  std::vector<std::vector<const float*>> from_;  // by member
  std::vector<std::vector<float*>> to_;
};

index_t d_row_floats(const CellTraits& cell, int lanes) { return (cell.record_slots * lanes + 15) / 16 * 16; }

BackwardPass::BackwardPass(const Tape& tape, const Backward& args)
    : tape_(tape),
      args_(args),
      s_(tape.schedule),
      k_(kernels()),
      cell_(traits(tape.cell)),
      layout_{tape.units, k_.lanes},
      flat_runs_((layout_.panels() + k_.flat_vectors - 1) / k_.flat_vectors),
      d_stride_(d_row_floats(cell_, k_.lanes)),
      work_{s_.tokens(), s_.steps, s_.rows, tape.inputs, tape.units, cell_.gates, true, cell_.has_rh ? 2 : 1},
      threads_(threads_for(work_, num_threads())) {
  plan_segments();
  // One more row than needed keeps panels from falling on the same cache sets.
  d_panel_ = (segment_tokens_ + 1) * d_stride_;
  for (Buffer& d : d_) d = Buffer(floats(layout_.panels(), d_panel_) + 64);
  dh_ = Buffer(floats(s_.rows, tape.state_stride));
  if (cell_.has_c) dc_ = Buffer(floats(s_.rows, tape.state_stride));
  if (cell_.has_rh) drh_ = Buffer(floats(s_.rows, tape.state_stride));
  bias_ = Buffer(floats(layout_.panels(), cell_.record_slots * k_.lanes));
  if (tape.from_table()) {
    const auto rows = static_cast<index_t>(tape.table_rows.size());
    table_d_ = Buffer(floats(layout_.panels(), (rows + 1) * d_stride_) + 64);
    table_ = {0, 0, 0, rows, table_d_.data(), (rows + 1) * d_stride_};
  }
  h_rows_.resize(floats(s_.tokens(), 1));
  if (cell_.has_rh) rh_rows_.resize(floats(s_.tokens(), 1));
  for (index_t t = 0; t < s_.steps; ++t) {
    for (index_t r = 0; r < s_.alive(t); ++r) {
      const auto token = static_cast<std::size_t>(s_.token(t, r));
      h_rows_[token] = h_after(t, r);
      if (cell_.has_rh) rh_rows_[token] = tape.rh.data() + s_.token(t, r) * tape.state_stride;
    }
  }
  const auto add = [&](const Operand& op, index_t rows, const float* const* source) {
    gradients_[gradient_count_++] = {op, rows, source, Buffer(floats(layout_.packed_floats(op, rows), 1))};
  };
  add(cell_.input, tape.inputs, tape.x_rows.data());
  add(cell_.recurrent[0], tape.units, h_rows_.data());
  if (cell_.recurrent_count > 1) add(cell_.recurrent[1], tape.units, rh_rows_.data());
  groups_ = std::make_unique<Barrier[]>(static_cast<std::size_t>(threads_));
  from_.resize(static_cast<std::size_t>(threads_));
  to_.resize(static_cast<std::size_t>(threads_));
  const auto most = static_cast<std::size_t>(std::max(segment_tokens_, s_.rows));
  for (auto& v : from_) v.resize(most);
  for (auto& v : to_) v.resize(most);
}

// Enough tokens for the weight gradients to be worth loading, few enough for theirs to stay near. The same for any number of
// threads.
void BackwardPass::plan_segments() {
  constexpr index_t tokens_wanted = 128;
  index_t tokens = 0;
  for (index_t t = 0; t < s_.steps; ++t) {
    tokens += s_.alive(t);
    if (tokens >= tokens_wanted || t + 1 == s_.steps) {
      segment_ends_.push_back(t + 1);
      segment_tokens_ = std::max(segment_tokens_, tokens);
      tokens = 0;
    }
  }
}

BackwardPass::Segment BackwardPass::segment(std::size_t i) const {
  const index_t begin = i == 0 ? 0 : segment_ends_[i - 1];
  const index_t end = segment_ends_[i];
  const index_t first = s_.token(begin, 0);
  return {begin, end, first, s_.token(end, 0) - first, d_[i % 2].data(), d_panel_};
}

void BackwardPass::run() {
  std::fill_n(bias_.data(), bias_.size(), 0.0f);
  parallel(threads_, [&](const Member& member) {
    const Plan plan = make_plan(work_, member.size);
    if (member.id == 0) {
      for (int g = 0; g < plan.row_groups; ++g) groups_[static_cast<std::size_t>(g)].reset(plan.unit_groups);
    }
    load_gradients(member);
    if (args_.dx) clear_padding(member);
    member.all.wait();
    walk(member, plan);
    if (tape_.from_table()) table_gradients(member);
    member.all.wait();
    store_weights(member);
    store_states(member);
  });
  if (args_.dbias) store_bias();
}

void add_row(View<const float, 2> from, index_t row, float* to) {
  if (!from) return;
  for (index_t u = 0; u < from.shape[1]; ++u) to[u] += from(row, u);
}

// What comes from outside for the last states: their own gradients, and those of the outputs that repeat them.
void BackwardPass::load_gradients(const Member& member) {
  const Range rows = share(s_.rows, member.id, member.size);
  for (index_t r = rows.begin; r < rows.end; ++r) {
    const index_t caller = s_.order[static_cast<std::size_t>(r)];
    float* dh = dh_.data() + r * tape_.state_stride;
    std::fill_n(dh, tape_.state_stride, 0.0f);
    add_row(args_.dh_T, caller, dh);
    if (args_.dy) {
      for (index_t t = s_.first_output(r) + s_.lengths[static_cast<std::size_t>(r)]; t < s_.positions; ++t) {
        for (index_t u = 0; u < tape_.units; ++u) dh[u] += args_.dy(caller, t, u);
      }
    }
    if (cell_.has_c) {
      float* dc = dc_.data() + r * tape_.state_stride;
      std::fill_n(dc, tape_.state_stride, 0.0f);
      add_row(args_.dc_T, caller, dc);
    }
  }
  for (std::size_t g = 0; g < gradient_count_; ++g) {
    const Range part = share(static_cast<std::ptrdiff_t>(gradients_[g].packed.size()), member.id, member.size);
    std::fill(gradients_[g].packed.data() + part.begin, gradients_[g].packed.data() + part.end, 0.0f);
  }
  const Range part = share(static_cast<std::ptrdiff_t>(table_d_.size()), member.id, member.size);
  std::fill(table_d_.data() + part.begin, table_d_.data() + part.end, 0.0f);
}

// Positions without a token have no gradient.
void BackwardPass::clear_padding(const Member& member) {
  if (s_.whole()) return;
  const Range rows = share(s_.rows, member.id, member.size);
  for (index_t r = rows.begin; r < rows.end; ++r) {
    const index_t caller = s_.order[static_cast<std::size_t>(r)];
    const index_t first = s_.starts[static_cast<std::size_t>(r)];
    const index_t end = first + s_.lengths[static_cast<std::size_t>(r)];
    for (index_t t = 0; t < s_.positions; ++t) {
      if (t < first || t >= end) std::fill_n(&args_.dx(caller, t, index_t{0}), tape_.inputs, 0.0f);
    }
  }
}

void BackwardPass::walk(const Member& member, const Plan& plan) {
  const int group = member.id / plan.unit_groups;
  const int part = member.id % plan.unit_groups;
  const bool active = member.id < plan.threads();
  const RowSet rows = active ? row_set(s_, group, plan.row_groups) : RowSet{0, 1, 0};
  const Range flat = share(flat_runs_, part, plan.unit_groups);
  Barrier& barrier = groups_[static_cast<std::size_t>(active ? group : 0)];
  const auto id = static_cast<std::size_t>(member.id);
  for (std::size_t i = segment_ends_.size(); i-- > 0;) {
    const Segment now = segment(i);
    if (active) {
      for (index_t t = now.end; t-- > now.begin;) step(t, now, rows, flat, from_[id].data(), barrier);
      if (args_.dx) input_gradients(now, rows, part, plan.unit_groups, id);
    }
    member.all.wait();
    weight_gradients(now, member, tape_.from_table() ? 1 : 0, gradient_count_);
    if (args_.dbias) bias_gradients(now, member);
    if (tape_.from_table()) gather_table_rows(now, member);
  }
}

// Sums the tokens' gradients by the table's row that they came from.
void BackwardPass::gather_table_rows(const Segment& segment, const Member& member) {
  const Range panels = share(layout_.panels(), member.id, member.size);
  for (index_t p = panels.begin; p < panels.end; ++p) {
    k_.row_sums({.d = segment.d + p * segment.panel,
                 .stride = d_stride_,
                 .k = segment.tokens,
                 .index = tape_.row_of_token.data() + segment.first_token,
                 .width = cell_.input.slots * layout_.width(p),
                 .sums = table_.d + p * table_.panel});
  }
}

// What the input's products are for tokens, once for each different row.
void BackwardPass::table_gradients(const Member& member) {
  member.all.wait();
  weight_gradients(table_, member, 0, 1);
  if (!args_.dtable_rows) return;
  const Range rows = share(table_.tokens, member.id, member.size);
  const index_t run = k_.lanes * k_.flat_vectors;
  constexpr index_t chunk = 192;
  std::array<const float*, chunk> from{};
  std::array<float*, chunk> to{};
  for (index_t begin = rows.begin; begin < rows.end; begin += chunk) {
    const index_t count = std::min<index_t>(chunk, rows.end - begin);
    for (index_t i = 0; i < count; ++i) {
      from[static_cast<std::size_t>(i)] = table_.d + (begin + i) * d_stride_;
      to[static_cast<std::size_t>(i)] = &args_.dtable_rows(begin + i, index_t{0});
    }
    product_with_input(table_, from.data(), to.data(), count, {0, (tape_.inputs + run - 1) / run});
  }
}

void BackwardPass::step(index_t t, const Segment& segment, const RowSet& rows, Range flat, const float** dy, Barrier& group) {
  const index_t first = rows.first;
  const index_t state = tape_.state_stride * rows.step;
  CellStep args{};
  args.rows = rows.alive(s_.alive(t));
  args.units = tape_.units;
  args.flat_begin = flat.begin;
  args.flat_end = flat.end;
  args.panel_begin = flat.begin * k_.flat_vectors;
  args.panel_end = std::min<index_t>(flat.end * k_.flat_vectors, layout_.panels());
  args.h_prev = h_after(t, first);
  args.h_prev_stride = args.dh_stride = args.dc_stride = args.drh_stride = state;
  if (cell_.has_c) {
    args.c_prev = tape_.c.data() + state_row(t, first) * tape_.state_stride;
    args.c = tape_.c.data() + state_row(t + 1, first) * tape_.state_stride;
    args.c_prev_stride = args.c_stride = state;
    args.dc = dc_.data() + first * tape_.state_stride;
  }
  if (cell_.has_rh) args.drh = drh_.data() + first * tape_.state_stride;
  args.dh = dh_.data() + first * tape_.state_stride;
  args.gates = tape_.gates.data() + s_.token(t, first) * tape_.record_stride;
  args.gates_stride = tape_.record_stride * rows.step;
  args.d = segment.d + (s_.token(t, first) - segment.first_token) * d_stride_;
  args.d_stride = d_stride_ * rows.step;
  args.d_panel = segment.panel;
  args.weights_t[0] = tape_.recurrent_t[0].data();
  args.weights_t[1] = tape_.recurrent_t[1].data();
  if (args_.dy) {
    for (index_t i = 0; i < args.rows; ++i) {
      const index_t row = rows.row(i);
      dy[i] = &args_.dy(s_.order[static_cast<std::size_t>(row)], s_.first_output(row) + t, index_t{0});
    }
    args.dy = dy;
  }
  const CellKernels& cell = k_.cells[static_cast<int>(tape_.cell)];
  for (int phase = 0; phase < cell.backward_phases; ++phase) {
    cell.backward[phase](args);
    if (phase + 1 < cell.backward_phases) group.wait();
  }
}

// dx = D · Wᵀ for the segment's tokens of these rows.
void BackwardPass::input_gradients(const Segment& segment, const RowSet& rows, int part, int parts, std::size_t member) {
  auto& from = from_[member];
  auto& to = to_[member];
  std::size_t n = 0;
  for (index_t t = segment.begin; t < segment.end; ++t) {
    const index_t alive = rows.alive(s_.alive(t));
    for (index_t i = 0; i < alive; ++i, ++n) {
      const index_t row = rows.row(i);
      from[n] = segment.d + (s_.token(t, row) - segment.first_token) * d_stride_;
      to[n] = &args_.dx(s_.order[static_cast<std::size_t>(row)], s_.input_position(row, t), index_t{0});
    }
  }
  const index_t run = k_.lanes * k_.flat_vectors;
  product_with_input(segment, from.data(), to.data(), static_cast<index_t>(n), share((tape_.inputs + run - 1) / run, part, parts));
}

void BackwardPass::product_with_input(const Segment& segment, const float* const* from, float* const* to, index_t rows,
                                      Range runs) {
  const index_t slots = cell_.input.slots;
  const index_t full = layout_.full();
  const index_t run = k_.lanes * k_.flat_vectors;
  const index_t inputs = tape_.inputs;
  k_.product({.a = from,
              .c = to,
              .rows = rows,
              .k = {0, full, slots * k_.lanes, segment.panel, full * segment.panel, slots * layout_.tail()},
              .n = {0, inputs / run, run, run, inputs / run * run, inputs % run},
              .b = tape_.input_t.data(),
              .bias = nullptr,
              .accumulate = false,
              .run_begin = runs.begin,
              .run_end = runs.end});
}

// The segment's part of every weight gradient. Outputs are split over the threads, never the sum over tokens.
void BackwardPass::weight_gradients(const Segment& segment, const Member& member, std::size_t first, std::size_t last) {
  constexpr index_t tile = 12;  // rows of a gradient that stay together
  index_t total = 0;
  for (std::size_t g = first; g < last; ++g) total += gradients_[g].rows * gradients_[g].op.slots * tape_.units;
  const Range mine = share(total, member.id, member.size);
  index_t done = 0;
  for (std::size_t g = first; g < last; ++g) {
    const WeightGradient& gradient = gradients_[g];
    for (index_t p = 0; p < layout_.panels(); ++p) {
      const index_t width = gradient.op.slots * layout_.width(p);
      const index_t size = gradient.rows * width;
      const auto row_at = [&](index_t position) {
        const index_t row = std::clamp<index_t>((position - done) / width, 0, gradient.rows);
        return row == gradient.rows ? row : row / tile * tile;
      };
      outer(segment, gradient, p, row_at(mine.begin), row_at(mine.end));
      done += size;
    }
  }
}

void BackwardPass::bias_gradients(const Segment& segment, const Member& member) {
  const Range panels = share(layout_.panels(), member.id, member.size);
  for (index_t p = panels.begin; p < panels.end; ++p) {
    k_.column_sums({.d = segment.d + p * segment.panel,
                    .d_stride = d_stride_,
                    .k = segment.tokens,
                    .width = cell_.record_slots * layout_.width(p),
                    .sums = bias_.data() + p * cell_.record_slots * k_.lanes});
  }
}

void BackwardPass::outer(const Segment& segment, const WeightGradient& gradient, index_t panel, index_t m_begin, index_t m_end) {
  if (m_begin >= m_end) return;
  const index_t width = layout_.width(panel);
  k_.outer_product({.a = gradient.source + segment.first_token,
                    .d = segment.d + panel * segment.panel + gradient.op.first_slot * width,
                    .d_stride = d_stride_,
                    .k = segment.tokens,
                    .m_begin = m_begin,
                    .m_end = m_end,
                    .width = gradient.op.slots * width,
                    .c = gradient.packed.data() + layout_.panel_offset(gradient.op, panel, gradient.rows)});
}

void BackwardPass::store_weights(const Member& member) {
  const BlockSigns signs = block_signs(cell_, tape_.update_gate_writes);
  for (std::size_t g = 0; g < gradient_count_; ++g) {
    const WeightGradient& gradient = gradients_[g];
    const Range rows = share(gradient.rows, member.id, member.size);
    unpack_gates(gradient.packed.data(), gradient.op, signs, layout_, rows.begin, rows.end, g == 0 ? args_.dkernel : args_.drecurrent);
  }
}

void BackwardPass::store_bias() {
  const BlockSigns signs = block_signs(cell_, tape_.update_gate_writes);
  const auto store = [&](const Operand& op, index_t row) {
    for (index_t u = 0; u < tape_.units; ++u) {
      const index_t panel = u / k_.lanes;
      const float* sums = bias_.data() + panel * cell_.record_slots * k_.lanes;
      for (int slot = 0; slot < op.slots; ++slot) {
        const auto block = static_cast<std::size_t>(op.blocks[static_cast<std::size_t>(slot)]);
        args_.dbias(row, static_cast<index_t>(block) * tape_.units + u) =
            signs.of[block] * sums[(op.first_slot + slot) * layout_.width(panel) + u % k_.lanes];
      }
    }
  };
  store(cell_.input, 0);
  if (cell_.has_recurrent_bias) store(cell_.recurrent[0], 1);
}

void BackwardPass::store_states(const Member& member) {
  const Range rows = share(s_.rows, member.id, member.size);
  for (index_t r = rows.begin; r < rows.end; ++r) {
    const index_t caller = s_.order[static_cast<std::size_t>(r)];
    std::copy_n(dh_.data() + r * tape_.state_stride, tape_.units, &args_.dh0(caller, index_t{0}));
    if (cell_.has_c) std::copy_n(dc_.data() + r * tape_.state_stride, tape_.units, &args_.dc0(caller, index_t{0}));
  }
}

}  // namespace

void recurrent_backward(const Tape& tape, const Backward& args) { BackwardPass(tape, args).run(); }

}  // namespace rnnext
