#include "cpu/logistic.hpp"

#include <array>
#include <atomic>

#include "bind/arrays.hpp"
#include "support/isa.hpp"

namespace py = pybind11;

namespace genkern {
namespace {

template <class Enum, std::size_t count>
Enum named(const std::array<const char*, count>& names, const std::string& name) {
  for (std::size_t i = 0; i < count; ++i)
    if (name == names[i]) return static_cast<Enum>(i);
  throw std::invalid_argument(name + ": unknown to the compiled module");
}

constexpr std::array<const char*, 2> losses{"logistic", "exponential"};
constexpr std::array<const char*, 7> algorithms{"gd",   "normalized", "heavy_ball", "accelerated",
                                                "sign", "coordinate", "mirror"};

// (..., rows) as a batch of columns.
template <class T>
BatchView<const T> batch_of_columns(const py::array& array, const char* name) {
  return batch_of_matrices<const T>(array[py::make_tuple(py::ellipsis(), py::none())].template cast<py::array>(), name);
}

// Ctrl-C, and the caller's own function with the share of the work that is done; what it raises stops the call.
std::function<bool()> watch(const py::object& progress, const std::atomic<double>& done) {
  std::function<bool()> interrupted = interrupt_check();
  if (progress.is_none()) return interrupted;
  return [interrupted, &progress, &done] {
    if (interrupted && interrupted()) return true;
    py::gil_scoped_acquire gil;
    try {
      progress(std::min(done.load(std::memory_order_relaxed), 1.0));
      return false;
    } catch (py::error_already_set& error) {
      error.restore();
      return true;
    }
  };
}

template <class T>
void logistic_path_of(const py::array& X, const py::array& y, const py::array& steps, const py::array& step_size,
                      const py::array& init, py::array& coef, py::array& log_loss, py::array& margin, py::array& norm,
                      py::array& error, py::array& status, const DescentRule& rule, bool continued, double rtol,
                      const py::object& progress, int n_threads) {
  std::atomic<double> done{0};
  const LogisticProblem<T> problem{batch_of_matrices<const T>(X, "X"),
                                   batch_of_columns<T>(y, "y"),
                                   batch_of_columns<T>(init, "init"),
                                   batch_of_numbers(step_size, "step_size"),
                                   contiguous<const double>(steps, "steps"),
                                   steps.size(),
                                   rule,
                                   continued,
                                   rtol,
                                   contiguous<T>(coef, "coef"),
                                   contiguous<T>(log_loss, "log_loss"),
                                   contiguous<T>(margin, "margin"),
                                   contiguous<T>(norm, "norm"),
                                   contiguous<double>(error, "error"),
                                   contiguous<std::int8_t>(status, "status"),
                                   &done};
  const LogisticKernels& table = kernels().logistic;
  run_released(
      [&](const std::function<bool()>& interrupted) {
        if constexpr (sizeof(T) == 4)
          table.path_f32(problem, n_threads, interrupted);
        else
          table.path_f64(problem, n_threads, interrupted);
      },
      watch(progress, done));
  if (!progress.is_none()) progress(1.0);
}

py::array margin_weights(const std::string& loss, const py::array& u) {
  py::array result = u.attr("copy")();
  const LogisticKernels& table = kernels().logistic;
  const MarginLoss which = named<MarginLoss>(losses, loss);
  if (py::isinstance<py::array_t<float>>(u))
    table.weights_f32(which, contiguous<const float>(u, "u"), contiguous<float>(result, "u"), u.size());
  else
    table.weights_f64(which, contiguous<const double>(u, "u"), contiguous<double>(result, "u"), u.size());
  return result;
}

}  // namespace
}  // namespace genkern

void bind_logistic(py::module_& m) {
  m.def(
      "logistic_path",
      [](const py::array& X, const py::array& y, const py::array& steps, const py::array& step_size,
         const py::array& init, py::array coef, py::array log_loss, py::array margin, py::array norm, py::array error,
         py::array status, const std::string& loss, const std::string& algorithm, const std::string& schedule,
         double momentum, double p, bool continued, double rtol, const py::object& progress, int n_threads) {
        using namespace genkern;
        const DescentRule rule{named<MarginLoss>(losses, loss), named<DescentAlgorithm>(algorithms, algorithm),
                               schedule == "sqrt", momentum, p};
        const auto call = py::isinstance<py::array_t<float>>(X) ? logistic_path_of<float> : logistic_path_of<double>;
        call(X, y, steps, step_size, init, coef, log_loss, margin, norm, error, status, rule, continued, rtol, progress,
             n_threads);
      },
      py::arg("X"), py::arg("y"), py::arg("steps"), py::arg("step_size"), py::arg("init"), py::arg("coef"),
      py::arg("log_loss"), py::arg("margin"), py::arg("norm"), py::arg("error"), py::arg("status"), py::kw_only(),
      py::arg("loss"), py::arg("algorithm"), py::arg("schedule"), py::arg("momentum"), py::arg("p"),
      py::arg("continued"), py::arg("rtol"), py::arg("progress"), py::arg("n_threads"));
  m.def("margin_weights", &genkern::margin_weights, py::arg("loss"), py::arg("u"));
}
