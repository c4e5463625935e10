#include <algorithm>
#include <bit>

#include "dispatch.h"
#include "parallel.h"
#include "plan.h"
#include "recurrent.h"

namespace rnnext {
namespace {

std::size_t elements(index_t rows, index_t stride) { return static_cast<std::size_t>(rows * stride); }

template <class Real>
class ForwardPass {
 public:
  ForwardPass(const Forward<Real>& args, Tape<Real>& tape, bool keep_tape);
  void run();

 private:
  // A thread's part in the group that it walks with: these panels, which are those units of c and those of h.
  struct Part {
    int part, parts;
    Range panels, units, outputs;
    std::size_t id;
  };

  void pack(const Member& member);
  void load_states(const Member& member);
  void walk(const Member& member, const Plan& plan);
  void walk_rows(const RowSet& rows, const Part& mine, const Meeting& barrier);
  void collect_rows();
  void collect_ids();
  void collect_table_rows();
  void project_table(const Member& member);
  void project(index_t begin, index_t end, const RowSet& rows, Range panels, std::vector<const Real*>& from,
               std::vector<Real*>& to);
  void step(index_t t, const RowSet& rows, Range panels, const Real* const* input, const Meeting& group);
  void join(index_t t, const RowSet& rows, Range outputs, Range units, const Meeting& group);
  void between(index_t t, const RowSet& rows, Range outputs, Range units, const Meeting& group);
  void copy_outputs(index_t t, const RowSet& rows, Range outputs);
  void finish_rows(const RowSet& rows, int member, int members);

  index_t gates_row(index_t t, index_t row) const { return keep_tape_ ? s_.token(t, row) : t % held_ * s_.rows + row; }
  // The row of the state after t steps. Without a tape there is room for two steps, which take turns; a row's last state stays
  // where the row ended.
  index_t state_row(index_t t, index_t row) const { return keep_tape_ ? s_.state(t, row) : t % 2 * s_.rows + row; }
  // The row of what is kept for each token: r ⊙ h_prev, c before its zoneout.
  index_t token_row(index_t t, index_t row) const { return keep_tape_ ? s_.token(t, row) : row; }
  Real* at_state(const Buffer<Real>& states, index_t t, index_t row) const {
    return states.data() + state_row(t, row) * tape_.state_stride;
  }

