// Threads that share a recurrence step by step, to run under the thread sanitizer: the same numbers for any number of
// members, helpers that come late or not at all, many teams one after another, and a driver that leaves early.
#include "support/strip_team.hpp"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <thread>
#include <vector>

using genkern::StripTeam;

namespace {

void require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "failed: %s\n", what);
  std::_Exit(1);
}

// x -> sum over strips of (x + strip) mod 10007, each member with an x of its own; plain memory throughout, so that the
// sanitizer sees whatever is read too early or written too late.
struct Recurrence {
  static constexpr int strips = 5;
  long x[8] = {}, part[2][strips] = {};
  int steps = 0;
  StripTeam* team = nullptr;

  void work(int member, int members) {
    if (member != 0) x[member] = x[0];
    for (int step = 0; step < steps; ++step) {
      const int place = step % 2;
      for (int strip = strips * member / members; strip < strips * (member + 1) / members; ++strip)
        part[place][strip] = (x[member] * 31 + strip) % 10007;
      const bool last = step + 1 == steps;
      team->meet(member, members, last);
      if (last && member != 0) return;
      long sum = 0;
      for (const long value : part[place]) sum += value;
      x[member] = sum % 10007;
    }
  }
};

long expected(int steps) {
  long x = 0;
  for (int step = 0; step < steps; ++step) {
    long sum = 0;
    for (int strip = 0; strip < Recurrence::strips; ++strip) sum += (x * 31 + strip) % 10007;
    x = sum % 10007;
  }
  return x;
}

void drive(StripTeam& team, int runs, int steps) {
  Recurrence all;
  all.team = &team;
  team.assemble([&all](int member, int members) { all.work(member, members); });
  for (int run = 0; run < runs; ++run) {
    all.steps = 1 + (steps + run) % 7;
    team.run(all.steps);
  }
  int total = 0;
  for (int run = 0; run < runs; ++run) total += 1 + (steps + run) % 7;
  require(all.x[0] == expected(total), "the same numbers as one thread");
}

void share(int threads, int runs, int late_by) {
  StripTeam team(threads);
  std::vector<std::thread> helpers;
  for (int helper = 1; helper < threads; ++helper)
    helpers.emplace_back([&team, helper, late_by] {
      std::this_thread::sleep_for(std::chrono::microseconds(late_by * helper));
      team.help();
    });
  drive(team, runs, threads);
  team.stop();
  for (std::thread& helper : helpers) helper.join();
}

}  // namespace

int main() {
  for (const int threads : {1, 2, 3, 8})
    for (const int late_by : {0, 100, 2000}) share(threads, 400, late_by);
  for (int round = 0; round < 50; ++round) share(3, 5, 0);
  StripTeam nobody_comes(4);
  drive(nobody_comes, 100, 3);
  StripTeam team(3);
  genkern::parallel_for(3, 3, [&team](genkern::index_t, int worker) {
    if (worker != 0) return team.help();
    drive(team, 300, 5);
    team.stop();  // the driver may have the other chunks as well: nobody helps any more
  });
  std::puts("strip team: ok");
}
