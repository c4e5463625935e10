// The parts of the extension module.
#pragma once

#include <pybind11/pybind11.h>

namespace rnnext {

void bind_recurrent(pybind11::module_& m);
void bind_optimizers(pybind11::module_& m);
void bind_rows(pybind11::module_& m);

}  // namespace rnnext
