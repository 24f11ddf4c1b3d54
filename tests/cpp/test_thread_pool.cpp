// The thread pool alone, to run under the thread sanitizer: every chunk once from several callers at a time, nested
// calls, exceptions, interrupts, and a fork while other threads use the pool.
#include "support/thread_pool.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

using genkern::index_t;
using genkern::parallel_for;

namespace {

void require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "failed: %s\n", what);
  std::_Exit(1);
}

// Plain counters and one workspace per worker: the sanitizer sees any chunk that runs twice at once, any worker number
// that two threads share, and any result that is read before it is ready.
void every_chunk_once(index_t chunks, int threads) {
  std::vector<int> count(static_cast<std::size_t>(chunks), 0);
  std::vector<index_t> workspace(static_cast<std::size_t>(threads), 0);
  parallel_for(chunks, threads, [&](index_t chunk, int worker) {
    require(0 <= worker && worker < threads, "worker number in range");
    count[static_cast<std::size_t>(chunk)] += 1;
    workspace[static_cast<std::size_t>(worker)] += 1;
  });
  index_t total = 0;
  for (int times : count) require(times == 1, "every chunk once");
  for (index_t done : workspace) total += done;
  require(total == chunks, "every chunk by one worker");
}

void nested() {
  std::vector<int> count(64, 0);
  parallel_for(8, 4, [&](index_t outer, int) {
    parallel_for(8, 4, [&](index_t inner, int worker) {
      require(worker == 0, "a nested call stays on its thread");
      count[static_cast<std::size_t>(8 * outer + inner)] += 1;
    });
  });
  for (int times : count) require(times == 1, "every nested chunk once");
}

void exceptions() {
  bool caught = false;
  try {
    parallel_for(100, 4, [](index_t chunk, int) {
      if (chunk % 7 == 3) throw std::runtime_error("chunk");
    });
  } catch (const std::runtime_error& error) {
    caught = std::string(error.what()) == "chunk";
  }
  require(caught, "an exception of a body reaches the caller");
  every_chunk_once(50, 4);
}

void interrupts() {
  std::atomic<index_t> done{0};
  bool caught = false;
  try {
    parallel_for(
        100000, 4,
        [&](index_t, int) {
          std::this_thread::sleep_for(std::chrono::milliseconds(1));
          done.fetch_add(1);
        },
        [] { return true; });
  } catch (const genkern::Interrupted&) {
    caught = true;
  }
  require(caught && done.load() < 100000, "an interrupt stops the work");
  every_chunk_once(50, 4);

  // Bodies that would never end by themselves, also while the caller only waits for its helpers.
  std::atomic<bool> asked{false};
  caught = false;
  try {
    parallel_for(
        2, 2,
        [&](index_t, int worker) {
          while (worker != 0) genkern::check_interrupt();
        },
        [&] { return asked.exchange(true) || true; });
  } catch (const genkern::Interrupted&) {
    caught = true;
  }
  // The caller may have taken both chunks, each of which then ends at once.
  require(caught == asked.load(), "an interrupt stops a long body");
  every_chunk_once(50, 4);
}

template <class Body>
void from_several_threads(int callers, Body body) {
  std::vector<std::thread> threads;
  for (int caller = 0; caller < callers; ++caller) threads.emplace_back(body);
  for (std::thread& thread : threads) thread.join();
}

void forks() {
  std::atomic<bool> stop{false};
  std::thread other([&] {
    while (!stop.load()) every_chunk_once(20, 3);
  });
  for (int round = 0; round < 5; ++round) {
    const pid_t child = fork();
    require(child >= 0, "fork");
    if (child == 0) {
      alarm(60);  // a hang is a failure
      every_chunk_once(100, 3);
      nested();
      std::_Exit(0);
    }
    int status = 0;
    require(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0,
            "the pool works in a forked child");
  }
  stop.store(true);
  other.join();
}

}  // namespace

int main() {
  for (index_t chunks : {0, 1, 2, 3, 17, 1000})
    for (int threads : {1, 2, 3, 8}) every_chunk_once(chunks, threads);
  for (int round = 0; round < 200; ++round) every_chunk_once(7, 4);
  from_several_threads(4, [] {
    for (int round = 0; round < 100; ++round) {
      every_chunk_once(23, 1 + round % 4);
      if (round % 10 == 0) nested();
      if (round % 25 == 0) exceptions();
    }
  });
  nested();
  exceptions();
  interrupts();
  forks();
  std::puts("thread pool: ok");
}
