// The border between time and registers: plain argument structs and the table of entry points that each ISA fills.
// No code, no library types: ISA files include this, and nothing here may be compiled differently by them.
#pragma once

#include <cstddef>
#include <cstdint>

namespace rnnext {

using index_t = std::int64_t;

// The plain cells, the same with the rarer terms, and the same with layer normalisation as well.
enum class Cell : int {
  lstm = 0,
  gru_reset_after = 1,
  gru_reset_before = 2,
  lstm_terms = 3,
  gru_reset_after_terms = 4,
  gru_reset_before_terms = 5,
  lstm_norm = 6,
  gru_reset_after_norm = 7,
  gru_reset_before_norm = 8
};
inline constexpr int cell_count = 9;

// Which columns of a row take part: `runs` runs of `width`, `stride` apart, then one narrower run.
struct Columns {
  index_t first;       // offset of the first run
  index_t runs;        // number of full runs
  index_t width;       // columns of a run
  index_t stride;      // from run to run
  index_t tail_first;  // offset of the last, narrower run
  index_t tail_width;  // 0: none
};

// C (=|+=) A·B + bias, for the runs [run_begin, run_end) of C's columns; the tail counts as run number n.runs.
// B is packed: a panel for each run of n, [K, width rounded up to whole vectors]; K walks k's runs, then its tail.
template <class Real>
struct Product {
  const Real* const* a;  // rows addresses of rows of A
  Real* const* c;        // rows addresses of rows of C
  index_t rows;
  Columns k;         // columns of A's rows
  Columns n;         // columns of C's rows
  const Real* b;     // packed
  const Real* bias;  // one packed row, or null for none
  bool accumulate;   // add to C (bias is then ignored)
  index_t run_begin, run_end;
};

// C[m, :] += sum over k of A[k, m] · D[k, :], for m in [m_begin, m_end): the gradient of a weight panel.
template <class Real>
struct OuterProduct {
  const Real* a;  // [k, a_stride], from column m_begin on
  index_t a_stride;
  const Real* d;  // [k, d_stride]
  index_t d_stride;
  index_t k;
  index_t m_begin, m_end;
  index_t width;  // floats of d's rows that take part
  Real* c;        // [M, width rounded up to whole vectors]
};

// sums[j] += sum over k of D[k, j]: the gradient of a bias panel.
template <class Real>
struct ColumnSums {
  const Real* d;  // [k, d_stride]
  index_t d_stride;
  index_t k;
  index_t width;
  Real* sums;  // [width rounded up to whole vectors]
};

// sums[index[j]] += D[j, :], in ascending j: the gradient of rows that were used several times. An index ~i means row i, too,
// and that this is its first use, which starts the sum.
template <class Real>
struct RowSums {
  const Real* d;   // [k, stride]
  index_t stride;  // of d and of sums
  index_t k;
  const std::int32_t* index;  // [k]
  index_t width;              // floats of d's rows that take part
  Real* sums;
};

enum class Optimizer : int { sgd = 0, rmsprop = 1, adam = 2 };
inline constexpr int optimizer_count = 3;

// What an optimizer remembers of each parameter, in this order:
//   SGD      momentum
//   RMSprop  velocity, momentum, average gradient
//   Adam     momentum, velocity, largest velocity
// Where it has no such memory (no momentum, not centered, no AMSGrad) the address is null.
inline constexpr int slot_count = 3;

struct OptimizerConstants {
  float momentum;                          // SGD, RMSprop
  bool nesterov;                           // SGD
  float one_minus_rho;                     // RMSprop
  float one_minus_beta1, one_minus_beta2;  // Adam
  float epsilon;
};

// One step of n parameters with a gradient.
struct OptimizerStep {
  const OptimizerConstants* constants;
  index_t n;
  float* p;
  float* anchor;  // where the new p goes as well, or null
  float* slots[slot_count];
  float fade[slot_count];  // what a slot is multiplied by before the step, for the steps that it missed
  const float* g;
  float g_scale;  // the gradient is g times this,
  float g_limit;  // held within plus and minus this
  float rate;     // the learning rate; Adam: with both bias corrections
  float decay;    // learning rate times weight decay
};

// Steps without a gradient, from the anchor: p = (1 - decay) anchor + push m.
struct MomentumIdle {
  index_t n;
  float* p;
  const float* anchor;
  const float* m;  // or null
  float decay;
  float push;
};

// The same for Adam, whose steps k without a gradient sum up to m Σ a_k / (r^k s + ε), with s = √v and scalars a_k. In a run of
// steps r^k is near a centre c, and 1 / (r^k s + ε) a short power series in x = s / (c s + ε): the sum of the run is
// Σ terms_j x^j / (c s + ε).
inline constexpr int idle_terms = 6;
struct AdamRun {
  float centre;
  float terms[idle_terms];
};
struct AdamIdle {
  index_t n;
  float* p;
  const float* anchor;
  const float* m;
  const float* v;
  float decay;
  float epsilon;
  const AdamRun* runs;
  index_t run_count;
};

// What the rarer terms of a cell's equations read (docs/equations.md, "Options"). Vectors are [H], blocks of them in the order
// of a record's slots; null where there is no such term.
template <class Real>
struct Terms {
  const Real* peephole;        // [3][H], LSTM: i f o
  bool coupled;                // LSTM: f = 1 - i
  Real clip;                   // of the pre-activations, 0: none
  const Real* kernel_norm;     // [gates][H], scales of the input's product
  const Real* recurrent_norm;  // [gates][H], scales of the recurrent products
  const Real* bias;            // [gates][H], with normalisation; reset after: b'_n besides
  const Real* state_norm;      // [2][H], LSTM: scale and shift of c
  Real epsilon;                // of the normalisation
  const Real* projection;      // packed [H, P], LSTM
  const Real* projection_t;    // packed transposed
};

// Their gradients, which kernels add to.
template <class Real>
struct TermGradients {
  Real* peephole;
  Real* kernel_norm;
  Real* recurrent_norm;
  Real* state_norm;
};

// One step of a cell for some rows and the unit panels [panel_begin, panel_end); a panel is `lanes` units, the last may be
// narrower. A record holds a row's gates: [panel][slot][lane], the last panel with its own, narrower lane count.
template <class Real>
struct CellStep {
  index_t rows;
  index_t units;    // H
  index_t outputs;  // of h: H, or P with a projection
  index_t panel_begin, panel_end;
  bool descending;  // panels, or runs of columns, from the last to the first: every other step, as the caches keep the weights
                    // that were read last
  bool from_zero;   // h_prev is zero, and nobody wants its gradient: nothing is multiplied with it
  index_t state_stride;      // from row to row of all [rows, H] below, forward and backward
  const Real* h_prev;        // [rows, H]
  const Real* left;          // what the products read of h_prev: itself, or with dropout a masked copy
  const Real* c_prev;        // [rows, H], LSTM
  const Real* const* input;  // forward: rows addresses of records with the input's part of the gates; they may be `gates`
  const Real* const* ahead;  // the same for the next step, to be prefetched, or null
  index_t ahead_rows;        // how many of these there are
  Real* gates;               // [rows, record], activated
  index_t gates_stride;
  bool gates_wanted;         // by a backward pass
  index_t gates_ahead;       // from there to the next step's gates, to be prefetched; 0: none are
  Real* h;                   // [rows, H]
  Real* c;                   // [rows, H], LSTM
  Real* rh;                  // [rows, H], r ⊙ h_prev, reset before; o ⊙ tanh(c), LSTM with a projection
  const Real* weights[2];    // packed recurrent weights, by operand
  const Real* bias;          // packed recurrent bias of the candidate, reset after
  const Terms<Real>* terms;  // of cells that have them
  // Backward only.
  const Real* const* dy;  // rows addresses of [H], or null
  Real* d;                // gradients of the pre-activations, [panel][row][slot][lane]
  index_t d_stride;       // from row to row
  index_t d_panel;        // from panel to panel
  Real* dh;               // [rows, H], in: for h of this step, out: for h_prev
  Real* dc;               // [rows, H], LSTM
  Real* drh;              // [rows, H], of rh
  const Real* mask;       // [rows, H] that made `left`, or null
  Real* dprojected;       // [rows, P], with a projection: the gradients of its results
  index_t dprojected_stride;
  TermGradients<Real> dterms;
  const Real* weights_t[2];      // packed transposed recurrent weights, by operand
  const index_t* flat_runs;      // where runs of dh's columns begin, and the last one ends
  index_t flat_begin, flat_end;  // this thread's runs
};

template <class Real>
using StepKernel = void (*)(const CellStep<Real>&);

// A step is a few phases; threads that share rows meet between them.
template <class Real>
struct CellKernels {
  int forward_phases;
  StepKernel<Real> forward[2];
  int backward_phases;
  StepKernel<Real> backward[3];
};

// What a recurrent layer is made of, for one type of elements.
template <class Real>
struct RecurrentKernels {
  int lanes;         // elements of a vector
  int flat_vectors;  // vectors of a run of plain columns (dh, dx), at most
  void (*product)(const Product<Real>&);
  void (*outer_product)(const OuterProduct<Real>&);
  void (*column_sums)(const ColumnSums<Real>&);
  void (*row_sums)(const RowSums<Real>&);
  // Between two steps; rows of n elements.
  void (*multiply)(const Real* a, const Real* b, index_t n, Real* to);
  void (*add)(const Real* from, index_t n, Real* to);
  void (*keep_share)(const Real* share, const Real* before, const Real* after, index_t n, Real* to);
  void (*divide)(const Real* share, index_t n, Real* d, Real* kept);
  CellKernels<Real> cells[cell_count];
};

struct KernelTable {
  const char* name;
  RecurrentKernels<float> f32;
  RecurrentKernels<double> f64;
  void (*optimizers[optimizer_count])(const OptimizerStep&);
  void (*momentum_idle)(const MomentumIdle&);
  void (*adam_idle)(const AdamIdle&);
  double (*sum_squares)(const float* x, index_t n);
  void (*sigmoid)(const float* x, float* y, index_t n);
  void (*tanh)(const float* x, float* y, index_t n);
  // For benchmarks: both return something that depends on everything they did.
  float (*fma_chains)(index_t n);                // n times fma_chain_count vectors of fused multiply-adds
  float (*read_all)(const float* x, index_t n);  // n floats, 8 vectors at a time; what is left over is not read
  int fma_chain_count;
};

}  // namespace rnnext
