// Scratch memory of one thread: grows, is reused from call to call of a batch, and starts every piece on a cache line.
#pragma once

#include <cstddef>
#include <new>
#include <utility>

namespace genkern {

class Workspace {
 public:
  Workspace() = default;
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;
  ~Workspace() { release(); }

  // Makes room for `bytes` in all; pieces taken earlier are lost. Throws std::bad_alloc.
  void reserve(std::size_t bytes) {
    used_ = 0;
    if (bytes <= size_) return;
    release();
    data_ = static_cast<char*>(::operator new(bytes, std::align_val_t{alignment}));
    size_ = bytes;
  }
  // The next `count` elements of what was reserved.
  template <class T>
  T* take(std::ptrdiff_t count) {
    T* piece = reinterpret_cast<T*>(data_ + used_);
    used_ += bytes_for<T>(count);
    return piece;
  }
  template <class T>
  static std::size_t bytes_for(std::ptrdiff_t count) {
    return (static_cast<std::size_t>(count) * sizeof(T) + alignment - 1) / alignment * alignment;
  }

 private:
  static constexpr std::size_t alignment = 64;
  void release() {
    if (data_ != nullptr) ::operator delete(data_, std::align_val_t{alignment});
    data_ = nullptr;
    size_ = 0;
  }
  char* data_ = nullptr;
  std::size_t size_ = 0, used_ = 0;
};

}  // namespace genkern
