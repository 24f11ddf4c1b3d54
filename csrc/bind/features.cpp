#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <vector>

#include "bind/arrays.hpp"
#include "support/isa.hpp"

namespace genkern {

Activation activation_of(const std::string& name) {
  static const char* const names[] = {"identity", "relu", "erf", "tanh", "cos", "sin", "sign", "rff"};
  for (int i = 0; i < 8; ++i)
    if (name == names[i]) return static_cast<Activation>(i);
  throw std::invalid_argument("activation: unknown to the compiled module: " + name);
}

namespace {

// Splits the work into tiles of columns and, where those are few, blocks of rows: a block makes its weights anew, which
// costs about as much as 50 rows of products. Ctrl-C is looked for inside a task too: the first touch of a large
// output can make it long.
template <class T, class Finite, class Weights, class Rows>
void run(FeaturesProblem<T> problem, Finite find_finite, Weights weights, Rows rows, int threads,
         const std::function<bool()>& interrupted) {
  constexpr index_t piece = 64;  // rows, a multiple of every register tile's
  const index_t n = problem.X.rows, d = problem.X.cols;
  const index_t tiles = (problem.width + features_tile - 1) / features_tile;
  if (n == 0 || tiles == 0) return;
  std::vector<std::uint8_t> finite(static_cast<std::size_t>(n));
  problem.finite = finite.data();
  const index_t step = std::max<index_t>(1, (1 << 20) / (d + 1));
  parallel_for(
      (n + step - 1) / step, n * d < 100000 ? 1 : threads,
      [&](index_t task, int) { find_finite(problem, task * step, std::min((task + 1) * step, n), finite.data()); },
      interrupted);
  index_t block = n;
  if (tiles < 4 * threads) {
    const index_t blocks = (4 * threads + tiles - 1) / tiles;
    block = std::min(n, std::max<index_t>((n + blocks - 1) / blocks, 128));
  }
  const index_t blocks = (n + block - 1) / block;
  threads = static_cast<int>(std::min<index_t>(threads, tiles * blocks));
  std::vector<double> memory(static_cast<std::size_t>(threads) * features_workspace + 8);
  double* const aligned = reinterpret_cast<double*>((reinterpret_cast<std::uintptr_t>(memory.data()) + 63) / 64 * 64);
  const auto body = [&](index_t task, int worker) {
    double* const workspace = aligned + worker * features_workspace;
    const index_t column = task / blocks * features_tile, begin = task % blocks * block;
    const index_t end = std::min(begin + block, n);
    for (index_t first = 0; first == 0 || first < d; first += features_depth) {
      weights(problem, column, first, workspace);
      for (index_t row = begin; row < end; row += piece) {
        rows(problem, column, first, row, std::min(row + piece, end), workspace);
        check_interrupt();
      }
    }
  };
  parallel_for(tiles * blocks, threads, body, interrupted);
}

template <class T>
void random_features_of(const py::array& X, py::array& out, Activation activation, std::uint64_t seed,
                        std::uint64_t start, bool sphere, double bandwidth, int threads) {
  FeaturesProblem<T> problem;
  problem.X = batch_of_matrices<const T>(X, "X")[0];
  problem.features = contiguous<T>(out, "out");
  if (out.ndim() != 2 || out.shape(0) != problem.X.rows)
    throw std::invalid_argument("out: unexpected shape in the compiled module");
  problem.width = out.shape(1);
  problem.activation = activation;
  const double d = static_cast<double>(std::max<index_t>(problem.X.cols, 1));
  problem.scale = activation == Activation::rff ? 1 / bandwidth : 1 / std::sqrt(d);
  problem.sphere = sphere;
  problem.seed = seed;
  problem.start = start;
  const FeaturesKernels& table = kernels().features;
  run_released([&](const std::function<bool()>& interrupted) {
    if constexpr (sizeof(T) == 4)
      run(problem, table.finite_f32, table.weights_f32, table.rows_f32, threads, interrupted);
    else
      run(problem, table.finite_f64, table.weights_f64, table.rows_f64, threads, interrupted);
  });
}

void random_features(const py::array& X, py::array out, const std::string& activation, std::uint64_t seed,
                     std::uint64_t start, const std::string& weights, double bandwidth, int n_threads) {
  const auto call = py::isinstance<py::array_t<float>>(X) ? random_features_of<float> : random_features_of<double>;
  call(X, out, activation_of(activation), seed, start, weights == "sphere", bandwidth, n_threads);
}

// An activation alone, elementwise, without the phase of rff; for tests of its accuracy.
py::array activate(const std::string& activation, const py::array& values) {
  py::array result = values.attr("copy")();
  const FeaturesKernels& table = kernels().features;
  const Activation which = activation_of(activation);
  if (py::isinstance<py::array_t<float>>(values))
    table.activate_f32(which, contiguous<const float>(values, "values"), contiguous<float>(result, "values"),
                       values.size());
  else
    table.activate_f64(which, contiguous<const double>(values, "values"), contiguous<double>(result, "values"),
                       values.size());
  return result;
}

using Numbers = void (*FeaturesKernels::*)(std::uint64_t, std::uint32_t, std::uint64_t, index_t, index_t, double*);

template <Numbers numbers>
py::array_t<double> random_numbers(std::uint64_t seed, std::uint32_t stream, std::uint64_t start, py::ssize_t columns,
                                   py::ssize_t rows) {
  py::array_t<double> values({rows, columns});
  double* data = values.mutable_data();
  run_released(
      [&](const std::function<bool()>&) { (kernels().features.*numbers)(seed, stream, start, columns, rows, data); });
  return values;
}

py::tuple philox4x32(const std::array<std::uint32_t, 4>& counter, const std::array<std::uint32_t, 2>& key) {
  std::uint32_t words[4];
  kernels().features.philox(counter.data(), key.data(), words);
  return py::make_tuple(words[0], words[1], words[2], words[3]);
}

}  // namespace
}  // namespace genkern

void bind_features(pybind11::module_& m) {
  using namespace genkern;
  using namespace py::literals;
  m.def("random_features", &random_features, "X"_a, "out"_a, py::kw_only(), "activation"_a, "seed"_a, "start"_a,
        "weights"_a, "bandwidth"_a, "n_threads"_a, "Features of the rows of X, written to out (n, width).");
  m.def("activate", &activate, "activation"_a, "values"_a, "An activation of every value.");
  m.def("normal", &random_numbers<&FeaturesKernels::normals>, "seed"_a, "stream"_a, "start"_a, "columns"_a, "rows"_a,
        "Standard normals (rows, columns) of a stream.");
  m.def("uniform", &random_numbers<&FeaturesKernels::uniforms>, "seed"_a, "stream"_a, "start"_a, "columns"_a, "rows"_a,
        "Uniforms (rows, columns) of a stream.");
  m.def("philox4x32", &philox4x32, "counter"_a, "key"_a, "Four words of Philox4x32-10.");
}
