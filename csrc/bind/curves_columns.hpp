// Where the columns of nested curves come from: arrays, or random features made block by block.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "cpu/curves.hpp"
#include "support/isa.hpp"

namespace genkern {

// Columns that are stored: the features of width curves, the training points of sample curves.
template <class T>
class Stored final : public curves::Columns {
 public:
  Stored(const MatrixView<const T>& train, const MatrixView<const T>& test) : train_(train), test_(test) {}

  void train(index_t p, const Part& F, Buffer<double>&) const override {
    fill(
        F.rows, F.cols, F, [&](index_t i, index_t j) { return train_(i, p + j); },
        train_.row_stride <= train_.col_stride);
  }
  void test(index_t p, index_t row, const Part& target, Buffer<double>&) const override {
    fill(
        target.rows, target.cols, target, [&](index_t j, index_t i) { return test_(row + i, p + j); },
        test_.col_stride <= test_.row_stride);
  }

 private:
  // Walks along the shorter stride of the source.
  template <class Entry>
  static void fill(index_t rows, index_t cols, const Part& target, const Entry& entry, bool by_column) {
    if (by_column) {
      for (index_t j = 0; j < cols; ++j)
        for (index_t i = 0; i < rows; ++i) target(i, j) = static_cast<double>(entry(i, j));
    } else {
      for (index_t i = 0; i < rows; ++i)
        for (index_t j = 0; j < cols; ++j) target(i, j) = static_cast<double>(entry(i, j));
    }
  }
  MatrixView<const T> train_, test_;
};

// Random features, made when asked for.
template <class T>
class Made final : public curves::Columns {
 public:
  Made(const MatrixView<const T>& train, const MatrixView<const T>& test, FeaturesProblem<T> law)
      : train_(train), test_(test), law_(law) {
    find_finite(train_, finite_train_);
    find_finite(test_, finite_test_);
  }

  void train(index_t p, const Part& F, Buffer<double>& scratch) const override {
    T* const made = make(train_, finite_train_.data(), p, 0, F.rows, F.cols, scratch);
    for (index_t i = 0; i < F.rows; ++i)
      for (index_t j = 0; j < F.cols; ++j) F(i, j) = static_cast<double>(made[i * F.cols + j]);
  }
  void test(index_t p, index_t row, const Part& target, Buffer<double>& scratch) const override {
    const T* const made = make(test_, finite_test_.data() + row, p, row, target.cols, target.rows, scratch);
    for (index_t i = 0; i < target.rows * target.cols; ++i) target.data[i] = static_cast<double>(made[i]);
  }

 private:
  void find_finite(const MatrixView<const T>& X, std::vector<std::uint8_t>& finite) {
    finite.resize(static_cast<std::size_t>(X.rows));
    FeaturesProblem<T> problem = law_;
    problem.X = X;
    if constexpr (sizeof(T) == 4)
      kernels().features.finite_f32(problem, 0, X.rows, finite.data());
    else
      kernels().features.finite_f64(problem, 0, X.rows, finite.data());
  }
  // Features (rows, count), contiguous, in the scratch memory.
  T* make(const MatrixView<const T>& X, const std::uint8_t* finite, index_t p, index_t row, index_t rows, index_t count,
          Buffer<double>& scratch) const {
    double* const workspace = scratch.reserve(features_workspace + rows * count + 8);
    FeaturesProblem<T> problem = law_;
    problem.X = {X.data + row * X.row_stride, rows, X.cols, X.row_stride, X.col_stride};
    problem.finite = finite;
    problem.features = reinterpret_cast<T*>(workspace + features_workspace);
    problem.width = count;
    problem.start = law_.start + static_cast<std::uint64_t>(p);
    const FeaturesKernels& table = kernels().features;
    for (index_t column = 0; column < count; column += features_tile)
      for (index_t first = 0; first == 0 || first < X.cols; first += features_depth) {
        if constexpr (sizeof(T) == 4) {
          table.weights_f32(problem, column, first, workspace);
          table.rows_f32(problem, column, first, 0, rows, workspace);
        } else {
          table.weights_f64(problem, column, first, workspace);
          table.rows_f64(problem, column, first, 0, rows, workspace);
        }
      }
    return problem.features;
  }

  MatrixView<const T> train_, test_;
  FeaturesProblem<T> law_;
  std::vector<std::uint8_t> finite_train_, finite_test_;
};

}  // namespace genkern
