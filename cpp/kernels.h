// The border between time and registers: plain argument structs and the table of entry points that each ISA fills.
// No code, no library types: ISA files include this, and nothing here may be compiled differently by them.
#pragma once

#include <cstddef>
#include <cstdint>

namespace rnnext {

using index_t = std::int64_t;

enum class Cell : int { lstm = 0, gru_reset_after = 1, gru_reset_before = 2 };
inline constexpr int cell_count = 3;

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
struct Product {
  const float* const* a;  // rows addresses of rows of A
  float* const* c;        // rows addresses of rows of C
  index_t rows;
  Columns k;             // columns of A's rows
  Columns n;             // columns of C's rows
  const float* b;        // packed
  const float* bias;     // one packed row, or null for none
  bool accumulate;       // add to C (bias is then ignored)
  index_t run_begin, run_end;
};

// C[m, :] += sum over k of A[k, m] · D[k, :], for m in [m_begin, m_end): the gradient of a weight panel.
struct OuterProduct {
  const float* const* a;  // k addresses of rows [M]
  const float* d;         // [k, d_stride]
  index_t d_stride;
  index_t k;
  index_t m_begin, m_end;
  index_t width;  // floats of d's rows that take part
  float* c;       // [M, width rounded up to whole vectors]
};

// sums[j] += sum over k of D[k, j]: the gradient of a bias panel.
struct ColumnSums {
  const float* d;  // [k, d_stride]
  index_t d_stride;
  index_t k;
  index_t width;
  float* sums;  // [width rounded up to whole vectors]
};

// sums[index[j]] += D[j, :], in ascending j: the gradient of rows that were used several times.
struct RowSums {
  const float* d;  // [k, stride]
  index_t stride;  // of d and of sums
  index_t k;
  const std::int32_t* index;  // [k]
  index_t width;              // floats of d's rows that take part
  float* sums;
};

// Adam with decoupled weight decay on n parameters (Kingma & Ba 2015; Loshchilov & Hutter 2019):
// p ← keep p,  m ← m + (1 - β₁)(g - m),  v ← v + (1 - β₂)(g² - v),  p ← p - α m / (√v + ε), g being the gradient times g_scale.
struct AdamUpdate {
  index_t n;
  float* p;
  float* m;
  float* v;
  const float* g;
  float g_scale;
  float one_minus_beta1, one_minus_beta2;
  float epsilon;
  float alpha;  // learning rate with both bias corrections
  float keep;   // 1 - learning rate times weight decay
};

// The same for `steps` steps in a row whose gradient was zero, the last `tail_steps` of them too late for m to matter.
struct AdamIdle {
  index_t n;
  float* p;
  float* m;
  float* v;
  float one_minus_beta1, one_minus_beta2;
  float epsilon;
  index_t steps;
  const float* alpha;  // [steps]
  const float* keep;   // [steps]
  float tail_m, tail_v, tail_keep;  // what the steps after them multiply m, v and p by
};

// One step of a cell for some rows and the unit panels [panel_begin, panel_end); a panel is `lanes` units, the last may be
// narrower. A record holds a row's gates: [panel][slot][lane], the last panel with its own, narrower lane count.
struct CellStep {
  index_t rows;
  index_t units;  // H
  index_t panel_begin, panel_end;
  // Row r of a block is at pointer + r * stride.
  const float* h_prev;  // [rows, H]
  index_t h_prev_stride;
  const float* c_prev;  // [rows, H], LSTM
  index_t c_prev_stride;
  float* gates;  // [rows, record]; forward: holds the input's part on entry, the activated gates on exit
  index_t gates_stride;
  float* h;  // [rows, H]
  index_t h_stride;
  float* c;  // [rows, H], LSTM
  index_t c_stride;
  float* rh;  // [rows, H], r ⊙ h_prev, reset before
  index_t rh_stride;
  const float* weights[2];  // packed recurrent weights, by operand
  const float* bias;        // packed recurrent bias of the candidate, reset after
  // Backward only.
  const float* const* dy;  // rows addresses of [H], or null
  float* d;                // gradients of the pre-activations, [panel][row][slot][lane]
  index_t d_stride;        // from row to row
  index_t d_panel;         // from panel to panel
  float* dh;               // [rows, H], in: for h of this step, out: for h_prev
  index_t dh_stride;
  float* dc;  // [rows, H], LSTM
  index_t dc_stride;
  float* drh;  // [rows, H], reset before
  index_t drh_stride;
  const float* weights_t[2];      // packed transposed recurrent weights, by operand
  index_t flat_begin, flat_end;   // this thread's runs of dh's columns
};

using StepKernel = void (*)(const CellStep&);

// A step is a few phases; threads that share rows meet between them.
struct CellKernels {
  int forward_phases;
  StepKernel forward[2];
  int backward_phases;
  StepKernel backward[3];
};

struct KernelTable {
  const char* name;
  int lanes;         // floats of a vector
  int flat_vectors;  // vectors of a run of plain columns (dh, dx)
  void (*product)(const Product&);
  void (*outer_product)(const OuterProduct&);
  void (*column_sums)(const ColumnSums&);
  void (*row_sums)(const RowSums&);
  CellKernels cells[cell_count];
  void (*adam)(const AdamUpdate&);
  void (*adam_idle)(const AdamIdle&);
  void (*sigmoid)(const float* x, float* y, index_t n);
  void (*tanh)(const float* x, float* y, index_t n);
  // The yardsticks of the benchmarks: both return something that depends on all they did.
  float (*fma_chains)(index_t n);                    // n times fma_chain_count vectors of fused multiply-adds
  float (*read_all)(const float* x, index_t n);      // n floats, a multiple of 64 vectors
  int fma_chain_count;
};

}  // namespace rnnext
