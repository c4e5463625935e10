// A layer's weights as the forward kernels read them and, if wanted, the projection of a whole vocabulary. Packed in each call,
// or once for any number of calls.
#pragma once

#include <array>
#include <memory>

#include "buffer.h"
#include "pack.h"

namespace rnnext {

// In Keras's layout.
template <class Real>
struct CellWeights {
  Cell cell;
  bool update_gate_writes;
  View<const Real, 2> kernel;            // [I, G*H]
  View<const Real, 2> recurrent_kernel;  // [H, G*H]; [P, G*H] with a projection
  View<const Real, 2> bias;              // [1, G*H]; reset after: [2, G*H]; may be null
  // For cells with terms; null or 0 where there is none.
  View<const Real, 2> peephole;     // [3, H]: i f o
  View<const Real, 2> projection;   // [H, P]
  View<const Real, 2> kernel_norm;  // [1, G*H]; all norms or none
  View<const Real, 2> recurrent_norm;
  View<const Real, 2> state_norm;  // [2, H]
  bool coupled;
  double clip;
  double epsilon;

  index_t units() const { return recurrent_kernel.shape[1] / traits(cell).gates; }
};

// What the kernels read of a cell's terms, and the memory that holds it.
template <class Real>
class CellTerms {
 public:
  explicit CellTerms(const CellWeights<Real>& weights);
  std::size_t nbytes() const { return (vectors_.size() + projection_.size() + projection_t_.size()) * sizeof(Real); }

  Terms<Real> view{};

 private:
  Buffer<Real> vectors_, projection_, projection_t_;
};

template <class Real>
class PackedCell {
 public:
  explicit PackedCell(const CellWeights<Real>& weights);  // allocates memory, and packs the biases

  // Packs this part of the kernels; the recurrent ones only if a state will be multiplied at all (`recurs`).
  void pack(const CellWeights<Real>& weights, bool recurs, int part, int parts);
  // From rows of inputs to records with the input's part of the gates. The caller sets the addresses of A and C, and the number
  // of rows.
  Product<Real> input_product() const;
  // The same for `rows` addresses of inputs, to consecutive records.
  void project(const Real* const* inputs, index_t rows, Real* records) const;

  Cell cell;
  index_t inputs, units, outputs;
  index_t record_stride, state_stride;
  const CellTraits& traits;
  PanelLayout layout;
  std::shared_ptr<const CellTerms<Real>> terms;  // of cells that have them
  std::array<Buffer<Real>, 2> recurrent;         // by operand
  Buffer<Real> recurrent_bias;                   // [H]
  Buffer<Real> vocabulary;                       // [V, record_stride], or empty
  index_t vocabulary_rows = 0;

 private:
  Buffer<Real> input_;
  Buffer<Real> input_bias_;
};

// The packed weights, with the vocabulary [V, I] projected if there is one, on as many threads as that is worth.
template <class Real>
PackedCell<Real> make_packed_cell(const CellWeights<Real>& weights, View<const Real, 2> vocabulary);

}  // namespace rnnext
