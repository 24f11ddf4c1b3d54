#include <Python.h>

#include "support/lapack.hpp"

#include <mutex>
#include <stdexcept>

#if defined(__unix__) || defined(__APPLE__)
#include <dlfcn.h>
#include <pthread.h>
#define GENKERN_HAS_DLOPEN 1
#endif

namespace genkern {
namespace {

template <class T>
constexpr const char* name_of = nullptr;
template <>
constexpr const char* name_of<int> = "int";
template <>
constexpr const char* name_of<char> = "char";
template <>
constexpr const char* name_of<float> = "s";
template <>
constexpr const char* name_of<double> = "d";

template <class... Args>
std::string expected_signature(void (*)(Args*...)) {
  std::string text = "void (", separator;
  ((text += separator + name_of<Args> + " *", separator = ", "), ...);
  return text + ")";
}

// Cython mangles its own names of float and double: __pyx_t_5scipy_6linalg_13cython_lapack_d becomes d.
std::string unmangled(std::string signature) {
  for (const char* module : {"cython_lapack_", "cython_blas_"}) {
    const std::string tail = module;
    for (;;) {
      const std::size_t start = signature.find("__pyx_t_");
      if (start == std::string::npos) break;
      const std::size_t end = signature.find(tail, start);
      const std::size_t stop = signature.find_first_of(",)", start);
      if (end == std::string::npos || end > stop) break;
      signature.erase(start, end + tail.size() - start);
    }
  }
  return signature;
}

struct Module {
  PyObject* module;
  PyObject* table;
  std::string name;

  explicit Module(const char* name) : module(PyImport_ImportModule(name)), table(nullptr), name(name) {
    if (module != nullptr) table = PyObject_GetAttrString(module, "__pyx_capi__");
    if (table == nullptr) {
      PyErr_Clear();
      Py_XDECREF(module);
      throw std::runtime_error("genkern needs " + this->name + " with its __pyx_capi__ table: is SciPy broken?");
    }
  }
  ~Module() {
    Py_DECREF(table);
    Py_DECREF(module);
  }
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;

  template <class Function>
  void get(const std::string& function, Function& target) const {
    PyObject* capsule = PyMapping_GetItemString(table, function.c_str());
    if (capsule == nullptr) {
      PyErr_Clear();
      throw std::runtime_error(name + " has no function " + function);
    }
    const char* signature = PyCapsule_GetName(capsule);
    void* pointer = signature != nullptr ? PyCapsule_GetPointer(capsule, signature) : nullptr;
    const std::string found = signature != nullptr ? unmangled(signature) : "no signature";
    Py_DECREF(capsule);
    PyErr_Clear();
    if (pointer == nullptr || found != expected_signature(target))
      throw std::runtime_error(name + "." + function + " has signature " + found + ", expected " +
                               expected_signature(target));
    target = reinterpret_cast<Function>(pointer);
  }
};

template <class T>
Lapack<T> functions;

struct ThreadSwitch {
  int (*get)() = nullptr;
  void (*set)(int) = nullptr;
  std::string name;
  std::mutex mutex;
  int holders = 0, before = 0;
  bool inherited = false;  // the child of a fork under a guard: the setting is still the guard's
};
ThreadSwitch& thread_switch() {
  static ThreadSwitch* const instance = new ThreadSwitch;  // outlives every thread
#ifdef GENKERN_HAS_DLOPEN
  // The threads that hold guards do not live on in the child of a fork.
  static const int registered = pthread_atfork([] { instance->mutex.lock(); }, [] { instance->mutex.unlock(); },
                                               [] {
                                                 instance->inherited = instance->inherited || instance->holders > 0;
                                                 instance->holders = 0;
                                                 instance->mutex.unlock();
                                               });
  (void)registered;
#endif
  return *instance;
}

// The extension module that wraps BLAS is loaded already, and looking a symbol up through its handle searches
// the libraries that it was linked with, so no file name of theirs needs to be known.
void find_thread_switch(const Module& blas) {
#ifdef GENKERN_HAS_DLOPEN
  PyObject* file = PyObject_GetAttrString(blas.module, "__file__");
  const char* path = file != nullptr ? PyUnicode_AsUTF8(file) : nullptr;
  void* handle = path != nullptr ? dlopen(path, RTLD_LAZY | RTLD_NOLOAD) : nullptr;
  if (handle != nullptr) {
    ThreadSwitch& target = thread_switch();
    for (const char* prefix : {"scipy_openblas_", "openblas_"}) {
      const std::string stem = prefix;
      auto set = reinterpret_cast<void (*)(int)>(dlsym(handle, (stem + "set_num_threads").c_str()));
      auto get = reinterpret_cast<int (*)()>(dlsym(handle, (stem + "get_num_threads").c_str()));
      if (set == nullptr || get == nullptr) continue;
      target.set = set;
      target.get = get;
      target.name = stem + "set_num_threads";
      break;
    }
  }
  Py_XDECREF(file);
  PyErr_Clear();
#else
  (void)blas;
#endif
}

}  // namespace

void load_lapack() {
  static bool loaded = false;  // guarded by the GIL
  if (loaded) return;
  const Module lapack_module("scipy.linalg.cython_lapack"), blas_module("scipy.linalg.cython_blas");
  blas_module.get("sgemm", functions<float>.gemm);
  blas_module.get("dgemm", functions<double>.gemm);
  blas_module.get("sgemv", functions<float>.gemv);
  blas_module.get("dgemv", functions<double>.gemv);
  blas_module.get("strsm", functions<float>.trsm);
  blas_module.get("dtrsm", functions<double>.trsm);
  blas_module.get("strsv", functions<float>.trsv);
  blas_module.get("dtrsv", functions<double>.trsv);
  blas_module.get("strmv", functions<float>.trmv);
  blas_module.get("dtrmv", functions<double>.trmv);
  lapack_module.get("spotrf", functions<float>.potrf);
  lapack_module.get("dpotrf", functions<double>.potrf);
  lapack_module.get("sgesdd", functions<float>.gesdd);
  lapack_module.get("dgesdd", functions<double>.gesdd);
  lapack_module.get("sgesvd", functions<float>.gesvd);
  lapack_module.get("dgesvd", functions<double>.gesvd);
  lapack_module.get("stpqrt", functions<float>.tpqrt);
  lapack_module.get("dtpqrt", functions<double>.tpqrt);
  lapack_module.get("stpmqrt", functions<float>.tpmqrt);
  lapack_module.get("dtpmqrt", functions<double>.tpmqrt);
  find_thread_switch(blas_module);
  loaded = true;
}

template <class T>
const Lapack<T>& lapack() {
  return functions<T>;
}
template const Lapack<float>& lapack<float>();
template const Lapack<double>& lapack<double>();

SingleThreadedBlas::SingleThreadedBlas() {
  ThreadSwitch& target = thread_switch();
  if (target.set == nullptr) return;
  std::lock_guard<std::mutex> lock(target.mutex);
  if (target.holders++ > 0) return;
  if (!target.inherited) target.before = target.get();
  target.inherited = false;
  if (target.before != 1) target.set(1);
}

SingleThreadedBlas::~SingleThreadedBlas() {
  ThreadSwitch& target = thread_switch();
  if (target.set == nullptr) return;
  std::lock_guard<std::mutex> lock(target.mutex);
  if (--target.holders == 0 && target.before != 1) target.set(target.before);
}

std::string blas_thread_switch() { return thread_switch().name; }

}  // namespace genkern
