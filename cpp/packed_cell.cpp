#include "packed_cell.h"

#include <algorithm>
#include <vector>

#include "dispatch.h"
#include "parallel.h"
#include "plan.h"

namespace rnnext {
namespace {

Buffer floats(index_t count) { return Buffer(static_cast<std::size_t>(count)); }

}  // namespace

PackedCell::PackedCell(const CellWeights& weights)
    : cell(weights.cell),
      inputs(weights.kernel.shape[0]),
      units(weights.recurrent_kernel.shape[0]),
      record_stride(row_stride(rnnext::traits(cell).record_slots * units)),
      state_stride(row_stride(units)),
      traits(rnnext::traits(cell)),
      layout{units, kernels().lanes},
      recurrent_bias(floats(units)),
      input_(floats(layout.packed_floats(traits.input, inputs))),
      input_bias_(floats(layout.packed_floats(traits.input, 1))) {
  for (int i = 0; i < traits.recurrent_count; ++i) {
    const auto n = static_cast<std::size_t>(i);
    recurrent[n] = floats(layout.packed_floats(traits.recurrent[n], units));
  }
  const index_t width = traits.gates * units;
  std::vector<float> sums(static_cast<std::size_t>(width), 0.0f);
  std::fill_n(recurrent_bias.data(), units, 0.0f);
  if (weights.bias) {
    for (index_t j = 0; j < width; ++j) sums[static_cast<std::size_t>(j)] = weights.bias(index_t{0}, j);
    if (traits.has_recurrent_bias) {
      // Both biases of a gate add up; the candidate's recurrent one stays apart, behind the reset gate.
      const index_t candidate = (traits.gates - 1) * units;
      for (index_t j = 0; j < candidate; ++j) sums[static_cast<std::size_t>(j)] += weights.bias(index_t{1}, j);
      for (index_t u = 0; u < units; ++u) recurrent_bias.data()[u] = weights.bias(index_t{1}, candidate + u);
    }
  }
  pack_gates(view<2>(static_cast<const float*>(sums.data()), {1, width}), traits.input,
             block_signs(traits, weights.update_gate_writes), layout, 0, layout.panels(), input_bias_.data());
}

void PackedCell::pack(const CellWeights& weights, int part, int parts) {
  const BlockSigns signs = block_signs(traits, weights.update_gate_writes);
  const Range panels = share(layout.panels(), part, parts);
  pack_gates(weights.kernel, traits.input, signs, layout, panels.begin, panels.end, input_.data());
  for (int i = 0; i < traits.recurrent_count; ++i) {
    const auto n = static_cast<std::size_t>(i);
    pack_gates(weights.recurrent_kernel, traits.recurrent[n], signs, layout, panels.begin, panels.end, recurrent[n].data());
  }
}

Product PackedCell::input_product() const {
  constexpr index_t run = 64;
  const index_t slots = traits.input.slots;
  const index_t full = layout.full();
  return {.a = nullptr,
          .c = nullptr,
          .rows = 0,
          .k = {0, inputs / run, run, run, inputs / run * run, inputs % run},
          .n = {0, full, slots * layout.lanes, traits.record_slots * layout.lanes, full * traits.record_slots * layout.lanes,
                slots * layout.tail()},
          .b = input_.data(),
          .bias = input_bias_.data(),
          .accumulate = false,
          .run_begin = 0,
          .run_end = layout.panels()};
}

void PackedCell::project(const float* const* from, index_t rows, float* records) const {
  constexpr index_t chunk = 192;
  std::array<float*, chunk> to{};
  Product p = input_product();
  for (index_t begin = 0; begin < rows; begin += chunk) {
    p.rows = std::min(chunk, rows - begin);
    for (index_t i = 0; i < p.rows; ++i) to[static_cast<std::size_t>(i)] = records + (begin + i) * record_stride;
    p.a = from + begin;
    p.c = to.data();
    kernels().product(p);
  }
}

PackedCell make_packed_cell(const CellWeights& weights, View<const float, 2> vocabulary) {
  PackedCell packed(weights);
  const index_t rows = vocabulary ? vocabulary.shape[0] : 0;
  std::vector<const float*> from;
  if (rows > 0) {
    packed.vocabulary = Buffer(static_cast<std::size_t>(rows * packed.record_stride));
    packed.vocabulary_rows = rows;
    for (index_t r = 0; r < rows; ++r) from.push_back(vocabulary.data + r * vocabulary.strides[0]);
  }
  const Work work{.tokens = rows,
                  .steps = 1,
                  .rows = rows,
                  .inputs = packed.inputs,
                  .units = packed.units,
                  .gates = packed.traits.gates,
                  .backward = false,
                  .barriers = 0,
                  .row_groups = rows,
                  .lanes = kernels().lanes};
  parallel(threads_for(work, num_threads()), [&](const Member& member) {
    packed.pack(weights, member.id, member.size);
    member.all.wait();
    const Range mine = share(rows, member.id, member.size);
    packed.project(from.data() + mine.begin, mine.end - mine.begin,
                   packed.vocabulary.data() + mine.begin * packed.record_stride);
  });
  return packed;
}

}  // namespace rnnext
