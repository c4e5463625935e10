#include "buffer.h"

#include <cstdlib>
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
constexpr std::size_t kept_limit = std::size_t{96} << 20;  // bytes

// Sizes are rounded up to four steps a power of two, so that batches of nearly equal length share blocks.
std::size_t rounded_bytes(std::size_t wanted) {
  const std::size_t bytes = (wanted + alignment - 1) / alignment * alignment;
  std::size_t step = alignment;
  while (step * 8 < bytes) step *= 2;
  return (bytes + step - 1) / step * step;
}

// Large blocks ask for huge pages where there are any: the passes walk through tens of megabytes with long strides.
constexpr std::size_t huge_page = std::size_t{2} << 20;
std::align_val_t alignment_of(std::size_t bytes) { return std::align_val_t{bytes >= huge_page ? huge_page : alignment}; }

void* system_allocate(std::size_t bytes) {
  void* block = ::operator new(bytes, alignment_of(bytes));
#if defined(__linux__)
  if (bytes >= huge_page) madvise(block, bytes, MADV_HUGEPAGE);
#endif
  return block;
}
void system_free(void* block, std::size_t bytes) noexcept { ::operator delete(block, alignment_of(bytes)); }

struct Kept {
  std::mutex mutex;
  std::multimap<std::size_t, void*> blocks;
  std::size_t bytes = 0;
  std::mutex fork_mutex;  // ForkLock's; taken before the other
};

// Never destroyed: arrays may outlive every static object at interpreter exit.
Kept& kept() {
  static Kept* const instance = new Kept;
  return *instance;
}

#if defined(__unix__) || defined(__APPLE__)
// A child of fork has only the forking thread: nobody else may hold a lock at that moment.
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
  const std::size_t bytes = rounded_bytes(wanted);
  {
    const std::lock_guard lock(kept().mutex);
    if (const auto found = kept().blocks.find(bytes); found != kept().blocks.end()) {
      void* block = found->second;
      kept().blocks.erase(found);
      kept().bytes -= bytes;
      return block;
    }
  }
  return system_allocate(bytes);
}

void release_block(void* block, std::size_t wanted) noexcept {
  const std::size_t bytes = rounded_bytes(wanted);
  {
    const std::lock_guard lock(kept().mutex);
    if (kept().bytes + bytes <= kept_limit) {
      try {
        kept().blocks.emplace(bytes, block);
        kept().bytes += bytes;
        return;
      } catch (const std::bad_alloc&) {  // no room to remember it: give it back
      }
    }
  }
  system_free(block, bytes);
}

ForkLock::ForkLock() { kept().fork_mutex.lock(); }
ForkLock::~ForkLock() { kept().fork_mutex.unlock(); }

}  // namespace rnnext
