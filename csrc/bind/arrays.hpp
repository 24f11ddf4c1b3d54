// From NumPy arrays to the kernels' views, and what every binding needs around a call.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <exception>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include "support/lapack.hpp"
#include "support/thread_pool.hpp"
#include "support/view.hpp"

namespace genkern {

namespace py = pybind11;

// The arrays arrive checked, broadcast and of one dtype (genkern/_checks.py); what is tested here can only
// fail by a mistake inside the package.
template <class T>
T* typed(const py::array& array, const char* name) {
  if (!py::isinstance<py::array_t<std::remove_const_t<T>>>(array))
    throw std::invalid_argument(std::string(name) + ": unexpected dtype in the compiled module");
  if constexpr (std::is_const_v<T>)
    return static_cast<T*>(array.data());
  else
    return static_cast<T*>(const_cast<py::array&>(array).mutable_data());
}

template <class T>
index_t stride_of(const py::array& array, py::ssize_t axis) {
  return array.shape(axis) > 1 ? array.strides(axis) / static_cast<py::ssize_t>(sizeof(T)) : 0;
}

// (..., rows, cols)
template <class T>
BatchView<T> batch_of_matrices(const py::array& array, const char* name) {
  const py::ssize_t axes = array.ndim();
  if (axes < 2) throw std::invalid_argument(std::string(name) + ": too few axes in the compiled module");
  BatchView<T> view;
  view.data = typed<T>(array, name);
  for (py::ssize_t axis = 0; axis < axes - 2; ++axis) view.add_axis(array.shape(axis), stride_of<T>(array, axis));
  view.rows = array.shape(axes - 2);
  view.cols = array.shape(axes - 1);
  view.row_stride = stride_of<T>(array, axes - 2);
  view.col_stride = stride_of<T>(array, axes - 1);
  return view;
}

// One number per item, as a batch of 1 x 1 matrices.
inline BatchView<const double> batch_of_numbers(const py::array& array, const char* name) {
  BatchView<const double> view;
  view.data = typed<const double>(array, name);
  for (py::ssize_t axis = 0; axis < array.ndim(); ++axis)
    view.add_axis(array.shape(axis), stride_of<const double>(array, axis));
  view.rows = view.cols = 1;
  return view;
}

// A C-contiguous array as plain memory.
template <class T>
T* contiguous(const py::array& array, const char* name) {
  if (array.size() > 0 && !(array.flags() & py::array::c_style))
    throw std::invalid_argument(std::string(name) + ": not contiguous in the compiled module");
  return typed<T>(array, name);
}

// What a kernel asks every few milliseconds: has the user pressed Ctrl-C? Empty off the main thread, where Python
// handles no signals and where waiting for the GIL would end the thread if the interpreter is shutting down.
inline std::function<bool()> interrupt_check() {
  static const unsigned long main_thread =
      py::module_::import("threading").attr("main_thread")().attr("ident").cast<unsigned long>();
  if (PyThread_get_thread_ident() != main_thread) return {};
  return [] {
    py::gil_scoped_acquire gil;
    return PyErr_CheckSignals() != 0;
  };
}

// Runs call(interrupted) without the GIL; Ctrl-C in it becomes the exception that its handler has set. Not by
// py::gil_scoped_release: taking the GIL back ends a daemon thread when the interpreter shuts down, and no thread can
// be ended inside a destructor.
template <class Call>
void run_released(Call&& call, const std::function<bool()>& interrupted = interrupt_check()) {
  std::exception_ptr error;
  PyThreadState* const state = PyEval_SaveThread();
  try {
    call(interrupted);
  } catch (...) {
    error = std::current_exception();
  }
  PyEval_RestoreThread(state);
  try {
    if (error) std::rethrow_exception(error);
  } catch (const Interrupted&) {
    throw py::error_already_set();
  }
}

}  // namespace genkern
