#include "parallel.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>

#ifdef _OPENMP
#include <omp.h>
#endif
#if defined(__x86_64__)
#include <immintrin.h>
#endif
#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

namespace rnnext {
namespace {

// Flushes denormals to zero, in operands and in results, while it lives.
class FlushDenormals {
 public:
  FlushDenormals(const FlushDenormals&) = delete;
  FlushDenormals& operator=(const FlushDenormals&) = delete;
#if defined(__x86_64__)
  FlushDenormals() : saved_(_mm_getcsr()) { _mm_setcsr(saved_ | 0x8040u); }  // FTZ and DAZ
  ~FlushDenormals() { _mm_setcsr(saved_); }

 private:
  unsigned saved_;
#elif defined(__aarch64__)
  FlushDenormals() {
    __asm__ volatile("mrs %0, fpcr" : "=r"(saved_));
    __asm__ volatile("msr fpcr, %0" : : "r"(saved_ | (1ull << 24)));  // FZ
  }
  ~FlushDenormals() { __asm__ volatile("msr fpcr, %0" : : "r"(saved_)); }

 private:
  unsigned long long saved_;
#else
  FlushDenormals() {}
  ~FlushDenormals() {}
#endif
};

void pause() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

std::atomic<int> chosen_threads{0};  // by set_num_threads; 0: not called

// A child of fork has none of its parent's OpenMP threads, and libgomp would wait for them for ever. Whether there were any
// cannot be known (PyTorch may use the same libgomp), so a child never enters OpenMP.
std::atomic<bool> in_forked_child{false};
#if defined(__unix__) || defined(__APPLE__)
const int fork_watch = pthread_atfork(nullptr, nullptr, [] { in_forked_child = true; });
#endif

#ifdef _OPENMP
// OpenMP takes any number from OMP_NUM_THREADS, and LLVM's makes some a negative one.
int openmp_limit() { return std::clamp(omp_get_max_threads(), 1, most_threads); }
const int limit_at_import = openmp_limit();
#endif

// The number in RNNEXT_NUM_THREADS; 0 if it is not set.
int environment_threads() {
  const char* variable = std::getenv("RNNEXT_NUM_THREADS");
  const std::string text = variable != nullptr ? variable : "";
  if (text.empty()) return 0;
  int n = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (error != std::errc() || end != text.data() + text.size() || n < 1 || n > most_threads) {
    throw std::runtime_error("RNNEXT_NUM_THREADS is '" + text + "', expected a whole number of threads from 1 to " +
                             std::to_string(most_threads));
  }
  return n;
}

}  // namespace

void Barrier::make_room(int most) { arrivals_ = std::make_unique<Arrivals[]>(static_cast<std::size_t>(most)); }

void Barrier::reset(int count) { count_ = count; }

void Barrier::wait(int id) {
  if (count_ == 1) return;
  auto& mine = arrivals_[static_cast<std::size_t>(id)].count;
  const unsigned now = mine.load(std::memory_order_relaxed) + 1;
  mine.store(now, std::memory_order_release);
  for (int other = 0; other < count_; ++other) {
    const auto& theirs = arrivals_[static_cast<std::size_t>(other)].count;
    // They may be one meeting ahead, never more.
    for (int spins = 0; theirs.load(std::memory_order_acquire) - now > 1u; ++spins) {
      if (spins < 100) continue;
      if (spins < 4000) {
        pause();
      } else {
        std::this_thread::yield();
      }
    }
  }
}

void run_team(int threads, void (*body)(const Member&, void*), void* context) {
  Barrier all;
  if (threads <= 1 || in_forked_child) {
    const FlushDenormals flush;
    body({0, 1, {all, 0}}, context);
    return;
  }
#ifdef _OPENMP
  all.make_room(threads);
#pragma omp parallel num_threads(threads)
  {
    const int size = omp_get_num_threads();
#pragma omp single
    all.reset(size);
    const FlushDenormals flush;
    body({omp_get_thread_num(), size, {all, omp_get_thread_num()}}, context);
  }
#else
  const FlushDenormals flush;
  body({0, 1, {all, 0}}, context);
#endif
}

bool openmp_available() {
#ifdef _OPENMP
  return true;
#else
  return false;
#endif
}

int num_threads() {
  static const int from_environment = environment_threads();
#ifdef _OPENMP
  if (in_forked_child) return 1;
  const int limit = openmp_limit();
  int chosen = chosen_threads;
  if (chosen == 0) chosen = from_environment;
  if (chosen == 0) return limit;
  return limit < limit_at_import ? std::min(chosen, limit) : chosen;
#else
  static_cast<void>(from_environment);
  return 1;
#endif
}

void set_num_threads(int n) { chosen_threads = n; }

}  // namespace rnnext
