#include "cpu/least_squares_paths.hpp"

#include "bind/arrays.hpp"

namespace py = pybind11;
using genkern::index_t;

namespace {

bool is_single(const py::array& array) { return py::isinstance<py::array_t<float>>(array); }

template <class T>
void ridge_path(const py::array& X, const py::array& y, const py::array& ridges, double rcond, py::array& coef,
                int n_threads) {
  const auto matrices = genkern::batch_of_matrices<const T>(X, "X"), rhs = genkern::batch_of_matrices<const T>(y, "y");
  const double* const values = genkern::contiguous<const double>(ridges, "ridges");
  T* const target = genkern::contiguous<T>(coef, "coef");
  const index_t count = ridges.size();
  genkern::run_released([&](const auto& interrupted) {
    genkern::ridge_path<T>(matrices, rhs, values, count, rcond, target, n_threads, interrupted);
  });
}

template <class T>
void gd_path(const py::array& X, const py::array& y, const py::array& steps, const py::array& step_size,
             double momentum, bool nesterov, double rcond, py::array& coef, py::array& divergent, int n_threads) {
  const auto matrices = genkern::batch_of_matrices<const T>(X, "X"), rhs = genkern::batch_of_matrices<const T>(y, "y");
  const genkern::GdMethod method{genkern::contiguous<const double>(steps, "steps"), steps.size(), momentum, nesterov};
  const auto sizes = genkern::batch_of_numbers(step_size, "step_size");
  T* const target = genkern::contiguous<T>(coef, "coef");
  bool* const flags = genkern::contiguous<bool>(divergent, "divergent");
  genkern::run_released([&](const auto& interrupted) {
    genkern::gd_path<T>(matrices, rhs, method, sizes, rcond, target, flags, n_threads, interrupted);
  });
}

template <class T>
void singular_values(const py::array& X, py::array& s, int n_threads) {
  const auto matrices = genkern::batch_of_matrices<const T>(X, "X");
  T* const target = genkern::contiguous<T>(s, "s");
  genkern::run_released(
      [&](const auto& interrupted) { genkern::singular_values<T>(matrices, target, n_threads, interrupted); });
}

}  // namespace

void bind_least_squares_paths(py::module_& m) {
  m.def(
      "ridge_path",
      [](const py::array& X, const py::array& y, const py::array& ridges, double rcond, py::array coef, int n_threads) {
        genkern::load_lapack();
        (is_single(X) ? ridge_path<float> : ridge_path<double>)(X, y, ridges, rcond, coef, n_threads);
      },
      py::arg("X"), py::arg("y"), py::arg("ridges"), py::arg("rcond"), py::arg("coef"), py::arg("n_threads"));
  m.def(
      "gd_path",
      [](const py::array& X, const py::array& y, const py::array& steps, const py::array& step_size, double momentum,
         bool nesterov, double rcond, py::array coef, py::array divergent, int n_threads) {
        genkern::load_lapack();
        (is_single(X) ? gd_path<float> : gd_path<double>)(X, y, steps, step_size, momentum, nesterov, rcond, coef,
                                                          divergent, n_threads);
      },
      py::arg("X"), py::arg("y"), py::arg("steps"), py::arg("step_size"), py::arg("momentum"), py::arg("nesterov"),
      py::arg("rcond"), py::arg("coef"), py::arg("divergent"), py::arg("n_threads"));
  m.def(
      "singular_values",
      [](const py::array& X, py::array s, int n_threads) {
        genkern::load_lapack();
        (is_single(X) ? singular_values<float> : singular_values<double>)(X, s, n_threads);
      },
      py::arg("X"), py::arg("s"), py::arg("n_threads"));
}