  const Forward<Real>& args_;
  Tape<Real>& tape_;
  const Schedule& s_;
  const RecurrentKernels<Real>& k_;
  const CellTraits& cell_;
  const bool keep_tape_;
  const PanelLayout layout_;
  Work work_;
  int threads_;
  index_t block_;                          // steps whose input products are computed, or looked up, together
  index_t held_;                           // without a tape: steps that there are records for
  std::unique_ptr<PackedCell<Real>> own_;  // where the weights come unpacked
  const PackedCell<Real>& packed_;
  Buffer<Real> table_;             // with a table: its different rows projected, [rows, record_stride]
  const Real* records_ = nullptr;  // with ids: the records that row_of_token counts
  std::unique_ptr<Barrier[]> groups_;
  std::vector<std::vector<const Real*>> from_;  // by member: rows of the block's products
  std::vector<std::vector<Real*>> to_;
};

// How many steps make a block: enough rows to be worth loading the weights for (more of them if those come from memory), few
// enough for the records to stay in the cache.
index_t block_steps(index_t rows, index_t record_bytes, index_t weight_bytes) {
  constexpr index_t near_bytes = 256 << 10;
  constexpr index_t far_bytes = 8 << 20;
  const index_t least_rows = weight_bytes > far_bytes ? 128 : 24;
  const index_t fitting = near_bytes / (rows * record_bytes);
  return std::max<index_t>((least_rows + rows - 1) / rows, std::min<index_t>(fitting, 64));
}

template <class Real>
ForwardPass<Real>::ForwardPass(const Forward<Real>& args, Tape<Real>& tape, bool keep_tape)
    : args_(args),
      tape_(tape),
      s_(tape.schedule),
      k_(recurrent_kernels<Real>()),
      cell_(traits(tape.cell)),
      keep_tape_(keep_tape),
      layout_{tape.units, k_.lanes},
      work_{s_.tokens(),
            s_.steps,
            s_.rows,
            tape.inputs,
            tape.units,
            cell_.gates,
            keep_tape,
            cell_.has_rh ? 2 : 1,
            keep_tape || s_.trunks > 0 ? s_.blocks : s_.rows,
            cell_.has_terms,
            k_.lanes},
      threads_(threads_for(work_, num_threads())),
      own_(args.packed == nullptr ? std::make_unique<PackedCell<Real>>(args.weights) : nullptr),
      packed_(own_ ? *own_ : *args.packed) {
  const Plan plan = make_plan(work_, threads_);
  if (!own_ && !args.input.table) threads_ = plan.threads();  // nobody packs or projects: no work for others
  const index_t group_rows = std::max<index_t>(s_.rows / (plan.row_groups * plan.turns), 1);
  const index_t record_bytes = tape.record_stride * static_cast<index_t>(sizeof(Real));
  block_ = args.input.x ? block_steps(group_rows, record_bytes, tape.inputs * cell_.gates * tape.units * 4) : 64;
  held_ = args.input.x ? block_ : 1;
  const index_t records = keep_tape ? s_.tokens() : held_ * s_.rows;
  const index_t states = keep_tape ? s_.states.back() : 2 * s_.rows;
  tape.gates = Buffer<Real>(elements(records, tape.record_stride));
  tape.h = Buffer<Real>(elements(states, tape.state_stride));
  if (cell_.has_c) tape.c = Buffer<Real>(elements(states, tape.state_stride));
  const std::size_t by_token = elements(keep_tape ? s_.tokens() : s_.rows, tape.state_stride);
  if (cell_.has_rh || tape.projects()) tape.rh = Buffer<Real>(by_token);
  if (tape.between.zone_c) tape.c_new = Buffer<Real>(by_token);
  if (tape.between.mask) {
    tape.left = Buffer<Real>(elements(states, tape.state_stride));
    tape.mask = Buffer<Real>(elements(s_.rows, tape.state_stride));
  }
  if (keep_tape) {
    tape.hidden_runs = even_runs(tape.outputs, k_.lanes, k_.flat_vectors);
    tape.input_runs = equal_runs(tape.inputs, k_.lanes * k_.flat_vectors);
    for (int i = 0; i < cell_.recurrent_count; ++i) {
      const auto n = static_cast<std::size_t>(i);
      tape.recurrent_t[n] = Buffer<Real>(elements(transposed_size(tape.outputs, cell_.recurrent[n], layout_), 1));
    }
    tape.input_t = Buffer<Real>(elements(transposed_size(tape.inputs, cell_.input, layout_), 1));
  }
  groups_ = std::make_unique<Barrier[]>(static_cast<std::size_t>(threads_));
  for (int g = 0; g < threads_; ++g) groups_[static_cast<std::size_t>(g)].make_room(threads_);
  from_.resize(static_cast<std::size_t>(threads_));
  to_.resize(static_cast<std::size_t>(threads_));
  for (auto& v : from_) v.resize(elements(block_, s_.rows));
  for (auto& v : to_) v.resize(elements(block_, s_.rows));
  if (args.input.x) {
    collect_rows();
  } else {
    collect_ids();
    if (args.input.table) {
      collect_table_rows();
      table_ = Buffer<Real>(elements(static_cast<index_t>(tape.x_rows.size()), tape.record_stride));
    }
    records_ = args.input.table ? table_.data() : packed_.vocabulary.data();
  }
}

template <class Real>
void ForwardPass<Real>::collect_rows() {
  const View<const Real, 3>& x = args_.input.x;
  tape_.x_rows.resize(elements(s_.tokens(), 1));
  for (index_t t = 0; t < s_.steps; ++t) {
    for (index_t r = 0; r < s_.alive(t); ++r) {
      tape_.x_rows[static_cast<std::size_t>(s_.token(t, r))] =
          x.data + s_.order[static_cast<std::size_t>(r)] * x.strides[0] + s_.input_position(r, t) * x.strides[1];
    }
  }
}

template <class Real>
void ForwardPass<Real>::collect_ids() {
  tape_.row_of_token.resize(elements(s_.tokens(), 1));
  for (index_t t = 0; t < s_.steps; ++t) {
    for (index_t r = 0; r < s_.alive(t); ++r) {
      const index_t caller = s_.order[static_cast<std::size_t>(r)];
      tape_.row_of_token[static_cast<std::size_t>(s_.token(t, r))] =
          caller < 0 ? s_.trunk_id : args_.input.ids(caller, s_.input_position(r, t));
    }
  }
}

// Collects the different ids, and replaces each token's id by its place among them.
template <class Real>
void ForwardPass<Real>::collect_table_rows() {
  const View<const Real, 2>& table = args_.input.table;
  constexpr std::size_t bits = 64;
  const auto rows = static_cast<std::size_t>(table.shape[0]);
  std::vector<std::uint64_t> used((rows + bits - 1) / bits);
  for (const std::int32_t id : tape_.row_of_token) {
    used[static_cast<std::size_t>(id) / bits] |= std::uint64_t{1} << (static_cast<std::size_t>(id) % bits);
  }
  const Buffer<std::int32_t> place(rows);  // of used ids
  for (std::size_t word = 0; word < used.size(); ++word) {
    for (std::uint64_t left = used[word]; left != 0; left &= left - 1) {
      const auto id = static_cast<std::int32_t>(word * bits) + std::countr_zero(left);
      place.data()[id] = static_cast<std::int32_t>(tape_.table_rows.size());
      tape_.table_rows.push_back(id);
      tape_.x_rows.push_back(table.data + id * table.strides[0]);
    }
  }
  for (std::int32_t& row : tape_.row_of_token) row = place.data()[row];
}

template <class Real>
void ForwardPass<Real>::run() {
  parallel(threads_, [&](const Member& member) {
    const Plan plan = make_plan(work_, member.size);
    if (member.id == 0) {
      for (int g = 0; g < plan.row_groups; ++g) groups_[static_cast<std::size_t>(g)].reset(plan.unit_groups);
    }
    pack(member);
    load_states(member);
    member.all.wait();
    if (table_.size() > 0) project_table(member);
    if (member.id < plan.threads()) walk(member, plan);
  });
}

template <class Real>
void ForwardPass<Real>::pack(const Member& member) {
  if (own_) own_->pack(args_.weights, tape_.recurs(), member.id, member.size);
  if (!keep_tape_) return;
  const BlockSigns signs = weight_signs(cell_, args_.weights.update_gate_writes);
  const Range hidden = share(count_of(tape_.hidden_runs), member.id, member.size);
  for (int i = 0; tape_.recurs() && i < cell_.recurrent_count; ++i) {
    const auto n = static_cast<std::size_t>(i);
    pack_transposed(args_.weights.recurrent_kernel, cell_.recurrent[n], signs, layout_, tape_.hidden_runs, hidden.begin,
                    hidden.end, tape_.recurrent_t[n].data());
  }
  const Range input = share(count_of(tape_.input_runs), member.id, member.size);
  pack_transposed(args_.weights.kernel, cell_.input, signs, layout_, tape_.input_runs, input.begin, input.end,
                  tape_.input_t.data());
}

template <class Real>
void load_state(View<const Real, 2> from, index_t row, Real* to, index_t units) {
  if (from) {
    for (index_t u = 0; u < units; ++u) to[u] = from(row, u);
  } else {
    std::fill_n(to, units, Real{0});
  }
}

template <class Real>
void ForwardPass<Real>::load_states(const Member& member) {
  const Range rows = share(s_.rows, member.id, member.size);
  for (index_t r = rows.begin; r < rows.end; ++r) {
    const index_t caller = s_.order[static_cast<std::size_t>(r)];  // of a trunk -1: with trunks there is no initial state
    Real* h = tape_.h.data() + r * tape_.state_stride;
    load_state(args_.h0, caller, h, tape_.outputs);
    if (tape_.between.mask) {
      Real* mask = tape_.mask.data() + r * tape_.state_stride;
      load_state(tape_.between.mask, caller, mask, tape_.outputs);
      k_.multiply(mask, h, tape_.outputs, tape_.left.data() + r * tape_.state_stride);
    }
    if (cell_.has_c) load_state(args_.c0, caller, tape_.c.data() + r * tape_.state_stride, tape_.units);
  }
}

template <class Real>
void ForwardPass<Real>::walk(const Member& member, const Plan& plan) {
  const int group = member.id / plan.unit_groups;
  const int part = member.id % plan.unit_groups;
  const Range panels = share(layout_.panels(), part, plan.unit_groups);
  const Range units{panels.begin * k_.lanes, std::min<index_t>(panels.end * k_.lanes, tape_.units)};
  const Range outputs = cell_.has_terms ? Range{0, tape_.outputs} : units;
  const Meeting barrier{groups_[static_cast<std::size_t>(group)], part};
  const Part mine{part, plan.unit_groups, panels, units, outputs, static_cast<std::size_t>(member.id)};
  for (int turn = 0; turn < plan.turns; ++turn) {
    walk_rows(row_set(s_, group + turn * plan.row_groups, plan.row_groups * plan.turns), mine, barrier);
  }
}

template <class Real>
void ForwardPass<Real>::walk_rows(const RowSet& rows, const Part& mine, const Meeting& barrier) {
  auto& from = from_[mine.id];
  auto& to = to_[mine.id];
  const Real* const* input = nullptr;
  for (index_t t = 0; t < s_.steps; ++t) {
    join(t, rows, mine.outputs, mine.units, barrier);
    if (t % block_ == 0) {
      project(t, std::min(t + block_, s_.steps), rows, mine.panels, from, to);
      input = tape_.from_table() ? from.data() : to.data();
    }
    step(t, rows, mine.panels, input, barrier);
    input += rows.alive(s_.alive(t));
    between(t, rows, mine.outputs, mine.units, barrier);
    if (args_.y) copy_outputs(t, rows, mine.outputs);
  }
  finish_rows(rows, mine.part, mine.parts);
}

// The input's part of the gates for every different row of the table.
template <class Real>
void ForwardPass<Real>::project_table(const Member& member) {
  const Range rows = share(static_cast<std::ptrdiff_t>(tape_.x_rows.size()), member.id, member.size);
  packed_.project(tape_.x_rows.data() + rows.begin, rows.end - rows.begin, table_.data() + rows.begin * tape_.record_stride);
  member.all.wait();
}

// The input's part of the gates, for all steps of a block at once; with a table it has been computed. Leaves the addresses of
// the block's records in `from` (the table's) or in `to`.
template <class Real>
void ForwardPass<Real>::project(index_t begin, index_t end, const RowSet& rows, Range panels, std::vector<const Real*>& from,
                                std::vector<Real*>& to) {
  std::size_t n = 0;
  for (index_t t = begin; t < end; ++t) {
    const index_t alive = rows.alive(s_.alive(t));
    for (index_t i = 0; i < alive; ++i, ++n) {
      const index_t row = rows.row(i);
      const auto token = static_cast<std::size_t>(s_.token(t, row));
      if (tape_.from_table()) {
        from[n] = records_ + tape_.row_of_token[token] * tape_.record_stride;
      } else {
        from[n] = tape_.x_rows[token];
        to[n] = tape_.gates.data() + gates_row(t, row) * tape_.record_stride;
      }
    }
  }
  if (tape_.from_table()) return;
  Product<Real> p = packed_.input_product();
  p.a = from.data();
  p.c = to.data();
  p.rows = static_cast<index_t>(n);
  p.run_begin = panels.begin;
  p.run_end = panels.end;
  k_.product(p);
}

template <class Real>
void ForwardPass<Real>::step(index_t t, const RowSet& rows, Range panels, const Real* const* input, const Meeting& group) {
  const index_t first = rows.first;
  CellStep<Real> args{};
  args.rows = rows.alive(s_.alive(t));
  args.state_stride = tape_.state_stride * rows.step;
  args.units = tape_.units;
  args.outputs = tape_.outputs;
  args.panel_begin = panels.begin;
  args.panel_end = panels.end;
  args.descending = t % 2 != 0;
  args.from_zero = t == 0 && tape_.from_zero;
  args.h_prev = tape_.h.data() + state_row(t, first) * tape_.state_stride;
  args.h = tape_.h.data() + state_row(t + 1, first) * tape_.state_stride;
  args.left = tape_.between.mask ? at_state(tape_.left, t, first) : args.h_prev;
  if (cell_.has_c) {
    args.c_prev = tape_.c.data() + state_row(t, first) * tape_.state_stride;
    args.c = tape_.c.data() + state_row(t + 1, first) * tape_.state_stride;
    if (tape_.between.zone_c) args.c = tape_.c_new.data() + token_row(t, first) * tape_.state_stride;
  }
  if (tape_.rh.size() > 0) args.rh = tape_.rh.data() + token_row(t, first) * tape_.state_stride;
  args.input = input;
  if (tape_.from_table() && (t + 1) % block_ != 0 && t + 1 < s_.steps) {
    args.ahead = input + args.rows;
    args.ahead_rows = rows.alive(s_.alive(t + 1));
    if (keep_tape_) args.gates_ahead = (gates_row(t + 1, first) - gates_row(t, first)) * tape_.record_stride;
  }
  args.gates = tape_.gates.data() + gates_row(t, first) * tape_.record_stride;
  args.gates_stride = tape_.record_stride * rows.step;
  args.gates_wanted = keep_tape_;
  args.weights[0] = packed_.recurrent[0].data();
  args.weights[1] = packed_.recurrent[1].data();
  args.bias = packed_.recurrent_bias.data();
  args.terms = tape_.terms ? &tape_.terms->view : nullptr;
  const CellKernels<Real>& cell = k_.cells[static_cast<int>(tape_.cell)];
  for (int phase = 0; phase < cell.forward_phases; ++phase) {
    cell.forward[phase](args);
    group.wait();
  }
}

// Rows that join start from the state of their trunk.
template <class Real>
void ForwardPass<Real>::join(index_t t, const RowSet& rows, Range outputs, Range units, const Meeting& group) {
  const index_t before = rows.alive(s_.joining(t));
  const index_t after = rows.alive(s_.alive(t));
  if (before >= after) return;
  const auto copy = [&](const Buffer<Real>& states, index_t row, Range part) {
    const Real* from = states.data() + state_row(t, rows.first) * tape_.state_stride;
    std::copy(from + part.begin, from + part.end, states.data() + state_row(t, row) * tape_.state_stride + part.begin);
  };
  for (index_t i = before; i < after; ++i) {
    copy(tape_.h, rows.row(i), outputs);
    if (cell_.has_c) copy(tape_.c, rows.row(i), units);
  }
  group.wait();
}

// After step t: zoneout, and what the products of the next step read.
template <class Real>
void ForwardPass<Real>::between(index_t t, const RowSet& rows, Range outputs, Range units, const Meeting& group) {
  const Between<Real>& b = tape_.between;
  if (!b.any()) return;
  for (index_t i = 0; i < rows.alive(s_.alive(t)); ++i) {
    const index_t row = rows.row(i);
    const index_t caller = s_.order[static_cast<std::size_t>(row)];
    const index_t position = s_.input_position(row, t);
    if (b.zone_h) {
      Real* h = at_state(tape_.h, t + 1, row) + outputs.begin;
      k_.keep_share(&b.zone_h(caller, position, outputs.begin), at_state(tape_.h, t, row) + outputs.begin, h, outputs.size(),
                    h);
    }
    if (b.zone_c) {
      k_.keep_share(&b.zone_c(caller, position, units.begin), at_state(tape_.c, t, row) + units.begin,
                    tape_.c_new.data() + token_row(t, row) * tape_.state_stride + units.begin, units.size(),
                    at_state(tape_.c, t + 1, row) + units.begin);
    }
    if (b.mask) {
      k_.multiply(tape_.mask.data() + row * tape_.state_stride + outputs.begin, at_state(tape_.h, t + 1, row) + outputs.begin,
                  outputs.size(), at_state(tape_.left, t + 1, row) + outputs.begin);
    }
  }
  group.wait();
}

template <class Real>
void ForwardPass<Real>::copy_outputs(index_t t, const RowSet& rows, Range outputs) {
  const index_t alive = rows.alive(s_.alive(t));
  for (index_t i = 0; i < alive; ++i) {
    const index_t row = rows.row(i);
    const Real* h = tape_.h.data() + state_row(t + 1, row) * tape_.state_stride;
    Real* y = &args_.y(s_.order[static_cast<std::size_t>(row)], s_.first_output(row) + t, index_t{0});
    std::copy(h + outputs.begin, h + outputs.end, y + outputs.begin);
  }
}

// Last states, and the outputs where a row has no token: 0 before its first step, its last state after its last.
template <class Real>
void ForwardPass<Real>::finish_rows(const RowSet& rows, int member, int members) {
  const index_t outputs = tape_.outputs;
  const Range mine = share(rows.count, member, members);
  for (index_t i = mine.begin; i < mine.end; ++i) {
    const index_t row = rows.row(i);
    const index_t caller = s_.order[static_cast<std::size_t>(row)];
    if (caller < 0) continue;
    const index_t last = s_.last_step(row);
    const Real* h = tape_.h.data() + state_row(last, row) * tape_.state_stride;
    std::copy_n(h, outputs, &args_.h_T(caller, index_t{0}));
    if (cell_.has_c) {
      std::copy_n(tape_.c.data() + state_row(last, row) * tape_.state_stride, tape_.units, &args_.c_T(caller, index_t{0}));
    }
    if (!args_.y) continue;
    const index_t first = s_.first_output(row);
    for (index_t t = 0; t < first; ++t) std::fill_n(&args_.y(caller, t, index_t{0}), outputs, Real{0});
    for (index_t t = first + last; t < s_.positions; ++t) std::copy_n(h, outputs, &args_.y(caller, t, index_t{0}));
  }
}

}  // namespace

template <class Real>
std::size_t Tape<Real>::nbytes() const {
  std::size_t n = h.size() + c.size() + rh.size() + left.size() + mask.size() + c_new.size() + gates.size() + input_t.size();
  for (const Buffer<Real>& b : recurrent_t) n += b.size();
  n *= sizeof(Real);
  if (terms) n += terms->nbytes();
  return n + schedule.nbytes() + x_rows.size() * sizeof(Real*) +
         (table_rows.size() + row_of_token.size()) * sizeof(std::int32_t);
}

template <class Real>
std::unique_ptr<Tape<Real>> recurrent_forward(const Forward<Real>& args, Schedule schedule, bool keep_tape) {
  auto tape = std::make_unique<Tape<Real>>();
  const bool packed = args.packed != nullptr;
  tape->cell = packed ? args.packed->cell : args.weights.cell;
  tape->update_gate_writes = args.weights.update_gate_writes;
  tape->has_bias = static_cast<bool>(args.weights.bias);
  tape->from_zero = !args.h0 && !args.c0;
  tape->inputs = packed ? args.packed->inputs : args.weights.kernel.shape[0];
  tape->units = packed ? args.packed->units : args.weights.units();
  tape->outputs = packed ? args.packed->outputs : args.weights.recurrent_kernel.shape[0];
  if (packed) {
    tape->terms = args.packed->terms;
  } else if (traits(tape->cell).has_terms) {
    tape->terms = std::make_shared<const CellTerms<Real>>(args.weights);
  }
  tape->between = args.between;
  tape->schedule = std::move(schedule);
  tape->state_stride = row_stride<Real>(std::max(tape->units, tape->outputs));
  tape->record_stride = row_stride<Real>(traits(tape->cell).record_slots * tape->units);
  ForwardPass<Real>(args, *tape, keep_tape).run();
  return keep_tape ? std::move(tape) : nullptr;
}

template struct Tape<float>;
template struct Tape<double>;
template std::unique_ptr<Tape<float>> recurrent_forward(const Forward<float>&, Schedule, bool);
template std::unique_ptr<Tape<double>> recurrent_forward(const Forward<double>&, Schedule, bool);

}  // namespace rnnext
