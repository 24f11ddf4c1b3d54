#include "bind/arrays.hpp"
#include "support/isa.hpp"

namespace py = pybind11;

namespace {

// (..., n) as a batch of n x 1 matrices.
template <class T>
genkern::BatchView<T> batch_of_vectors(const py::array& array, const char* name) {
  const py::ssize_t axes = array.ndim();
  if (axes < 1) throw std::invalid_argument(std::string(name) + ": too few axes in the compiled module");
  genkern::BatchView<T> view;
  view.data = genkern::typed<T>(array, name);
  for (py::ssize_t axis = 0; axis < axes - 1; ++axis)
    view.add_axis(array.shape(axis), genkern::stride_of<T>(array, axis));
  view.rows = array.shape(axes - 1);
  view.cols = 1;
  view.row_stride = genkern::stride_of<T>(array, axes - 1);
  return view;
}

template <class T, class Kernel>
void max_margin(const py::array& X, const py::array& y, double tol, genkern::index_t max_iter, py::array& coef,
                py::array& margin, py::array& dual, py::array& support, py::array& gap, py::array& separable,
                py::array& status, int n_threads, Kernel kernel) {
  const genkern::MarginProblem<T> problem{genkern::batch_of_matrices<const T>(X, "X"),
                                          batch_of_vectors<const T>(y, "y"),
                                          tol,
                                          max_iter,
                                          genkern::contiguous<T>(coef, "coef"),
                                          genkern::contiguous<T>(margin, "margin"),
                                          genkern::contiguous<T>(dual, "dual"),
                                          genkern::contiguous<bool>(support, "support"),
                                          genkern::contiguous<double>(gap, "gap"),
                                          genkern::contiguous<bool>(separable, "separable"),
                                          genkern::contiguous<std::int8_t>(status, "status")};
  genkern::run_released([&](const auto& interrupted) { kernel(problem, n_threads, interrupted); });
}

}  // namespace

void bind_margin(py::module_& m) {
  m.def(
      "max_margin",
      [](const py::array& X, const py::array& y, double tol, genkern::index_t max_iter, py::array coef,
         py::array margin, py::array dual, py::array support, py::array gap, py::array separable, py::array status,
         int n_threads) {
        const genkern::MarginKernels& kernels = genkern::kernels().margin;
        if (py::isinstance<py::array_t<float>>(X))
          max_margin<float>(X, y, tol, max_iter, coef, margin, dual, support, gap, separable, status, n_threads,
                            kernels.max_margin_f32);
        else
          max_margin<double>(X, y, tol, max_iter, coef, margin, dual, support, gap, separable, status, n_threads,
                             kernels.max_margin_f64);
      },
      py::arg("X"), py::arg("y"), py::arg("tol"), py::arg("max_iter"), py::arg("coef"), py::arg("margin"),
      py::arg("dual"), py::arg("support"), py::arg("gap"), py::arg("separable"), py::arg("status"),
      py::arg("n_threads"));
}
