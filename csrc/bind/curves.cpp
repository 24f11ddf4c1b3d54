#include "cpu/curves.hpp"

#include <pybind11/stl.h>

#include "bind/arrays.hpp"
#include "bind/curves_columns.hpp"
#include "support/isa.hpp"

namespace py = pybind11;
using genkern::index_t;

namespace genkern {

Activation activation_of(const std::string& name);

namespace {

// Everything of a call that does not differ between its curves.
struct Call {
  BatchView<const double> rhs, targets;
  index_t draws = 1, n = 0, m = 0, points = 0;
  bool classify = false;
  const index_t* listed = nullptr;
  const double* ridges = nullptr;
  index_t ridge_count = 0;
  curves::Settings settings;
  curves::Output out{};
  int threads = 1;

  Call(const py::object& data, const py::array& points_, const py::array& ridges_, double rcond, double unit,
       const std::string& method, const py::object& measured, int n_threads) {
    rhs = batch_of_matrices<const double>(data.attr("rhs").cast<py::array>(), "rhs");
    targets = batch_of_matrices<const double>(data.attr("targets").cast<py::array>(), "targets");
    draws = data.attr("draws").cast<index_t>();
    classify = data.attr("classify").cast<bool>();
    m = data.attr("m").cast<index_t>();
    listed = contiguous<const std::int64_t>(points_, "points");
    points = points_.size();
    ridges = contiguous<const double>(ridges_, "ridges");
    ridge_count = ridges_.size();
    settings.rcond = rcond;
    settings.unit = unit;
    settings.automatic = method == "auto";
    settings.fast = method == "auto" || method == "woodbury";
    settings.always_svd = method == "svd";
    const auto array = [&](const char* name) {
      return contiguous<double>(measured.attr(name).cast<py::array>(), name);
    };
    out = {array("train_risk"),
           array("test_risk"),
           array("coef_norm"),
           array("wrong"),
           array("bias"),
           array("variance"),
           array("error"),
           array("threshold"),
           contiguous<std::int8_t>(measured.attr("method").cast<py::array>(), "method")};
    threads = n_threads;
  }

