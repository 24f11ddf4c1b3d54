// Strided views of host arrays: what a kernel sees of a caller's memory. Strides count elements, may be zero
// (broadcast) or negative, and nothing is assumed of alignment beyond that of the element type.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace genkern {

using index_t = std::int64_t;

// One matrix (rows, cols); a vector is a matrix with one column.
template <class T>
struct MatrixView {
  T* data;
  index_t rows, cols;
  index_t row_stride, col_stride;

  T& operator()(index_t i, index_t j) const { return data[i * row_stride + j * col_stride]; }
  MatrixView transposed() const { return {data, cols, rows, col_stride, row_stride}; }
};

// A batch of matrices: leading axes of any number and stride (see add_axis), flattened in C order.
template <class T>
struct BatchView {
  T* data = nullptr;
  std::vector<index_t> shape, strides;  // of the batch axes
  index_t rows = 0, cols = 0, row_stride = 0, col_stride = 0;

  index_t size() const {
    index_t count = 1;
    for (index_t extent : shape) count *= extent;
    return count;
  }
  // Appends a batch axis, or lengthens the last one if both are equally spaced: nearly every batch ends up with a
  // single axis, and finding an item needs no division.
  void add_axis(index_t extent, index_t stride) {
    if (extent == 1) return;
    if (!shape.empty() && strides.back() == extent * stride) {
      shape.back() *= extent;
      strides.back() = stride;
    } else {
      shape.push_back(extent);
      strides.push_back(stride);
    }
  }
  MatrixView<T> operator[](index_t item) const {
    T* start = data;
    for (std::size_t axis = shape.size(); axis-- > 1;) {
      start += (item % shape[axis]) * strides[axis];
      item /= shape[axis];
    }
    if (!shape.empty()) start += item * strides[0];
    return {start, rows, cols, row_stride, col_stride};
  }
};

}  // namespace genkern
