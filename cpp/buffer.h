// Memory for arrays, aligned to cache lines and uninitialised. Freed blocks are kept for the next call of the same size, since
// a training step asks for the same tens of megabytes again and again and fresh pages cost more than the arithmetic on them.
#pragma once

#include <cstddef>
#include <utility>

namespace rnnext {

float* acquire_block(std::size_t floats);  // throws std::bad_alloc
void release_block(float* block, std::size_t floats) noexcept;
void trim_blocks() noexcept;  // gives what is kept back to the system

class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(std::size_t floats) : data_(floats > 0 ? acquire_block(floats) : nullptr), floats_(floats) {}
  Buffer(Buffer&& other) noexcept : data_(std::exchange(other.data_, nullptr)), floats_(std::exchange(other.floats_, 0)) {}
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(floats_, other.floats_);
    return *this;
  }
  ~Buffer() {
    if (data_ != nullptr) release_block(data_, floats_);
  }

  float* data() const { return data_; }
  std::size_t size() const { return floats_; }

 private:
  float* data_ = nullptr;
  std::size_t floats_ = 0;
};

}  // namespace rnnext
