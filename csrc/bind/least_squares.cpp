#include "bind/arrays.hpp"

namespace py = pybind11;

void bind_least_squares(py::module_&) {}
