#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "support/isa.hpp"
#include "support/lapack.hpp"

namespace py = pybind11;

void bind_support(py::module_& m) {
  m.def("isa", [] { return std::string(genkern::kernels().name); }, "Name of the instruction set in use.");
  m.def("available_isas", &genkern::available_isas, "Instruction sets that this build and processor have.");
  m.def(
      "blas_thread_switch",
      [] {
        genkern::load_lapack();
        return genkern::blas_thread_switch();
      },
      "Function that holds SciPy's BLAS at one thread, or an empty string.");
}
