#include "support/thread_pool.hpp"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#define GENKERN_HAS_FORK 1
#endif
#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#endif

namespace genkern {
namespace {

inline void relax() {
#if defined(__x86_64__) || defined(_M_X64)
  _mm_pause();
#else
  std::this_thread::yield();
#endif
}

thread_local bool inside_parallel_region = false;

// One call of parallel_for. It lives on the caller's stack; workers touch it only between join and leave.
struct Job {
  const std::function<void(index_t, int)>& body;
  index_t chunks;
  std::atomic<index_t> next{0};
  std::atomic<bool> stop{false};
  std::mutex error_mutex;
  std::exception_ptr error;

  Job(const std::function<void(index_t, int)>& body, index_t chunks) : body(body), chunks(chunks) {}
  void fail(std::exception_ptr cause) {
    std::lock_guard<std::mutex> lock(error_mutex);
    if (!error) error = cause;
    stop.store(true, std::memory_order_relaxed);
  }
  // Runs chunks until none is left; the caller passes a poll that may stop the job.
  template <class Poll>
  void work(int worker, Poll&& poll) {
    inside_parallel_region = true;
    try {
      while (!stop.load(std::memory_order_relaxed)) {
        const index_t chunk = next.fetch_add(1, std::memory_order_relaxed);
        if (chunk >= chunks) break;
        body(chunk, worker);
        poll();
      }
    } catch (...) {
      fail(std::current_exception());
    }
    inside_parallel_region = false;
  }
};

class Pool {
 public:
  std::mutex busy;  // held by the one caller whose job the pool runs

  ~Pool() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      quit_ = true;
      epoch_.fetch_add(1, std::memory_order_release);
    }
    wake_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

  template <class Poll>
  void run(Job& job, int threads, Poll&& poll) {
    while (static_cast<int>(threads_.size()) < threads - 1) {
      const int worker = static_cast<int>(threads_.size()) + 1;
      threads_.emplace_back([this, worker, seen = epoch_.load()] { loop(worker, seen); });
    }
    {
      std::lock_guard<std::mutex> lock(mutex_);
      job_ = &job;
      wanted_ = threads - 1;
      running_.store(wanted_, std::memory_order_relaxed);
      epoch_.fetch_add(1, std::memory_order_release);
    }
    wake_.notify_all();
    job.work(0, poll);
    for (int spin = 0; running_.load(std::memory_order_acquire) > 0; ++spin) {
      if (spin < spins) {
        relax();
        continue;
      }
      std::unique_lock<std::mutex> lock(mutex_);
      done_.wait(lock, [this] { return running_.load(std::memory_order_acquire) == 0; });
    }
  }

 private:
  // A bare condition variable costs 60 us a dispatch; spinning first (some 20 us) makes back-to-back calls
  // cheap.
  static constexpr int spins = 2000;

  void loop(int worker, unsigned seen) {
    for (;;) {
      for (int spin = 0; epoch_.load(std::memory_order_acquire) == seen && spin < spins; ++spin) relax();
      Job* job = nullptr;
      {
        std::unique_lock<std::mutex> lock(mutex_);
        wake_.wait(lock, [&] { return epoch_.load(std::memory_order_relaxed) != seen; });
        seen = epoch_.load(std::memory_order_relaxed);
        if (quit_) return;
        if (worker > wanted_) continue;
        job = job_;
      }
      job->work(worker, [] {});
      if (running_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
        std::lock_guard<std::mutex> lock(mutex_);
        done_.notify_one();
      }
    }
  }

  std::vector<std::thread> threads_;
  std::mutex mutex_;
  std::condition_variable wake_, done_;
  std::atomic<unsigned> epoch_{0};
  std::atomic<int> running_{0};
  Job* job_ = nullptr;
  int wanted_ = 0;
  bool quit_ = false;
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
                                                   inside_parallel_region = false;
                                                   pool_mutex.unlock();
                                                 });
    (void)registered;
#endif
    pool = new Pool;
  }
  return *pool;
}

}  // namespace

void parallel_for(index_t chunks, int threads, const std::function<void(index_t, int)>& body,
                  const std::function<bool()>& interrupted) {
  if (chunks <= 0) return;
  using clock = std::chrono::steady_clock;
  auto last = clock::now();
  const bool nested = inside_parallel_region;
  auto poll = [&] {
    if (!interrupted) return;
    const auto now = clock::now();
    if (now - last < std::chrono::milliseconds(20)) return;
    last = now;
    if (interrupted()) throw Interrupted{};
  };
  Job job(body, chunks);
  if (threads > chunks) threads = static_cast<int>(chunks);
  Pool* shared = threads > 1 && !nested ? &instance() : nullptr;
  if (shared != nullptr) {
    std::unique_lock<std::mutex> lock(shared->busy, std::try_to_lock);
    if (lock.owns_lock()) {
      shared->run(job, threads, poll);
    } else {
      job.work(0, poll);
    }
  } else {
    job.work(0, poll);
    inside_parallel_region = nested;
  }
  if (job.error) std::rethrow_exception(job.error);
}

}  // namespace genkern
