#include <algorithm>
#include <cstring>

#include "dispatch.h"
#include "parallel.h"
#include "plan.h"
#include "recurrent.h"

namespace rnnext {
namespace {

std::size_t floats(index_t rows, index_t stride) { return static_cast<std::size_t>(rows * stride); }

class ForwardPass {
 public:
  ForwardPass(const Forward& args, Tape& tape, bool keep_tape);
  void run();

 private:
  void pack(const Member& member);
  void load_states(const Member& member);
  void walk(const Member& member, const Plan& plan);
  void collect_rows();
  void collect_ids();
  void collect_table_rows();
  void project_table(const Member& member);
  void project(index_t begin, index_t end, const RowSet& rows, Range panels, std::vector<const float*>& from,
               std::vector<float*>& to);
  void step(index_t t, const RowSet& rows, Range panels, const float* const* input, const Meeting& group);
  void join(index_t t, const RowSet& rows, Range units, const Meeting& group);
  void copy_outputs(index_t t, const RowSet& rows, Range units);
  void finish_rows(const RowSet& rows, int member, int members);

  index_t gates_row(index_t t, index_t row) const { return keep_tape_ ? s_.token(t, row) : t % held_ * s_.rows + row; }
  // The state after t steps. Without a tape the two last ones take turns; a row's last is where it left it.
  index_t state_row(index_t t, index_t row) const { return keep_tape_ ? s_.state(t, row) : t % 2 * s_.rows + row; }
  index_t rh_row(index_t t, index_t row) const { return keep_tape_ ? s_.token(t, row) : row; }

