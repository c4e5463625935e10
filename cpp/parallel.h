// A team of threads for one call, and the only place that knows OpenMP. Every member runs with denormals flushed to zero, and
// the caller's floating-point mode comes back afterwards.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>

namespace rnnext {

// Where threads wait for each other. Each announces its arrival and watches the others' announcements, so a meeting takes one
// transfer between cores. After a bounded spin a thread yields its processor, so that a busy neighbour costs little.
class Barrier {
 public:
  void make_room(int most);  // throws std::bad_alloc
  void reset(int count);     // how many threads meet: at most as many as there is room for
  void wait(int id);         // 0 <= id < count

 private:
  struct alignas(64) Arrivals {
    std::atomic<unsigned> count{0};
  };
  int count_ = 1;
  std::unique_ptr<Arrivals[]> arrivals_;
};

// One thread's place at a barrier.
struct Meeting {
  Barrier& barrier;
  int id;

  void wait() const { barrier.wait(id); }
};

struct Member {
  int id;
  int size;  // of the team; may be less than was asked for, and is 1 in a child of fork
  Meeting all;
};

// Runs body(Member) on up to `threads` threads and returns when all are done. The body must not throw.
void run_team(int threads, void (*body)(const Member&, void*), void* context);

template <class F>
void parallel(int threads, F&& body) {
  run_team(threads, [](const Member& member, void* context) { (*static_cast<F*>(context))(member); }, &body);
}

// More than any machine has, and far fewer than OpenMP could start.
inline constexpr int most_threads = 1024;

// How many threads a call may use now: what was chosen, else RNNEXT_NUM_THREADS, else OpenMP's limit. That limit also holds in
// the other cases if it has been lowered since import (threadpoolctl does so); a child of fork has one thread. The first call,
// at import, throws std::runtime_error if RNNEXT_NUM_THREADS is not a number of threads.
int num_threads();
void set_num_threads(int n);  // from 1 to most_threads
bool openmp_available();

// Member m's share [begin, end) of n things.
struct Range {
  std::ptrdiff_t begin, end;
  std::ptrdiff_t size() const { return end - begin; }
};
inline Range share(std::ptrdiff_t n, int member, int members) { return {n * member / members, n * (member + 1) / members}; }

}  // namespace rnnext
