// Python's lock is given up while the engine computes.
#pragma once

#include <pybind11/pybind11.h>

#include <chrono>
#include <thread>

namespace rnnext {

// Gives up the lock while it lives. In place of pybind11's gil_scoped_release, whose destructor ends the process if a daemon
// thread is inside the engine when the interpreter exits: Python before 3.14 ends such a thread where it asks for the lock, by
// pthread_exit, which glibc makes an exception, and that may not leave a destructor. Here the thread waits for the end of the
// process, as from 3.14 on. It holds none of the engine's locks then.
class WithoutGil {
 public:
  WithoutGil() : state_(PyEval_SaveThread()) {}
  WithoutGil(const WithoutGil&) = delete;
  WithoutGil& operator=(const WithoutGil&) = delete;
  ~WithoutGil() {
    try {
      PyEval_RestoreThread(state_);
    } catch (...) {  // it is left by nobody
      for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
    }
  }

 private:
  PyThreadState* state_;
};

}  // namespace rnnext
