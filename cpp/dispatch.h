// Which table of kernels runs here: the best that the CPU has, or what RNNEXT_ISA names.
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
std::vector<std::string> available_isas();  // those of them that this CPU runs

}  // namespace rnnext
