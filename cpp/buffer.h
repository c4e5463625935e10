// Memory for arrays, aligned to cache lines and uninitialised. Freed blocks are kept for the next call of the same size, since
// a training step asks for the same megabytes again and again, and fresh pages cost more than the arithmetic on them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>
#include <utility>

namespace rnnext {

void* acquire_block(std::size_t bytes);  // throws std::bad_alloc
void release_block(void* block, std::size_t bytes) noexcept;

// Held while something is changed that must never be half changed in a child of fork: fork waits until nobody holds it. Its
// holder may acquire and release blocks.
class ForkLock {
 public:
  ForkLock();
  ~ForkLock();
  ForkLock(const ForkLock&) = delete;
  ForkLock& operator=(const ForkLock&) = delete;
};

template <class Real>
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(std::size_t count)
      : data_(count > 0 ? static_cast<Real*>(acquire_block(bytes_of(count))) : nullptr), count_(count) {}
  Buffer(Buffer&& other) noexcept : data_(std::exchange(other.data_, nullptr)), count_(std::exchange(other.count_, 0)) {}
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(count_, other.count_);
    return *this;
  }
  ~Buffer() {
    if (data_ != nullptr) release_block(data_, count_ * sizeof(Real));
  }

  Real* data() const { return data_; }
  std::size_t size() const { return count_; }

 private:
  static std::size_t bytes_of(std::size_t count) {
    return count <= PTRDIFF_MAX / sizeof(Real) ? count * sizeof(Real) : throw std::bad_alloc();
  }

  Real* data_ = nullptr;
  std::size_t count_ = 0;
};

}  // namespace rnnext
