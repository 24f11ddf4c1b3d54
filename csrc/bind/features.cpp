#include "bind/arrays.hpp"

namespace py = pybind11;

void bind_features(py::module_&) {}
