#include "bind/arrays.hpp"

namespace py = pybind11;

void bind_least_squares_paths(py::module_& m);

void bind_least_squares(py::module_& m) { bind_least_squares_paths(m); }
