#include "bind/arrays.hpp"
#include "support/isa.hpp"

namespace py = pybind11;

void bind_least_squares_paths(py::module_& m);

namespace {

template <class T, class Kernel>
void lstsq(const py::array& X, const py::array& y, const py::array& ridge, double rcond, py::array& coef,
           py::array& rank, py::array& residual_norm, py::array& status, int n_threads, Kernel kernel) {
  const genkern::LstsqProblem<T> problem{genkern::batch_of_matrices<const T>(X, "X"),
                                         genkern::batch_of_matrices<const T>(y, "y"),
                                         genkern::batch_of_numbers(ridge, "ridge"),
                                         rcond,
                                         genkern::contiguous<T>(coef, "coef"),
                                         genkern::contiguous<std::int32_t>(rank, "rank"),
                                         genkern::contiguous<T>(residual_norm, "residual_norm"),
                                         genkern::contiguous<std::int8_t>(status, "status")};
  genkern::run_released([&](const auto& interrupted) { kernel(problem, n_threads, interrupted); });
}

}  // namespace

void bind_least_squares(py::module_& m) {
  m.def(
      "lstsq",
      [](const py::array& X, const py::array& y, const py::array& ridge, double rcond, py::array coef, py::array rank,
         py::array residual_norm, py::array status, int n_threads) {
        genkern::load_lapack();
        const genkern::LeastSquaresKernels& kernels = genkern::kernels().least_squares;
        if (py::isinstance<py::array_t<float>>(X))
          lstsq<float>(X, y, ridge, rcond, coef, rank, residual_norm, status, n_threads, kernels.lstsq_f32);
        else
          lstsq<double>(X, y, ridge, rcond, coef, rank, residual_norm, status, n_threads, kernels.lstsq_f64);
      },
      py::arg("X"), py::arg("y"), py::arg("ridge"), py::arg("rcond"), py::arg("coef"), py::arg("rank"),
      py::arg("residual_norm"), py::arg("status"), py::arg("n_threads"));
  bind_least_squares_paths(m);
}
