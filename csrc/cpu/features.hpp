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

// Columns of one tile of features; its workspace holds features_workspace(d) doubles.
constexpr index_t features_tile = 96;
constexpr index_t features_depth = 256;  // rows of weights held at once
constexpr index_t features_workspace = features_tile * (features_depth + 2 * 2 + 2 + 16) + features_depth * 16 + 64;

struct FeaturesKernels {
  // Rows [row, row_end) of columns [column, column + features_tile) that exist.
  void (*tile_f32)(const FeaturesProblem<float>&, index_t column, index_t row, index_t row_end, double* workspace);
  void (*tile_f64)(const FeaturesProblem<double>&, index_t column, index_t row, index_t row_end, double* workspace);
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
