// The table of kernels in use: that of the best ISA that the CPU has, or of the one that RNNEXT_ISA names.
#pragma once

#include <string>
#include <vector>

#include "kernels.h"

namespace rnnext {

// Throws std::runtime_error when RNNEXT_ISA names an ISA that was not compiled in or that the CPU lacks.
const KernelTable& kernels();
template <class Real>
const RecurrentKernels<Real>& recurrent_kernels() {
  if constexpr (sizeof(Real) == sizeof(float)) {
    return kernels().f32;
  } else {
    return kernels().f64;
  }
}

std::vector<std::string> compiled_isas();   // worst first
std::vector<std::string> available_isas();  // those that this CPU has

}  // namespace rnnext
