// Steps of an optimizer over whole arrays and over rows of a table. A row without a gradient still moves: by its slots, which
// remember earlier gradients, and by weight decay. That needs only the rates of the steps, so it is done when the row is next
// needed.
//
// A row's anchor is its value after its last gradient. Its present value follows from anchor and slots in closed form, and
// leaves both unchanged: settling a row twice, once, or not at all before its next gradient leads to the same bits.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <vector>

#include "buffer.h"
#include "kernels.h"

namespace rnnext {

// An optimizer's constants and what follows from them for rows without a gradient; shared by all parameters of an optimizer.
struct OptimizerOptions {
  Optimizer optimizer;
  double momentum = 0.0;
  bool nesterov = false;
  double rho = 0.0;
  bool centered = false;
  double beta1 = 0.0, beta2 = 0.0;
  bool amsgrad = false;
  double epsilon = 0.0;
};

class OptimizerRule {
 public:
  // After so many steps all rows of a table are brought up to date, so that neither the list of rates nor the arrays below grow
  // without end.
  static constexpr int period = 1024;

  explicit OptimizerRule(const OptimizerOptions& options);

  const OptimizerOptions options;
  OptimizerConstants constants{};
  std::array<bool, slot_count> has_slot{};
  int m_slot = 0;                                   // the slot that moves a row without a gradient
  int v_slot = -1;                                  // the one whose root it is divided by, or -1
  std::array<std::vector<float>, slot_count> fade;  // [period + 1], what n steps without a gradient leave of a slot

  // The i-th idle step after a gradient moves a row by weight[i - 1][j] in term j of the run it belongs to, times rate and m.
  int reach = 0;  // how many idle steps move a row at all; what later ones would add is below rounding
  int run = 1;    // steps of a run
  std::vector<std::array<double, idle_terms>> weight;  // [reach]
  std::vector<double> centre;                          // [runs]
};

class OptimizedParameter;

// The gradient of one parameter: [rows, width], or [count, width] for ascending rows.
struct ParameterGradient {
  OptimizedParameter* parameter;
  const float* g;
  const index_t* rows;  // or null
  index_t count;
};

// At most one of them; 0 is none.
struct Clipping {
  double norm;         // of each parameter's gradient
  double global_norm;  // of all of them together
  double value;
};

// A parameter [rows, width] with its slots, whose memory belongs to the caller. Only one thread of a process at a time changes
// any parameter.
class OptimizedParameter {
 public:
  OptimizedParameter(std::shared_ptr<const OptimizerRule> rule, index_t rows, index_t width, float* p,
                     std::array<float*, slot_count> slots, bool decays);

  index_t rows() const { return rows_; }
  index_t width() const { return width_; }

  // Bring all rows, or the named ones, up to the last step. Ids outside the table are ignored.
  void settle();
  template <class Id>
  void settle_rows(const Id* ids, index_t count);

  // Take the present value for the result of the last step: somebody else has changed it.
  void accept();

  // What is needed besides value and slots to go on as if nothing had been interrupted.
  struct Pending {
    std::vector<float> anchor;          // [rows, width], or empty: nothing has moved a row without a gradient
    std::vector<std::int32_t> last;     // [rows], step of the last gradient
    std::vector<double> rates, decays;  // [steps]
  };
  std::optional<Pending> pending();  // settles; none if all gradients were whole arrays
  void restore(const std::optional<Pending>& pending);

 private:
  struct Table {
    Buffer<float> anchor;               // [rows, width], or empty while no row has moved without a gradient
    std::vector<std::int32_t> last;     // [rows], the step of a row's last gradient
    std::vector<std::int32_t> current;  // [rows], the step that its value belongs to
    std::vector<double> rates, decays;  // [steps]
    std::int32_t steps = 0;
    std::int32_t last_decay = 0;  // the last step with weight decay
    std::int32_t settled = 0;     // the last step after which all rows were settled
  };
  friend void optimizer_step(const OptimizerRule&, const std::vector<ParameterGradient>&, double, double, const Clipping&);

  bool idle_moves() const;
  void settle_all();
  template <class Id>
  void settle_named(const Id* ids, index_t count);
  void settle_stale();
  void rebase();
  void set_anchor();
  void open_table();
  void step_piece(const ParameterGradient& gradient, index_t begin, index_t end, OptimizerStep step);
  void prepare_step(const ParameterGradient& gradient, double decay);
  void finish_step(double rate, double decay);

  const std::shared_ptr<const OptimizerRule> rule_;
  const index_t rows_, width_;
  float* const p_;
  const std::array<float*, slot_count> slots_;
  const bool decays_;
  std::optional<Table> table_;
  std::vector<index_t> stale_;  // rows that settle_stale() is to bring to date
};

// One step of different parameters of one optimizer. `rate` is the learning rate (Adam: with both bias corrections), `decay`
// the learning rate times weight decay. Results do not depend on the number of threads.
void optimizer_step(const OptimizerRule& rule, const std::vector<ParameterGradient>& gradients, double rate, double decay,
                    const Clipping& clipping);

}  // namespace rnnext
