// Private memory of a kernel: aligned to 64 bytes, so that vectorised libraries take the same path through it
// (and give the same bits) wherever the caller's arrays lie; kept from one use to the next.
#pragma once

#include <new>
#include <string>
#include <utility>

#include "support/view.hpp"

namespace genkern {

class OutOfMemory : public std::bad_alloc {
 public:
  explicit OutOfMemory(std::size_t bytes)
      : text_("cannot allocate " + std::to_string(bytes >> 20) + " MiB of working memory") {}
  const char* what() const noexcept override { return text_.c_str(); }

 private:
  std::string text_;
};

template <class T>
class Buffer {
 public:
  Buffer() = default;
  ~Buffer() { release(); }
  Buffer(Buffer&& other) noexcept { swap(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    swap(other);
    return *this;
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  // Room for `count` elements, their values unspecified.
  T* reserve(index_t count) {
    if (count > capacity_) {
      release();
      const std::size_t bytes = static_cast<std::size_t>(count) * sizeof(T);
      data_ = static_cast<T*>(::operator new(bytes, alignment, std::nothrow));
      if (data_ == nullptr) throw OutOfMemory(bytes);
      capacity_ = count;
    }
    return data_;
  }
  void swap(Buffer& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(capacity_, other.capacity_);
  }
  T* data() { return data_; }
  const T* data() const { return data_; }

 private:
  static constexpr std::align_val_t alignment{64};
  void release() {
    if (data_ != nullptr) ::operator delete(data_, alignment);
    data_ = nullptr;
    capacity_ = 0;
  }
  T* data_ = nullptr;
  index_t capacity_ = 0;
};

}  // namespace genkern
