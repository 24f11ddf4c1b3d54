#include "cpu/curves_run.hpp"
#include "support/lapack.hpp"
#include "support/thread_pool.hpp"

namespace genkern::curves {

void Curve::run() {
  if (p_.count == 0) return;
  Matrix rhs;
  rhs.copy(p_.rhs);
  bool blind = false;  // test points of a sample curve that are not finite: all but the test side is measured
  for (index_t i = 0; i < p_.n * rhs->cols; ++i) {
    if (std::isfinite(rhs->data[i])) continue;
    if (!p_.settings.samples) return;
    blind = true;
    rhs->data[i] = 0;
  }
  const index_t chunks = (p_.m + chunk_rows - 1) / chunk_rows;
  for (index_t c = 0; c < chunks; ++c) chunks_.push_back(std::make_unique<Chunk>());
  find_scale();
  Settings settings = p_.settings;
  settings.ridge *= scale_ * scale_;
  if (settings.ridge < least_ridge) settings.ridge = 0;
  if (p_.settings.samples)
    for (index_t i = 0; i < p_.n * rhs->cols; ++i) rhs->data[i] *= scale_;
  scaled_ = p_;
  scaled_.rhs = rhs;
  scaled_.scale = scale_;
  few_ = is_few();
  later_.clear();
  for (;;) {
    train_.begin(rhs, settings, threads_);
    listed_.clear();
    for (index_t c = 0; c < chunks; ++c)
      chunks_[static_cast<std::size_t>(c)]->begin(scaled_, c * chunk_rows, std::min(chunk_rows, p_.m - c * chunk_rows));
    if (settings.samples) labels_.begin(scaled_);
    peak_.assign(static_cast<std::size_t>(predictions()), 0);
    threshold_ = none;
    restart_ = false;
    if (few_)
      few_blocks();
    else
      blocks();
    if (!restart_) break;
    since_ = few_ ? 0 : std::max(since_, train_.width);
    settings.fast = false;
  }
  if (few_) apply_listed();
  for (const Later& entry : later_) {
    finish(entry);
    poll();
  }
  if (blind) forget_test_side();
  *p_.out.threshold = threshold_;
}

index_t Curve::predictions() const { return p_.settings.samples ? p_.labels.cols : p_.rhs.cols; }

void Curve::blocks() {
  lead(slots_[0]);
  for (int current = 0; slots_[current].ready; current = 1 - current) {
    Slot &slot = slots_[current], &next = slots_[1 - current];
    const index_t chunks = static_cast<index_t>(chunks_.size());
    parallel_for(
        1 + chunks, threads_,
        [&](index_t task, int) {
          if (task == 0)
            lead(next);
          else
            chunks_[static_cast<std::size_t>(task - 1)]->take(scaled_, slot.block, slot.path, slot.states);
        },
        interrupted_);
    reduce(slot);
    check_interrupt();
  }
}

void Curve::poll() const {
  check_interrupt();
  if (interrupted_ && interrupted_()) throw Interrupted{};
}

void Curve::note_threshold(const Block& block) {
  const std::vector<index_t>& states = block.step.states;
  if (!block.full || !std::isnan(threshold_)) return;
  index_t column = 0;
  while (states[static_cast<std::size_t>(column)] < states.back()) ++column;
  threshold_ = static_cast<double>(block.first + column + 1);
}

void Curve::lead(Slot& slot) {
  slot.ready = false;
  try {
    const index_t last = p_.points[p_.count - 1];
    bool begins = false;
    if (train_.augmented() && train_.width < last && train_.wanted() <= 0) {
      since_ = std::max(since_, train_.width);
      train_.begin_again();
      begins = true;
    }
    index_t wanted = std::min(train_.wanted(), last - train_.width);
    if (wanted <= 0) return;
    if (few_)
      wanted = std::min(wanted, *std::upper_bound(p_.points, p_.points + p_.count, train_.width) - train_.width);
    F_.reshape(p_.n, wanted);
    p_.columns->train(train_.width, F_, scratch_);
    index_t finite = 0;
    for (; finite < wanted; ++finite) {
      double sum = 0;
      for (index_t i = 0; i < p_.n; ++i) sum += 0 * F_(i, finite);
      if (p_.settings.samples)
        for (index_t k = 0; k < p_.labels.cols; ++k) sum += 0 * p_.labels(train_.width + finite, k);
      if (sum != 0) break;
    }
    if (finite == 0) return;
    if (scale_ != 1)
      for (index_t i = 0; i < p_.n * finite; ++i) F_->data[i] *= scale_;
    train_.plan(F_->columns(0, finite), slot.block);
    slot.block.begins = begins;
    if (p_.settings.samples) {
      labels_.take(scaled_, train_, slot.block);
      slot.path.z = slot.block.weights;
      slot.path.fresh = slot.block.fresh ? &slot.block.coef : nullptr;
    } else {
      slot.path.z = slot.block.step.z;
      slot.path.fresh = slot.block.fresh ? &slot.block.u : nullptr;
    }
    list(slot);
    slot.ready = true;
  } catch (const Restart&) {
    restart_ = true;
  }
}

void Curve::list(Slot& slot) {
  const Block& block = slot.block;
  slot.states.clear();
  slot.points.clear();
  slot.places.clear();
  const index_t* const end = p_.points + p_.count;
  const index_t* point = std::upper_bound(p_.points, end, std::max(block.first, since_));
  for (; point != end && *point <= block.first + block.count; ++point) {
    const index_t state = block.step.states[static_cast<std::size_t>(*point - block.first - 1)];
    if (slot.states.empty() || slot.states.back() != state) slot.states.push_back(state);
    slot.points.push_back(point - p_.points);
    slot.places.push_back(static_cast<index_t>(slot.states.size()) - 1);
  }
}

void Curve::reduce(Slot& slot) {
  const Block& block = slot.block;
  const Step& step = block.step;
  Sums& sums = chunks_[0]->sums;
  for (std::size_t c = 1; c < chunks_.size(); ++c) sums.add(chunks_[c]->sums);
  const index_t K = predictions(), k = p_.targets.cols, q = p_.draws;
  const double m = static_cast<double>(p_.m);
  if (block.begins) std::fill(peak_.begin(), peak_.end(), 0.0);
  note_threshold(block);
  std::vector<double> largest(peak_);
  for (index_t s = 0; s < sums.square->cols; ++s)
    for (index_t c = 0; c < K; ++c)
      largest[static_cast<std::size_t>(c)] =
          std::max(largest[static_cast<std::size_t>(c)], std::sqrt(sums.square(c, s) / m));
  const Method method = block.truncated || p_.settings.always_svd ? Method::svd : step.method;
  for (std::size_t i = 0; i < slot.points.size(); ++i) {
    const index_t t = slot.points[i], s = slot.places[i], state = slot.states[static_cast<std::size_t>(s)];
    const double rows = static_cast<double>(p_.settings.samples ? p_.points[t] : p_.n);
    p_.out.method[t] = static_cast<std::int8_t>(method);
    double error = 0;
    for (index_t c = 0; c < K; ++c) {
      p_.out.coef_norm[t * K + c] = scale_ * std::sqrt(block.norms(state, c));
      const double ignored = p_.settings.samples ? block.ignored(p_.points[t] - block.first - 1, c) : 0;
      p_.out.train_risk[t * K + c] = (block.train(state, c) + ignored) / rows;
      const double risk = sums.risk(c, s) / m, size = std::sqrt(sums.square(c, s) / m);
      p_.out.test_risk[t * K + c] = std::isfinite(risk) ? risk : none;
      const double share =
          (block.condition * size + largest[static_cast<std::size_t>(c)]) / std::sqrt(p_.out.test_risk[t * K + c]);
      error = std::isnan(share) ? share : std::max({error, share, block.condition});
    }
    p_.out.error[t] = safety * eps * error;
    write(sums, s, t, q, k);
    if (p_.settings.ridge > 0 && block.doubtful)
      later_.push_back({t, p_.points[t], {}});
    else if (!block.alphas.empty() && block.alphas[static_cast<std::size_t>(state)]->cols > 0) {
      later_.push_back({t, p_.points[t], {}});
      later_.back().alpha.copy(block.alphas[static_cast<std::size_t>(state)]);
    }
  }
  if (p_.done != nullptr) *p_.done += static_cast<index_t>(slot.points.size());
  for (index_t c = 0; c < K; ++c) {
    const double size = std::sqrt(sums.last(c, 0) / m);
    double& peak = peak_[static_cast<std::size_t>(c)];
    peak = slot.path.fresh != nullptr ? size : std::max(peak, size);
  }
}

void Curve::write(const Sums& sums, index_t s, index_t t, index_t q, index_t k) {
  const double m = static_cast<double>(p_.m);
  for (index_t c = 0; c < k; ++c) {
    p_.out.bias[t * k + c] = sums.bias(c, s) / m;
    p_.out.variance[t * k + c] = sums.variance(c, s) / m;
  }
  for (index_t draw = 0; draw < q && p_.classify; ++draw) {
    bool finite = true;
    for (index_t c = 0; c < k; ++c) finite = finite && std::isfinite(sums.square(draw * k + c, s));
    p_.out.wrong[t * q + draw] = finite ? sums.wrong(draw, s) / m : none;
  }
}

void Curve::find_scale() {
  const index_t last = p_.points[p_.count - 1];
  scale_ = 1;
  for (index_t first = 0; first < last; first += 64) {
    const index_t count = std::min<index_t>(64, last - first);
    F_.reshape(p_.n, count);
    p_.columns->train(first, F_, scratch_);
    double largest = 0;
    for (index_t i = 0; i < p_.n * count; ++i)
      if (std::isfinite(F_->data[i])) largest = std::max(largest, std::abs(F_->data[i]));
    if (largest == 0) continue;
    largest = std::max(largest, std::sqrt(p_.settings.ridge));
    int exponent = 0;
    std::frexp(largest, &exponent);
    if (std::abs(exponent) > 64) scale_ = std::ldexp(1.0, -exponent);
    return;
  }
}

void run(const Problem& problem, int threads, const std::function<bool()>& interrupted) {
  const SingleThreadedBlas guard;
  Curve(problem, threads, interrupted).run();
}

}  // namespace genkern::curves
