#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <vector>

#include "bind/arrays.hpp"
#include "support/isa.hpp"

namespace genkern {
namespace {

Activation activation_of(const std::string& name) {
  static const char* const names[] = {"identity", "relu", "erf", "tanh", "cos", "sin", "sign", "rff"};
  for (int i = 0; i < 8; ++i)
    if (name == names[i]) return static_cast<Activation>(i);
  throw std::invalid_argument("activation: unknown to the compiled module: " + name);
}

// Splits the work into tiles of columns and, where those are few or a tile is long, blocks of rows. A block makes
// its weights anew, which costs about as much as 50 rows of products.
template <class T>
void run(const FeaturesProblem<T>& problem, void (*tile)(const FeaturesProblem<T>&, index_t, index_t, index_t, double*),
         int threads) {
  const index_t n = problem.X.rows, d = problem.X.cols;
  const index_t tiles = (problem.width + features_tile - 1) / features_tile;
  if (n == 0 || tiles == 0) return;
  // Ctrl-C is looked for between tasks, so none should take longer than some 50 ms.
  const double longest = std::max(5e8 / (static_cast<double>(features_tile) * static_cast<double>(d + 16)), 256.0);
  index_t block = std::min<index_t>(n, static_cast<index_t>(std::min(longest, 1e15)));
  if (tiles < 4 * threads) {
    const index_t blocks = (4 * threads + tiles - 1) / tiles;
    block = std::min(block, std::max<index_t>((n + blocks - 1) / blocks, 128));
  }
  block = (block + 7) / 8 * 8;
  const index_t blocks = (n + block - 1) / block;
  threads = static_cast<int>(std::min<index_t>(threads, tiles * blocks));
  std::vector<double> workspaces(static_cast<std::size_t>(threads) * features_workspace + 8);
  parallel_for(
      tiles * blocks, threads,
      [&](index_t task, int worker) {
        const index_t row = task % blocks * block;
        const std::uintptr_t base = reinterpret_cast<std::uintptr_t>(workspaces.data()) + 63;
        double* aligned = reinterpret_cast<double*>(base / 64 * 64) + worker * features_workspace;
        tile(problem, task / blocks * features_tile, row, std::min(row + block, n), aligned);
      },
      interrupted);
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
  run_released([&] {
    if constexpr (sizeof(T) == 4)
      run<T>(problem, table.tile_f32, threads);
    else
      run<T>(problem, table.tile_f64, threads);
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
  if (py::isinstance<py::array_t<float>>(result))
    table.activate_f32(activation_of(activation), contiguous<float>(result, "values"), result.size());
  else
    table.activate_f64(activation_of(activation), contiguous<double>(result, "values"), result.size());
  return result;
}

using Numbers = void (*FeaturesKernels::*)(std::uint64_t, std::uint32_t, std::uint64_t, index_t, index_t, double*);

template <Numbers numbers>
py::array_t<double> random_numbers(std::uint64_t seed, std::uint32_t stream, std::uint64_t start, py::ssize_t columns,
                                   py::ssize_t rows) {
  py::array_t<double> values({rows, columns});
  double* data = values.mutable_data();
  run_released([&] { (kernels().features.*numbers)(seed, stream, start, columns, rows, data); });
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