  // The place of curve number `curve` (ridges innermost) in the output.
  curves::Output at(index_t curve, index_t columns, index_t k, double* threshold) const {
    const index_t t = curve * points;
    return {out.train_risk + t * columns,
            out.test_risk + t * columns,
            out.coef_norm + t * columns,
            out.wrong + t * draws,
            out.bias + t * k,
            out.variance + t * k,
            out.error + t,
            threshold,
            out.method + t};
  }
};

void to_columns(const MatrixView<const double>& view, Matrix& out) {
  out.reshape(view.rows, view.cols);
  for (index_t j = 0; j < view.cols; ++j)
    for (index_t i = 0; i < view.rows; ++i) out(i, j) = view(i, j);
}

// Runs every curve: many over the threads, or the threads within each. solve(item, seed, problem) fills in where the
// columns come from and runs it.
template <class Solve>
void for_each_curve(const Call& call, index_t items, index_t seeds, const py::object& hook, const Solve& solve) {
  std::atomic<index_t> done{0};
  const bool watched = !hook.is_none();
  run_released([&](const std::function<bool()>& interrupted) {
    std::function<bool()> poll = interrupted;
    if (watched && interrupted)
      poll = [&] {
        bool failed = interrupted();
        if (!failed) {
          py::gil_scoped_acquire gil;
          try {
            hook(done.load());
          } catch (py::error_already_set& error) {
            error.restore();
            failed = true;
          }
        }
        return failed;
      };
    const index_t curves_count = items * seeds * call.ridge_count;
    const bool many = curves_count >= call.threads;
    const auto body = [&](index_t curve, int) {
      const index_t ridge = curve % call.ridge_count, rest = curve / call.ridge_count;
      const index_t seed = rest % seeds, item = rest / seeds;
      curves::Problem problem;
      Matrix rhs, targets;
      to_columns(call.rhs[item], rhs);
      to_columns(call.targets[item], targets);
      problem.rhs = rhs;
      problem.targets = targets;
      problem.m = call.m;
      problem.draws = call.draws;
      problem.classify = call.classify;
      problem.points = call.listed;
      problem.count = call.points;
      problem.settings = call.settings;
      problem.settings.ridge = call.ridges[ridge];
      problem.done = &done;
      double ignored = 0;
      problem.out = call.at(curve, rhs->cols, targets->cols, ridge == 0 ? call.out.threshold + rest : &ignored);
      solve(item, seed, problem, many ? 1 : call.threads, poll);
    };
    // A curve that is to use the threads itself must not run inside a parallel region.
    if (many)
      parallel_for(curves_count, call.threads, body, poll);
    else
      for (index_t curve = 0; curve < curves_count; ++curve) body(curve, 0);
  });
}

template <class T>
void widths_of(const Call& call, const py::array& X, const py::array& X_test, const py::object& hook) {
  const auto train = batch_of_matrices<const T>(X, "F"), test = batch_of_matrices<const T>(X_test, "F_test");
  for_each_curve(call, train.size(), 1, hook,
                 [&](index_t item, index_t, curves::Problem& problem, int threads, const auto& poll) {
                   const Stored<T> columns(train[item], test[item]);
                   problem.columns = &columns;
                   problem.n = train.rows;
                   curves::run(problem, threads, poll);
                 });
}

template <class T>
void samples_of(const Call& call, const py::array& X, const py::array& X_test, const py::object& hook) {
  const auto train = batch_of_matrices<const T>(X, "X"), test = batch_of_matrices<const T>(X_test, "X_test");
  for_each_curve(call, train.size(), 1, hook,
                 [&](index_t item, index_t, curves::Problem& problem, int threads, const auto& poll) {
                   const Stored<T> columns(train[item].transposed(), train[item]);
                   Matrix labels, inputs;
                   labels.copy(problem.rhs);
                   const MatrixView<const T> points = test[item];
                   inputs.reshape(points.cols, points.rows);
                   for (index_t j = 0; j < points.rows; ++j)
                     for (index_t i = 0; i < points.cols; ++i) inputs(i, j) = static_cast<double>(points(j, i));
                   problem.columns = &columns;
                   problem.labels = labels;
                   problem.rhs = inputs;
                   problem.n = train.cols;
                   problem.settings.samples = true;
                   curves::run(problem, threads, poll);
                 });
}

template <class T>
void features_of(const Call& call, const py::array& X, const py::array& X_test, const std::vector<std::uint64_t>& seeds,
                 const FeaturesProblem<T>& law, const py::object& hook) {
  const auto train = batch_of_matrices<const T>(X, "X"), test = batch_of_matrices<const T>(X_test, "X_test");
  for_each_curve(call, train.size(), static_cast<index_t>(seeds.size()), hook,
                 [&](index_t item, index_t seed, curves::Problem& problem, int threads, const auto& poll) {
                   FeaturesProblem<T> own = law;
                   own.seed = seeds[static_cast<std::size_t>(seed)];
                   const Made<T> columns(train[item], test[item], own);
                   problem.columns = &columns;
                   problem.n = train.rows;
                   curves::run(problem, threads, poll);
                 });
}

bool is_single(const py::array& array) { return py::isinstance<py::array_t<float>>(array); }

void width_curve(const py::object& data, const py::array& points, const py::array& ridges, double rcond, double unit,
                 const std::string& method, const py::object& measured, const py::object& hook, int n_threads) {
  load_lapack();
  const Call call(data, points, ridges, rcond, unit, method, measured, n_threads);
  const auto X = data.attr("X").cast<py::array>(), X_test = data.attr("X_test").cast<py::array>();
  (is_single(X) ? widths_of<float> : widths_of<double>)(call, X, X_test, hook);
}

void sample_curve(const py::object& data, const py::array& points, const py::array& ridges, double rcond, double unit,
                  const std::string& method, const py::object& measured, const py::object& hook, int n_threads) {
  load_lapack();
  const Call call(data, points, ridges, rcond, unit, method, measured, n_threads);
  const auto X = data.attr("X").cast<py::array>(), X_test = data.attr("X_test").cast<py::array>();
  (is_single(X) ? samples_of<float> : samples_of<double>)(call, X, X_test, hook);
}

template <class T>
FeaturesProblem<T> law_of(const py::dict& law, index_t d) {
  FeaturesProblem<T> problem{};
  problem.activation = activation_of(law["activation"].cast<std::string>());
  const double bandwidth = law["bandwidth"].cast<double>();
  problem.scale = problem.activation == Activation::rff ? 1 / bandwidth
                                                        : 1 / std::sqrt(static_cast<double>(std::max<index_t>(d, 1)));
  problem.sphere = law["weights"].cast<std::string>() == "sphere";
  return problem;
}

void random_feature_curve(const py::object& data, const py::array& points, const std::vector<std::uint64_t>& seeds,
                          const py::dict& law, const py::array& ridges, double rcond, double unit,
                          const std::string& method, const py::object& measured, const py::object& hook,
                          int n_threads) {
  load_lapack();
  const Call call(data, points, ridges, rcond, unit, method, measured, n_threads);
  const auto X = data.attr("X").cast<py::array>(), X_test = data.attr("X_test").cast<py::array>();
  const index_t d = X.shape(X.ndim() - 1);
  if (is_single(X))
    features_of<float>(call, X, X_test, seeds, law_of<float>(law, d), hook);
  else
    features_of<double>(call, X, X_test, seeds, law_of<double>(law, d), hook);
}

}  // namespace
}  // namespace genkern

void bind_curves(py::module_& m) {
  using namespace genkern;
  using namespace py::literals;
  m.def("width_curve", &width_curve, "data"_a, "widths"_a, "ridges"_a, "rcond"_a, "unit"_a, "method"_a, "measured"_a,
        "hook"_a, "n_threads"_a);
  m.def("sample_curve", &sample_curve, "data"_a, "samples"_a, "ridges"_a, "rcond"_a, "unit"_a, "method"_a, "measured"_a,
        "hook"_a, "n_threads"_a);
  m.def("random_feature_curve", &random_feature_curve, "data"_a, "widths"_a, "seeds"_a, "law"_a, "ridges"_a, "rcond"_a,
        "unit"_a, "method"_a, "measured"_a, "hook"_a, "n_threads"_a);
}
