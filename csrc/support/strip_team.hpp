// Threads that share one computation step by step, where a step is far too short for a parallel_for of its own (a
// microsecond and more).
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>
#include <utility>

#include "support/thread_pool.hpp"

namespace genkern {

// One thread, the driver, calls assemble() once and run() again and again; the others call help(), which returns after
// stop(). Each run is work(member, members) on every member at once, the driver being member 0, with meet() between its
// steps, the same number of times each; results must not depend on `members`. Helpers that have not come yet are no
// members. Where others want the cores, one that waits for the other loses more than sharing gains: after shared runs
// that have lost too much against the driver alone it goes alone for twenty times of what was lost.
//
// One way from core to core takes 0.2 us here, so members do what follows a meeting each for themselves: handing out
// and gathering costs two ways.
class StripTeam {
 public:
  explicit StripTeam(int threads) : threads_(threads), marks_(new Mark[static_cast<std::size_t>(threads)]) {}

  int threads() const { return threads_; }
  void assemble(std::function<void(int member, int members)> work) { work_ = std::move(work); }

  // `steps` is what the run's time is divided by.
  void run(double steps) {
    using clock = std::chrono::steady_clock;
    const int present = stopped_ ? 1 : std::min(1 + helpers_.load(std::memory_order_acquire), threads_);
    const bool alone = present == 1 || alone_for_ > 0 || !(time_alone_ > 0);
    const auto start = clock::now();
    if (alone) {
      work_(0, 1);
    } else {
      base_ = marks_[0].met.load(std::memory_order_relaxed);
      order_.store((order_.load(std::memory_order_relaxed) / most + 1) * most + static_cast<std::uint64_t>(present),
                   std::memory_order_release);
      work_(0, present);
    }
    const double elapsed = std::chrono::duration<double>(clock::now() - start).count(), time = elapsed / steps;
    if (alone) {
      time_alone_ = time_alone_ > 0 ? std::min(time, 1.1 * time_alone_) : time;
      alone_for_ -= elapsed;
    } else if (time < time_alone_) {
      lost_ = 0;
    } else if ((lost_ += elapsed - time_alone_ * steps) > most_lost) {
      alone_for_ = 20 * lost_;
      lost_ = 0;
    }
  }

  void help() {
    const int member = helpers_.fetch_add(1, std::memory_order_acq_rel) + 1;
    if (member >= threads_) return;
    std::uint64_t seen = 0;
    for (int idle = 0; !stopped_.load(std::memory_order_acquire); ++idle) {
      const std::uint64_t order = order_.load(std::memory_order_acquire);
      if (order != seen) {
        seen = order;
        idle = 0;
        const int members = static_cast<int>(order % most);
        if (member < members) {
          marks_[member].met.store(base_, std::memory_order_relaxed);  // it may have been no member of earlier runs
          work_(member, members);
        }
      } else if (idle < spins) {
        relax();
      } else if (idle < 2 * spins) {
        std::this_thread::yield();
      } else {  // the driver is busy with something else
        std::this_thread::sleep_for(std::chrono::microseconds(50));
      }
    }
  }

  // Within work(): returns when every member has come; what they have written before can be read then. At the last
  // meeting of a run a helper need only come: what the others have written belongs to the driver from then on.
  void meet(int member, int members, bool last) {
    if (members == 1) return;
    const std::uint64_t now = marks_[member].met.load(std::memory_order_relaxed) + 1;
    marks_[member].met.store(now, std::memory_order_release);
    if (last && member != 0) return;
    for (int other = 0; other < members; ++other)
      for (int spin = 0; marks_[other].met.load(std::memory_order_acquire) < now; ++spin)
        if (spin < spins)
          relax();
        else
          std::this_thread::yield();  // the other may need this core
  }

  void stop() { stopped_.store(true, std::memory_order_release); }

 private:
  static constexpr int spins = 1000;
  static constexpr double most_lost = 300e-6;     // s; to wake a helper that sleeps takes 0.1 ms
  static constexpr std::uint64_t most = 1 << 16;  // threads

  struct alignas(64) Mark {
    std::atomic<std::uint64_t> met{0};  // meetings of a member
  };

  const int threads_;
  std::unique_ptr<Mark[]> marks_;
  std::function<void(int, int)> work_;
  double alone_for_ = 0, lost_ = 0;  // s; the latter since the last run that gained
  double time_alone_ = 0;            // of a step
  std::uint64_t base_ = 0;           // meetings before this run
  alignas(64) std::atomic<int> helpers_{0};
  alignas(64) std::atomic<std::uint64_t> order_{0};  // number of the run that is shared, and its members
  std::atomic<bool> stopped_{false};
};

}  // namespace genkern
