#include <pybind11/pybind11.h>

namespace py = pybind11;

void bind_support(py::module_& m);
void bind_least_squares(py::module_& m);
void bind_features(py::module_& m);
void bind_curves(py::module_& m);
void bind_logistic(py::module_& m);
void bind_margin(py::module_& m);

PYBIND11_MODULE(_native, m) {
  if (PyInterpreterState_Get() != PyInterpreterState_Main())
    throw py::import_error("the compiled module of genkern does not run in subinterpreters");
  m.doc() = "Compiled kernels of genkern; use the functions of the package instead.";
  bind_support(m);
  bind_least_squares(m);
  bind_features(m);
  bind_curves(m);
  bind_logistic(m);
  bind_margin(m);
}
