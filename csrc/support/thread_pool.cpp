#include "support/thread_pool.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#define GENKERN_HAS_FORK 1
#endif

namespace genkern {
namespace {

struct Job;

// The job that the thread at hand works for, and whether it is the thread that has called parallel_for.
struct Context {
  Job* job = nullptr;
  bool caller = false;
};
thread_local Context current;

// One call of parallel_for. It lives on the caller's stack; helpers touch it only while `running` counts them.
struct Job {
  const std::function<void(index_t, int)>& body;
  const std::function<bool()>& interrupted;
  index_t chunks;
  std::atomic<index_t> next{0};
  std::atomic<bool> stop{false};
  std::mutex error_mutex;
  std::exception_ptr error;

  Job(const std::function<void(index_t, int)>& body, const std::function<bool()>& interrupted, index_t chunks)
      : body(body), interrupted(interrupted), chunks(chunks) {}

  void fail(std::exception_ptr cause) {
    std::lock_guard<std::mutex> lock(error_mutex);
    if (!error) error = cause;
    stop.store(true, std::memory_order_relaxed);
  }
  // On the caller's thread only.
  void poll() const {
    using clock = std::chrono::steady_clock;
    // Kept between calls, or a long run of short ones would never look.
    static thread_local clock::time_point last = clock::now();
    if (!interrupted) return;
    const auto now = clock::now();
    if (now - last < poll_interval) return;
    last = now;
    if (interrupted()) throw Interrupted{};
  }
  void work(int worker) {
    current = {this, worker == 0};
    try {
      while (!stop.load(std::memory_order_relaxed)) {
        const index_t chunk = next.fetch_add(1, std::memory_order_relaxed);
        if (chunk >= chunks) break;
        body(chunk, worker);
        if (worker == 0) poll();
      }
    } catch (...) {
      fail(std::current_exception());
    }
    current = {};
  }

  static constexpr std::chrono::milliseconds poll_interval{20};
};

class Pool {
 public:
  std::mutex busy;  // held by the one caller whose job the pool runs

  void run(Job& job, int threads) {
    const int helpers = std::min(threads - 1, grow(threads - 1));
    {
      std::lock_guard<std::mutex> lock(mutex_);
      job_ = &job;
      running_.store(helpers, std::memory_order_relaxed);
      for (int helper = 0; helper < helpers; ++helper) helpers_[helper]->called.store(true, std::memory_order_release);
    }
    for (int helper = 0; helper < helpers; ++helper) helpers_[helper]->wake.notify_one();
    job.work(0);
    for (int spin = 0; running_.load(std::memory_order_acquire) > 0; ++spin) {
      if (spin < spins) {
        relax();
        continue;
      }
      {
        std::unique_lock<std::mutex> lock(mutex_);
        const auto finished = [this] { return running_.load(std::memory_order_acquire) == 0; };
        if (done_.wait_for(lock, Job::poll_interval, finished)) break;
      }
      try {
        job.poll();
      } catch (...) {
        job.fail(std::current_exception());
      }
    }
  }

 private:
  // A bare condition variable costs 60 us a dispatch; spinning first (a pause takes 10 to 150 cycles, so 2 to 30 us)
  // makes back-to-back calls cheap.
  static constexpr int spins = 500;

  // Each has its own signal: a call for two threads must not wake the hundred that an earlier call has left.
  struct Helper {
    std::atomic<bool> called{false};
    std::condition_variable wake;
    std::thread thread;
  };

  // Makes helpers up to a number, or as many as the system allows; returns how many there are.
  int grow(int wanted) {
    while (static_cast<int>(helpers_.size()) < wanted) {
      const int worker = static_cast<int>(helpers_.size()) + 1;
      helpers_.reserve(helpers_.size() + 1);
      auto helper = std::make_unique<Helper>();
      try {
        helper->thread = std::thread([this, worker, self = helper.get()] { serve(worker, *self); });
      } catch (const std::system_error&) {
        break;
      }
      helpers_.push_back(std::move(helper));
    }
    return static_cast<int>(helpers_.size());
  }

  [[noreturn]] void serve(int worker, Helper& self) {
    for (;;) {
      for (int spin = 0; !self.called.load(std::memory_order_acquire) && spin < spins; ++spin) relax();
      Job* job = nullptr;
      {
        std::unique_lock<std::mutex> lock(mutex_);
        self.wake.wait(lock, [&] { return self.called.load(std::memory_order_relaxed); });
        self.called.store(false, std::memory_order_relaxed);
        job = job_;
      }
      job->work(worker);
      if (running_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
        std::lock_guard<std::mutex> lock(mutex_);
        done_.notify_one();
      }
    }
  }

  std::vector<std::unique_ptr<Helper>> helpers_;
  std::mutex mutex_;
  std::condition_variable done_;
  std::atomic<int> running_{0};
  Job* job_ = nullptr;
};

// Never destroyed: joining threads while the interpreter unloads shared libraries is a known source of hangs.
Pool* pool = nullptr;
std::mutex pool_mutex;

Pool& instance() {
  std::lock_guard<std::mutex> lock(pool_mutex);
  if (pool == nullptr) {
#ifdef GENKERN_HAS_FORK
    // The child has none of the parent's threads and its locks may be held: it forgets the pool, which leaks.
    static const int registered = pthread_atfork([] { pool_mutex.lock(); }, [] { pool_mutex.unlock(); },
                                                 [] {
                                                   pool = nullptr;
                                                   current = {};
                                                   pool_mutex.unlock();
                                                 });
    (void)registered;
#endif
    pool = new Pool;
  }
  return *pool;
}

}  // namespace

void check_interrupt() {
  if (current.job == nullptr) return;
  if (current.job->stop.load(std::memory_order_relaxed)) throw Interrupted{};
  if (current.caller) current.job->poll();
}

void parallel_for(index_t chunks, int threads, const std::function<void(index_t, int)>& body,
                  const std::function<bool()>& interrupted) {
  if (current.job != nullptr) {
    for (index_t chunk = 0; chunk < chunks; ++chunk) {
      body(chunk, 0);
      check_interrupt();
    }
    return;
  }
  if (chunks <= 0) return;
  Job job(body, interrupted, chunks);
  threads = static_cast<int>(std::min<index_t>(threads, chunks));
  Pool* const shared = threads > 1 ? &instance() : nullptr;
  std::unique_lock<std::mutex> lock;
  if (shared != nullptr) lock = std::unique_lock<std::mutex>(shared->busy, std::try_to_lock);
  if (lock.owns_lock())
    shared->run(job, threads);
  else
    job.work(0);
  if (job.error) std::rethrow_exception(job.error);
}

}  // namespace genkern
