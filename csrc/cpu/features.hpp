// Random features: interface of csrc/cpu/features.inc.
#pragma once

#include <cstdint>

#include "support/view.hpp"

namespace genkern {

enum class Activation : int { identity, relu, erf, tanh, cos, sin, sign, rff };

// features(r, j) = activation(<x_r, w_j> scale [+ phase_j]); column j of the output is feature start + j.
template <class T>
struct FeaturesProblem {
  MatrixView<const T> X;  // (n, d)
  T* features;            // (n, width), contiguous
  index_t width;
  Activation activation;
  double scale;  // 1 / sqrt(d), or 1 / bandwidth for rff
  bool sphere;   // weights on the sphere of radius sqrt(d) instead of Gaussian ones
  std::uint64_t seed, start;
};

constexpr index_t features_tile = 96;    // columns computed together
constexpr index_t features_depth = 256;  // rows of weights held at once
// Doubles in a workspace, which is aligned to 64 bytes and holds a tile's weights, phases and products.
constexpr index_t features_workspace = features_tile * features_depth + features_depth * 16 + features_tile * 24;

struct FeaturesKernels {
  // For first = 0, features_depth, ... below d (0 if d = 0): the weights of rows [first, first + features_depth) of a
  // tile of columns, then their share of the features of rows [row, row_end), in pieces of any size.
  void (*weights_f32)(const FeaturesProblem<float>&, index_t column, index_t first, double* workspace);
  void (*weights_f64)(const FeaturesProblem<double>&, index_t column, index_t first, double* workspace);
  void (*rows_f32)(const FeaturesProblem<float>&, index_t column, index_t first, index_t row, index_t row_end,
                   double* workspace);
  void (*rows_f64)(const FeaturesProblem<double>&, index_t column, index_t first, index_t row, index_t row_end,
                   double* workspace);
  // The activation alone, in place (rff: without its phase), `count` values.
  void (*activate_f32)(Activation, float* values, index_t count);
  void (*activate_f64)(Activation, double* values, index_t count);
  // Random numbers of rows [0, rows) of columns start, start + 1, ...: (rows, columns), contiguous.
  void (*normals)(std::uint64_t seed, std::uint32_t stream, std::uint64_t start, index_t columns, index_t rows,
                  double* values);
  void (*uniforms)(std::uint64_t seed, std::uint32_t stream, std::uint64_t start, index_t columns, index_t rows,
                   double* values);
  void (*philox)(const std::uint32_t counter[4], const std::uint32_t key[2], std::uint32_t words[4]);
};

}  // namespace genkern
