#include "buffer.h"

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <map>
#include <mutex>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif
#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

namespace rnnext {
namespace {

constexpr std::size_t alignment = 64;
// Blocks in use and kept ones together never take more than the most that was ever in use, except that `kept_anyhow` may always
// be kept. More than `kept_at_most` never is.
constexpr std::size_t kept_anyhow = std::size_t{96} << 20;
constexpr std::size_t kept_at_most = std::size_t{1} << 30;

// Sizes are rounded up to one of four in each power of two, so that batches of nearly equal length share blocks.
std::size_t rounded_bytes(std::size_t wanted) {
  const std::size_t bytes = (wanted + alignment - 1) / alignment * alignment;
  std::size_t step = alignment;
  while (step * 8 < bytes) step *= 2;
  return (bytes + step - 1) / step * step;
}

// Large blocks ask for huge pages where there are any: the passes walk through tens of megabytes with long strides.
constexpr std::size_t huge_page = std::size_t{2} << 20;
std::align_val_t alignment_of(std::size_t bytes) { return std::align_val_t{bytes >= huge_page ? huge_page : alignment}; }

// Null if there is no memory.
void* system_allocate(std::size_t bytes) noexcept {
  void* block = ::operator new(bytes, alignment_of(bytes), std::nothrow);
#if defined(__linux__)
  if (block != nullptr && bytes >= huge_page) madvise(block, bytes, MADV_HUGEPAGE);
#endif
  return block;
}
void system_free(void* block, std::size_t bytes) noexcept { ::operator delete(block, alignment_of(bytes)); }

struct Kept {
  std::mutex fork_mutex;  // ForkLock's; taken before the other
  std::mutex mutex;
  std::multimap<std::size_t, void*> blocks;
  std::size_t bytes = 0;   // of the kept blocks
  std::size_t in_use = 0;  // bytes that were handed out
  std::size_t most = 0;    // bytes that were ever in use

  // How many bytes may be kept while `used` bytes are in use.
  std::size_t room(std::size_t used) const {
    return std::min(std::max(most > used ? most - used : 0, kept_anyhow), kept_at_most);
  }

  void hand_out(std::size_t size) {
    in_use += size;
    most = std::max(most, in_use);
  }

  // A kept block of that size; null if there is none.
  void* take(std::size_t size) {
    const auto found = blocks.find(size);
    if (found == blocks.end()) return nullptr;
    void* block = found->second;
    blocks.erase(found);
    bytes -= size;
    hand_out(size);
    return block;
  }

  // Returns blocks to the system until at most `rest` bytes are kept.
  void give_back(std::size_t rest) noexcept {
    while (bytes > rest) {
      const auto largest = std::prev(blocks.end());
      system_free(largest->second, largest->first);
      bytes -= largest->first;
      blocks.erase(largest);
    }
  }
};

// Never destroyed: arrays may outlive every static object at interpreter exit.
Kept& kept() {
  static Kept* const instance = new Kept;
  return *instance;
}

#if defined(__unix__) || defined(__APPLE__)
// A child of fork has only the forking thread, so no other thread may hold a lock at that moment.
void hold_all() {
  kept().fork_mutex.lock();
  kept().mutex.lock();
}
void release_all() {
  kept().mutex.unlock();
  kept().fork_mutex.unlock();
}
const int fork_watch = pthread_atfork(hold_all, release_all, release_all);
#endif

}  // namespace

void* acquire_block(std::size_t wanted) {
  if (wanted > PTRDIFF_MAX / 2) throw std::bad_alloc();  // so that rounding up does not overflow
  const std::size_t bytes = rounded_bytes(wanted);
  {
    const std::lock_guard lock(kept().mutex);
    if (void* block = kept().take(bytes)) return block;
    kept().give_back(kept().room(kept().in_use + bytes));
  }
  void* block = system_allocate(bytes);
  const std::lock_guard lock(kept().mutex);
  if (block == nullptr) {
    kept().give_back(0);
    block = system_allocate(bytes);
  }
  if (block == nullptr) throw std::bad_alloc();
  kept().hand_out(bytes);
  return block;
}

void release_block(void* block, std::size_t wanted) noexcept {
  const std::size_t bytes = rounded_bytes(wanted);
  {
    const std::lock_guard lock(kept().mutex);
    kept().in_use -= bytes;
    if (kept().bytes + bytes <= kept().room(kept().in_use)) {
      try {
        kept().blocks.emplace(bytes, block);
        kept().bytes += bytes;
        return;
      } catch (const std::bad_alloc&) {  // no memory to remember it by: it goes back to the system
      }
    }
  }
  system_free(block, bytes);
}

ForkLock::ForkLock() { kept().fork_mutex.lock(); }
ForkLock::~ForkLock() { kept().fork_mutex.unlock(); }

}  // namespace rnnext