  const Forward& args_;
  Tape& tape_;
  const Schedule& s_;
  const KernelTable& k_;
  const CellTraits& cell_;
  const bool keep_tape_;
  const PanelLayout layout_;
  const index_t flat_runs_;  // of the hidden units
  Work work_;
  int threads_;
  index_t block_;                    // steps whose input products are computed, or looked up, together
  index_t held_;                     // steps whose records are there at a time, without a tape
  std::unique_ptr<PackedCell> own_;  // where the weights come unpacked
  const PackedCell& packed_;
  Buffer table_;                    // with a table: its different rows projected, [rows, record_stride]
  const float* records_ = nullptr;  // with ids: the records that row_of_token counts
  std::unique_ptr<Barrier[]> groups_;
  std::vector<std::vector<const float*>> from_;  // by member: rows of the block's products
  std::vector<std::vector<float*>> to_;
};

// Enough rows for the weights to be worth loading (more of them where they come from memory), few enough for the records to
// stay near.
index_t block_steps(index_t rows, index_t record_bytes, index_t weight_bytes) {
  constexpr index_t near_bytes = 256 << 10;
  constexpr index_t far_bytes = 8 << 20;
  const index_t least_rows = weight_bytes > far_bytes ? 128 : 24;
  const index_t fitting = near_bytes / (rows * record_bytes);
  return std::clamp<index_t>(fitting, (least_rows + rows - 1) / rows, 64);
}

ForwardPass::ForwardPass(const Forward& args, Tape& tape, bool keep_tape)
    : args_(args),
      tape_(tape),
      s_(tape.schedule),
      k_(kernels()),
      cell_(traits(tape.cell)),
      keep_tape_(keep_tape),
      layout_{tape.units, k_.lanes},
      flat_runs_((layout_.panels() + k_.flat_vectors - 1) / k_.flat_vectors),
      work_{s_.tokens(),
            s_.steps,
            s_.rows,
            tape.inputs,
            tape.units,
            cell_.gates,
            keep_tape,
            cell_.has_rh ? 2 : 1,
            keep_tape || s_.trunks > 0 ? s_.blocks : s_.rows,
            k_.lanes},
      threads_(threads_for(work_, num_threads())),
      own_(args.packed == nullptr ? std::make_unique<PackedCell>(args.weights) : nullptr),
      packed_(own_ ? *own_ : *args.packed) {
  const index_t group_rows = std::max<index_t>(s_.rows / make_plan(work_, threads_).row_groups, 1);
  block_ = args.input.x ? block_steps(group_rows, tape.record_stride * 4, tape.inputs * cell_.gates * tape.units * 4) : 64;
  held_ = args.input.x ? block_ : 1;
  const index_t records = keep_tape ? s_.tokens() : held_ * s_.rows;
  const index_t states = keep_tape ? s_.states.back() : 2 * s_.rows;
  tape.gates = Buffer(floats(records, tape.record_stride));
  tape.h = Buffer(floats(states, tape.state_stride));
  if (cell_.has_c) tape.c = Buffer(floats(states, tape.state_stride));
  if (cell_.has_rh) tape.rh = Buffer(floats(keep_tape ? s_.tokens() : s_.rows, tape.state_stride));
  const index_t run = k_.lanes * k_.flat_vectors;
  for (int i = 0; keep_tape && i < cell_.recurrent_count; ++i) {
    const auto n = static_cast<std::size_t>(i);
    tape.recurrent_t[n] = Buffer(floats(transposed_floats(tape.units, run, cell_.recurrent[n], layout_), 1));
  }
  if (keep_tape) tape.input_t = Buffer(floats(transposed_floats(tape.inputs, run, cell_.input, layout_), 1));
  groups_ = std::make_unique<Barrier[]>(static_cast<std::size_t>(threads_));
  from_.resize(static_cast<std::size_t>(threads_));
  to_.resize(static_cast<std::size_t>(threads_));
  for (auto& v : from_) v.resize(floats(block_, s_.rows));
  for (auto& v : to_) v.resize(floats(block_, s_.rows));
  if (args.input.x) {
    collect_rows();
  } else {
    collect_ids();
    if (args.input.table) {
      collect_table_rows();
      table_ = Buffer(floats(static_cast<index_t>(tape.x_rows.size()), tape.record_stride));
    }
    records_ = args.input.table ? table_.data() : packed_.vocabulary.data();
  }
}

void ForwardPass::collect_rows() {
  const View<const float, 3>& x = args_.input.x;
  tape_.x_rows.resize(floats(s_.tokens(), 1));
  for (index_t t = 0; t < s_.steps; ++t) {
    for (index_t r = 0; r < s_.alive(t); ++r) {
      tape_.x_rows[static_cast<std::size_t>(s_.token(t, r))] =
          x.data + s_.order[static_cast<std::size_t>(r)] * x.strides[0] + s_.input_position(r, t) * x.strides[1];
    }
  }
}

void ForwardPass::collect_ids() {
  tape_.row_of_token.resize(floats(s_.tokens(), 1));
  for (index_t t = 0; t < s_.steps; ++t) {
    for (index_t r = 0; r < s_.alive(t); ++r) {
      const index_t caller = s_.order[static_cast<std::size_t>(r)];
      tape_.row_of_token[static_cast<std::size_t>(s_.token(t, r))] =
          caller < 0 ? s_.trunk_id : args_.input.ids(caller, s_.input_position(r, t));
    }
  }
}

// The different ids, and instead of each token's id its place among them.
void ForwardPass::collect_table_rows() {
  const View<const float, 2>& table = args_.input.table;
  std::vector<std::int32_t> place(static_cast<std::size_t>(table.shape[0]), -1);
  for (const std::int32_t id : tape_.row_of_token) {
    if (place[static_cast<std::size_t>(id)] < 0) tape_.table_rows.push_back(id);
    place[static_cast<std::size_t>(id)] = 0;
  }
  std::sort(tape_.table_rows.begin(), tape_.table_rows.end());
  for (std::size_t i = 0; i < tape_.table_rows.size(); ++i) {
    place[static_cast<std::size_t>(tape_.table_rows[i])] = static_cast<std::int32_t>(i);
    tape_.x_rows.push_back(table.data + tape_.table_rows[i] * table.strides[0]);
  }
  for (std::int32_t& row : tape_.row_of_token) row = place[static_cast<std::size_t>(row)];
}

void ForwardPass::run() {
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

void ForwardPass::pack(const Member& member) {
  if (own_) own_->pack(args_.weights, member.id, member.size);
  if (!keep_tape_) return;
  const BlockSigns signs = block_signs(cell_, args_.weights.update_gate_writes);
  const index_t run = k_.lanes * k_.flat_vectors;
  for (int i = 0; i < cell_.recurrent_count; ++i) {
    const auto n = static_cast<std::size_t>(i);
    const Range runs = share(flat_runs_, member.id, member.size);
    pack_transposed(args_.weights.recurrent_kernel, cell_.recurrent[n], signs, layout_, run, runs.begin, runs.end,
                    tape_.recurrent_t[n].data());
  }
  const Range runs = share((tape_.inputs + run - 1) / run, member.id, member.size);
  pack_transposed(args_.weights.kernel, cell_.input, signs, layout_, run, runs.begin, runs.end, tape_.input_t.data());
}

void load_state(View<const float, 2> from, index_t row, float* to, index_t units) {
  if (from) {
    for (index_t u = 0; u < units; ++u) to[u] = from(row, u);
  } else {
    std::fill_n(to, units, 0.0f);
  }
}

void ForwardPass::load_states(const Member& member) {
  const Range rows = share(s_.rows, member.id, member.size);
  for (index_t r = rows.begin; r < rows.end; ++r) {
    const index_t caller = s_.order[static_cast<std::size_t>(r)];  // of a trunk -1: with trunks there is no initial state
    load_state(args_.h0, caller, tape_.h.data() + r * tape_.state_stride, tape_.units);
    if (cell_.has_c) load_state(args_.c0, caller, tape_.c.data() + r * tape_.state_stride, tape_.units);
  }
}

void ForwardPass::walk(const Member& member, const Plan& plan) {
  const int group = member.id / plan.unit_groups;
  const int part = member.id % plan.unit_groups;
  const RowSet rows = row_set(s_, group, plan.row_groups);
  const Range panels = share(layout_.panels(), part, plan.unit_groups);
  const Range units{panels.begin * k_.lanes, std::min<index_t>(panels.end * k_.lanes, tape_.units)};
  const Meeting barrier{groups_[static_cast<std::size_t>(group)], part};
  auto& from = from_[static_cast<std::size_t>(member.id)];
  auto& to = to_[static_cast<std::size_t>(member.id)];
  const float* const* input = nullptr;
  for (index_t t = 0; t < s_.steps; ++t) {
    join(t, rows, units, barrier);
    if (t % block_ == 0) {
      project(t, std::min(t + block_, s_.steps), rows, panels, from, to);
      input = tape_.from_table() ? from.data() : to.data();
    }
    step(t, rows, panels, input, barrier);
    input += rows.alive(s_.alive(t));
    if (args_.y) copy_outputs(t, rows, units);
  }
  finish_rows(rows, part, plan.unit_groups);
}

// The input's part of the gates for every different row of the table.
void ForwardPass::project_table(const Member& member) {
  const Range rows = share(static_cast<std::ptrdiff_t>(tape_.x_rows.size()), member.id, member.size);
  packed_.project(tape_.x_rows.data() + rows.begin, rows.end - rows.begin, table_.data() + rows.begin * tape_.record_stride);
  member.all.wait();
}

// The input's part of the gates, for all steps of a block at once; with a table it is there already. Leaves the addresses of
// the block's records in `from` (the table's) or in `to`.
void ForwardPass::project(index_t begin, index_t end, const RowSet& rows, Range panels, std::vector<const float*>& from,
                          std::vector<float*>& to) {
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
  Product p = packed_.input_product();
  p.a = from.data();
  p.c = to.data();
  p.rows = static_cast<index_t>(n);
  p.run_begin = panels.begin;
  p.run_end = panels.end;
  k_.product(p);
}

void ForwardPass::step(index_t t, const RowSet& rows, Range panels, const float* const* input, const Meeting& group) {
  const index_t first = rows.first;
  const index_t state = tape_.state_stride * rows.step;
  CellStep args{};
  args.rows = rows.alive(s_.alive(t));
  args.units = tape_.units;
  args.panel_begin = panels.begin;
  args.panel_end = panels.end;
  args.descending = t % 2 != 0;
  args.h_prev = tape_.h.data() + state_row(t, first) * tape_.state_stride;
  args.h = tape_.h.data() + state_row(t + 1, first) * tape_.state_stride;
  args.h_prev_stride = args.h_stride = state;
  if (cell_.has_c) {
    args.c_prev = tape_.c.data() + state_row(t, first) * tape_.state_stride;
    args.c = tape_.c.data() + state_row(t + 1, first) * tape_.state_stride;
    args.c_prev_stride = args.c_stride = state;
  }
  if (cell_.has_rh) {
    args.rh = tape_.rh.data() + rh_row(t, first) * tape_.state_stride;
    args.rh_stride = state;
  }
  args.input = input;
  if (tape_.from_table() && (t + 1) % block_ != 0 && t + 1 < s_.steps) {
    args.ahead = input + args.rows;
    args.ahead_rows = rows.alive(s_.alive(t + 1));
  }
  args.gates = tape_.gates.data() + gates_row(t, first) * tape_.record_stride;
  args.gates_stride = tape_.record_stride * rows.step;
  args.weights[0] = packed_.recurrent[0].data();
  args.weights[1] = packed_.recurrent[1].data();
  args.bias = packed_.recurrent_bias.data();
  const CellKernels& cell = k_.cells[static_cast<int>(tape_.cell)];
  for (int phase = 0; phase < cell.forward_phases; ++phase) {
    cell.forward[phase](args);
    group.wait();
  }
}

// Rows that join start from the state of their trunk.
void ForwardPass::join(index_t t, const RowSet& rows, Range units, const Meeting& group) {
  const index_t before = rows.alive(s_.joining(t));
  const index_t after = rows.alive(s_.alive(t));
  if (before >= after) return;
  const auto copy = [&](const Buffer& states, index_t row) {
    const float* from = states.data() + state_row(t, rows.first) * tape_.state_stride;
    std::copy(from + units.begin, from + units.end, states.data() + state_row(t, row) * tape_.state_stride + units.begin);
  };
  for (index_t i = before; i < after; ++i) {
    copy(tape_.h, rows.row(i));
    if (cell_.has_c) copy(tape_.c, rows.row(i));
  }
  group.wait();
}

void ForwardPass::copy_outputs(index_t t, const RowSet& rows, Range units) {
  const index_t alive = rows.alive(s_.alive(t));
  for (index_t i = 0; i < alive; ++i) {
    const index_t row = rows.row(i);
    const float* h = tape_.h.data() + state_row(t + 1, row) * tape_.state_stride;
    float* y = &args_.y(s_.order[static_cast<std::size_t>(row)], s_.first_output(row) + t, index_t{0});
    std::copy(h + units.begin, h + units.end, y + units.begin);
  }
}

// Last states, and the outputs where a row has no token: 0 before its first step, its last state after its last.
void ForwardPass::finish_rows(const RowSet& rows, int member, int members) {
  const index_t units = tape_.units;
  const Range mine = share(rows.count, member, members);
  for (index_t i = mine.begin; i < mine.end; ++i) {
    const index_t row = rows.row(i);
    const index_t caller = s_.order[static_cast<std::size_t>(row)];
    if (caller < 0) continue;
    const index_t last = s_.last_step(row);
    const float* h = tape_.h.data() + state_row(last, row) * tape_.state_stride;
    std::copy_n(h, units, &args_.h_T(caller, index_t{0}));
    if (cell_.has_c) {
      std::copy_n(tape_.c.data() + state_row(last, row) * tape_.state_stride, units, &args_.c_T(caller, index_t{0}));
    }
    if (!args_.y) continue;
    const index_t first = s_.first_output(row);
    for (index_t t = 0; t < first; ++t) std::fill_n(&args_.y(caller, t, index_t{0}), units, 0.0f);
    for (index_t t = first + last; t < s_.positions; ++t) std::copy_n(h, units, &args_.y(caller, t, index_t{0}));
  }
}

}  // namespace

std::size_t Tape::nbytes() const {
  std::size_t n = h.size() + c.size() + rh.size() + gates.size() + input_t.size();
  for (const Buffer& b : recurrent_t) n += b.size();
  return n * sizeof(float) + x_rows.size() * sizeof(float*) + (table_rows.size() + row_of_token.size()) * sizeof(std::int32_t);
}

std::unique_ptr<Tape> recurrent_forward(const Forward& args, Schedule schedule, bool keep_tape) {
  auto tape = std::make_unique<Tape>();
  const bool packed = args.packed != nullptr;
  tape->cell = packed ? args.packed->cell : args.weights.cell;
  tape->update_gate_writes = args.weights.update_gate_writes;
  tape->has_bias = static_cast<bool>(args.weights.bias);
  tape->inputs = packed ? args.packed->inputs : args.weights.kernel.shape[0];
  tape->units = packed ? args.packed->units : args.weights.recurrent_kernel.shape[0];
  tape->schedule = std::move(schedule);
  tape->state_stride = row_stride(tape->units);
  tape->record_stride = row_stride(traits(tape->cell).record_slots * tape->units);
  ForwardPass(args, *tape, keep_tape).run();
  return keep_tape ? std::move(tape) : nullptr;
}

}  // namespace rnnext
