// One pool of threads for all kernels. No OpenMP: libgomp hangs in a forked child whose parent has used it.
#pragma once

#include <functional>
#include <thread>

#include "support/view.hpp"

namespace genkern {

// Thrown in the calling thread when `interrupted` answered true; the rest of the work is not started.
struct Interrupted {};

// Calls body(chunk, worker) once for every chunk in [0, chunks), on at most `threads` threads, the caller's among
// them; 0 <= worker < threads tells which thread's workspace to use, 0 being the caller's. Which chunk runs where is
// not determined, so results must not depend on it. The caller's thread asks `interrupted` (may be empty) every 20 ms.
// The first exception of a body is thrown in the caller once all threads have stopped. Calls inside a body, and calls
// that find the pool busy with another caller's work, run on the calling thread alone. After a fork the child starts
// with a fresh pool.
void parallel_for(index_t chunks, int threads, const std::function<void(index_t, int)>& body,
                  const std::function<bool()>& interrupted = {});

// For bodies that take long, every millisecond or so: throws Interrupted if the call that the body belongs to is to
// stop, for whatever reason.
void check_interrupt();

// Tells the processor that a loop waits for another core.
inline void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  std::this_thread::yield();
#endif
}

}  // namespace genkern
