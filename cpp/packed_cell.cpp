#include "packed_cell.h"

#include <algorithm>
#include <vector>

#include "dispatch.h"
#include "parallel.h"
#include "plan.h"

namespace rnnext {
namespace {

template <class Real>
Buffer<Real> elements(index_t count) {
  return Buffer<Real>(static_cast<std::size_t>(count));
}

// A weight without gates.
constexpr Operand plain{0, 1, {0}};
constexpr BlockSigns as_it_is{{1.0f, 1.0f, 1.0f, 1.0f}};

// b of each slot, with b' where both are added; with normalisation also b'_n, behind.
template <class Real>
void sum_biases(const CellWeights<Real>& weights, std::vector<Real>& sums, Real* recurrent_bias) {
  const CellTraits& cell = traits(weights.cell);
  const index_t units = weights.units();
  const index_t width = cell.gates * units;
  std::fill_n(recurrent_bias, units, Real{0});
  sums.assign(static_cast<std::size_t>(width), Real{0});
  if (!weights.bias) return;
  for (index_t j = 0; j < width; ++j) sums[static_cast<std::size_t>(j)] = weights.bias(index_t{0}, j);
  if (!cell.has_recurrent_bias) return;
  // Both biases of a gate add up; the candidate's recurrent one stays apart, behind the reset gate.
  const index_t candidate = (cell.gates - 1) * units;
  for (index_t j = 0; j < candidate; ++j) sums[static_cast<std::size_t>(j)] += weights.bias(index_t{1}, j);
  for (index_t u = 0; u < units; ++u) recurrent_bias[u] = weights.bias(index_t{1}, candidate + u);
}

}  // namespace

template <class Real>
CellTerms<Real>::CellTerms(const CellWeights<Real>& weights) {
  const CellTraits& cell = traits(weights.cell);
  const index_t units = weights.units();
  const index_t gates = cell.gates;
  const auto block_of = [&](const std::array<int, 4>& blocks, index_t slot) {
    return static_cast<std::size_t>(blocks[static_cast<std::size_t>(slot)]);
  };
  vectors_ = elements<Real>((3 + 2 * gates + gates + 1 + 2) * units);
  Real* next = vectors_.data();
  const auto rows = [&](View<const Real, 2> from) -> const Real* {
    if (!from) return nullptr;
    const Real* const begin = next;
    for (index_t r = 0; r < from.shape[0]; ++r, next += units) std::copy_n(&from(r, index_t{0}), units, next);
    return begin;
  };
  view.peephole = rows(weights.peephole);
  view.state_norm = rows(weights.state_norm);
  view.coupled = weights.coupled;
  view.clip = static_cast<Real>(weights.clip);
  view.epsilon = static_cast<Real>(weights.epsilon);
  if (cell.has_norm) {
    // A gate that is negated (block_signs) is negated behind its normalisation: in scales and bias.
    const BlockSigns signs = block_signs(cell, weights.update_gate_writes);
    const auto by_slot = [&](const Real* from, const std::array<int, 4>& blocks) -> const Real* {
      const Real* const begin = next;
      for (index_t slot = 0; slot < gates; ++slot, next += units) {
        const std::size_t block = block_of(blocks, slot);
        for (index_t u = 0; u < units; ++u) next[u] = signs.of[block] * from[static_cast<index_t>(block) * units + u];
      }
      return begin;
    };
    view.kernel_norm = by_slot(weights.kernel_norm.data, cell.input.blocks);
    view.recurrent_norm = by_slot(weights.recurrent_norm.data, cell.norm_blocks);
    std::vector<Real> sums;
    std::vector<Real> recurrent_bias(static_cast<std::size_t>(units));
    sum_biases(weights, sums, recurrent_bias.data());
    view.bias = by_slot(sums.data(), cell.input.blocks);
    std::copy(recurrent_bias.begin(), recurrent_bias.end(), next);
  }
  if (weights.projection) {
    const index_t outputs = weights.projection.shape[1];
    const PanelLayout layout{outputs, recurrent_kernels<Real>().lanes};
    const std::vector<index_t> runs = equal_runs(units, layout.lanes * recurrent_kernels<Real>().flat_vectors);
    projection_ = elements<Real>(layout.packed_size(plain, units));
    pack_gates(weights.projection, plain, as_it_is, layout, 0, layout.panels(), projection_.data());
    projection_t_ = elements<Real>(transposed_size(units, plain, layout));
    pack_transposed(weights.projection, plain, as_it_is, layout, runs, 0, count_of(runs), projection_t_.data());
    view.projection = projection_.data();
    view.projection_t = projection_t_.data();
  }
}

template <class Real>
PackedCell<Real>::PackedCell(const CellWeights<Real>& weights)
    : cell(weights.cell),
      inputs(weights.kernel.shape[0]),
      units(weights.units()),
      outputs(weights.recurrent_kernel.shape[0]),
      record_stride(row_stride<Real>(rnnext::traits(cell).record_slots * units)),
      state_stride(row_stride<Real>(std::max(units, outputs))),
      traits(rnnext::traits(cell)),
      layout{units, recurrent_kernels<Real>().lanes},
      terms(traits.has_terms ? std::make_shared<const CellTerms<Real>>(weights) : nullptr),
      recurrent_bias(elements<Real>(units)),
      input_(elements<Real>(layout.packed_size(traits.input, inputs))),
      input_bias_(elements<Real>(layout.packed_size(traits.input, 1))) {
  const std::array<index_t, 2> depth{outputs, units};
  for (int i = 0; i < traits.recurrent_count; ++i) {
    const auto n = static_cast<std::size_t>(i);
    recurrent[n] = elements<Real>(layout.packed_size(traits.recurrent[n], depth[n]));
  }
  std::vector<Real> sums;
  sum_biases(weights, sums, recurrent_bias.data());
  if (traits.has_norm) std::fill(sums.begin(), sums.end(), Real{0});  // added behind the normalisation
  pack_gates(view<2>(static_cast<const Real*>(sums.data()), {1, traits.gates * units}), traits.input,
             block_signs(traits, weights.update_gate_writes), layout, 0, layout.panels(), input_bias_.data());
}

template <class Real>
void PackedCell<Real>::pack(const CellWeights<Real>& weights, bool recurs, int part, int parts) {
  const BlockSigns signs = weight_signs(traits, weights.update_gate_writes);
  const Range panels = share(layout.panels(), part, parts);
  pack_gates(weights.kernel, traits.input, signs, layout, panels.begin, panels.end, input_.data());
  for (int i = 0; recurs && i < traits.recurrent_count; ++i) {
    const auto n = static_cast<std::size_t>(i);
    pack_gates(weights.recurrent_kernel, traits.recurrent[n], signs, layout, panels.begin, panels.end, recurrent[n].data());
  }
}

template <class Real>
Product<Real> PackedCell<Real>::input_product() const {
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

template <class Real>
void PackedCell<Real>::project(const Real* const* from, index_t rows, Real* records) const {
  constexpr index_t chunk = 192;
  std::array<Real*, chunk> to{};
  Product<Real> p = input_product();
  for (index_t begin = 0; begin < rows; begin += chunk) {
    p.rows = std::min(chunk, rows - begin);
    for (index_t i = 0; i < p.rows; ++i) to[static_cast<std::size_t>(i)] = records + (begin + i) * record_stride;
    p.a = from + begin;
    p.c = to.data();
    recurrent_kernels<Real>().product(p);
  }
}

template <class Real>
PackedCell<Real> make_packed_cell(const CellWeights<Real>& weights, View<const Real, 2> vocabulary) {
  PackedCell<Real> packed(weights);
  const index_t rows = vocabulary ? vocabulary.shape[0] : 0;
  std::vector<const Real*> from;
  if (rows > 0) {
    packed.vocabulary = Buffer<Real>(static_cast<std::size_t>(rows * packed.record_stride));
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
                  .whole_rows = false,
                  .lanes = recurrent_kernels<Real>().lanes};
  parallel(threads_for(work, num_threads()), [&](const Member& member) {
    packed.pack(weights, true, member.id, member.size);
    member.all.wait();
    const Range mine = share(rows, member.id, member.size);
    packed.project(from.data() + mine.begin, mine.end - mine.begin,
                   packed.vocabulary.data() + mine.begin * packed.record_stride);
  });
  return packed;
}

template class CellTerms<float>;
template class CellTerms<double>;
template class PackedCell<float>;
template class PackedCell<double>;
template PackedCell<float> make_packed_cell(const CellWeights<float>&, View<const float, 2>);
template PackedCell<double> make_packed_cell(const CellWeights<double>&, View<const double, 2>);

}  // namespace rnnext
