#include "cpu/curves.hpp"

#include <cmath>
#include <limits>
#include <memory>

#include "cpu/curves_sides.hpp"
#include "support/isa.hpp"
#include "support/lapack.hpp"
#include "support/thread_pool.hpp"

namespace genkern::curves {
namespace {

constexpr index_t chunk_rows = 256;
constexpr index_t second_pass = 256;     // columns of a second pass taken together
constexpr double least_ridge = 1e-290;   // below it a ridge is 0
constexpr double few_numbers = 1 << 22;  // predictions and dual coefficients of few listed widths
constexpr double none = std::numeric_limits<double>::quiet_NaN();

// A point whose coefficients are summed up or solved for once all columns have gone by.
struct Later {
  index_t point, width;
  Matrix alpha;  // (n, K), or empty: an SVD of the columns decides
};

// A listed width whose coefficients F_p^T alpha are applied in a second pass over the features.
struct Listed {
  index_t point, width;
  double condition;
  Matrix alpha;  // (n, K)
};

// A block on its way, with the points that it is measured at.
struct Slot {
  Block block;
  Path path;
  std::vector<index_t> states, points, places;  // states in order, without repeats; place of each point's state
  bool ready = false;
};

class Curve {
 public:
  Curve(const Problem& problem, int threads, const std::function<bool()>& interrupted)
      : p_(problem), threads_(threads), interrupted_(interrupted) {}

  void run() {
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
        chunks_[static_cast<std::size_t>(c)]->begin(scaled_, c * chunk_rows,
                                                    std::min(chunk_rows, p_.m - c * chunk_rows));
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

 private:
  index_t predictions() const { return p_.settings.samples ? p_.labels.cols : p_.rhs.cols; }

  void blocks() {
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

  void forget_test_side() {
    const index_t K = predictions(), k = p_.targets.cols;
    std::fill(p_.out.test_risk, p_.out.test_risk + p_.count * K, none);
    std::fill(p_.out.wrong, p_.out.wrong + p_.count * p_.draws, none);
    std::fill(p_.out.bias, p_.out.bias + p_.count * k, none);
    std::fill(p_.out.variance, p_.out.variance + p_.count * k, none);
    std::fill(p_.out.error, p_.out.error + p_.count, none);
  }

  // Whether so few widths are listed that S is not worth its cost.
  bool is_few() const {
    if (p_.settings.samples || p_.settings.ridge > 0 || !p_.settings.automatic) return false;
    const double n = static_cast<double>(p_.n), m = static_cast<double>(p_.m), K = static_cast<double>(p_.rhs.cols);
    const double count = static_cast<double>(p_.count);
    double sum = 0;
    for (index_t t = 0; t < p_.count; ++t) sum += static_cast<double>(p_.points[t]);
    const double apart = 2 * m * K * sum + 4 * n * n * K * count;
    const double all = 4 * m * n * static_cast<double>(p_.points[p_.count - 1]);
    return 2 * apart < all && (m + n) * K * count < few_numbers;
  }

  // Blocks that end at listed widths, whose coefficients are kept as F_p^T alpha.
  void few_blocks() {
    for (;;) {
      Slot& slot = slots_[0];
      lead(slot);
      if (!slot.ready) return;
      const Block& block = slot.block;
      note_threshold(block);
      if (!slot.points.empty()) keep(block, slot.points.back());
      poll();
    }
  }

  void keep(const Block& block, index_t t) {
    const index_t state = block.step.a, K = p_.rhs.cols;
    Listed entry{t, block.first + block.count, block.condition, {}};
    const Factor& factor = train_.outer();
    Matrix u, back;
    if (block.truncated) {
      u.copy(block.u);
      back.reshape(u->rows, K);
      gemm('T', 'N', 1, block.inverse, u, 0, back);
      entry.alpha.reshape(p_.n, K);
      gemm('N', 'N', 1, factor.basis(), back, 0, entry.alpha);
    } else {
      factor.fresh(u);
      factor.back(u, back);
      factor.to_columns(back, entry.alpha);
    }
    for (index_t c = 0; c < K; ++c) {
      p_.out.coef_norm[t * K + c] = scale_ * std::sqrt(dot(u->col(c), u->col(c), u->rows));
      p_.out.train_risk[t * K + c] = block.train(state, c) / static_cast<double>(p_.n);
    }
    p_.out.method[t] = static_cast<std::int8_t>(block.truncated ? Method::svd : block.step.method);
    listed_.push_back(std::move(entry));
    if (p_.done != nullptr) ++*p_.done;
  }

  // Predictions at the listed widths: columns once more, each block within one listed width and the next.
  void apply_listed() {
    const index_t K = p_.rhs.cols, entries = static_cast<index_t>(listed_.size());
    const index_t chunks = (p_.m + chunk_rows - 1) / chunk_rows;
    Matrix alphas, weights, predictions, prediction;
    std::vector<Matrix> columns(static_cast<std::size_t>(chunks));
    std::vector<Buffer<double>> scratch(static_cast<std::size_t>(chunks));
    alphas.reshape(p_.n, entries * K);
    for (index_t e = 0; e < entries; ++e) copy(listed_[static_cast<std::size_t>(e)].alpha, alphas->columns(e * K, K));
    predictions.zero(p_.m, entries * K);
    index_t active = 0;  // the first entry that has the columns at hand
    for (index_t first = 0; active < entries;) {
      const index_t width = listed_[static_cast<std::size_t>(active)].width;
      const index_t count = std::min(second_pass, width - first), used = (entries - active) * K;
      F_.reshape(p_.n, count);
      p_.columns->train(first, F_, scratch_);
      for (index_t i = 0; i < p_.n * count && scale_ != 1; ++i) F_->data[i] *= scale_;
      weights.reshape(count, used);
      gemm('T', 'N', 1, F_, alphas->columns(active * K, used), 0, weights);
      parallel_for(
          chunks, threads_,
          [&](index_t c, int) {
            const index_t row = c * chunk_rows, rows = std::min(chunk_rows, p_.m - row);
            Matrix& T = columns[static_cast<std::size_t>(c)];
            T.reshape(count, rows);
            p_.columns->test(first, row, T, scratch[static_cast<std::size_t>(c)]);
            for (index_t j = 0; j < count; ++j) {
              const bool dead = dot(F_->col(j), F_->col(j), p_.n) == 0;
              for (index_t i = 0; i < rows; ++i) T(j, i) = dead ? 0 : T(j, i) * scale_;
            }
            gemm('T', 'N', 1, T, weights, 1, predictions->block(row, active * K, rows, used));
          },
          interrupted_);
      first += count;
      if (first == width) ++active;
    }
    for (index_t e = 0; e < entries; ++e) {
      prediction.copy(predictions->columns(e * K, K));
      record(prediction, listed_[static_cast<std::size_t>(e)].point, listed_[static_cast<std::size_t>(e)].condition);
    }
  }

  // Looks for Ctrl-C outside of parallel regions too.
  void poll() const {
    check_interrupt();
    if (interrupted_ && interrupted_()) throw Interrupted{};
  }

  void note_threshold(const Block& block) {
    const std::vector<index_t>& states = block.step.states;
    if (!block.full || !std::isnan(threshold_)) return;
    index_t column = 0;
    while (states[static_cast<std::size_t>(column)] < states.back()) ++column;
    threshold_ = static_cast<double>(block.first + column + 1);
  }

  // The next block, or none.
  void lead(Slot& slot) {
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

  // The points of the block beyond those that are measured already.
  void list(Slot& slot) {
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

  // Adds up the chunks and writes the points.
  void reduce(Slot& slot) {
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

  void write(const Sums& sums, index_t s, index_t t, index_t q, index_t k) {
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

  void finish(const Later& entry) {
    const index_t K = p_.rhs.cols;
    if (entry.alpha->cols == 0) return solve(entry);
    std::vector<double> squares(static_cast<std::size_t>(K), 0);
    Matrix part;
    for (index_t first = 0; first < entry.width; first += second_pass) {
      const index_t count = std::min(second_pass, entry.width - first);
      F_.reshape(p_.n, count);
      p_.columns->train(first, F_, scratch_);
      part.reshape(count, K);
      gemm('T', 'N', scale_, F_, entry.alpha, 0, part);
      for (index_t k = 0; k < K; ++k) squares[static_cast<std::size_t>(k)] += dot(part->col(k), part->col(k), count);
      poll();
    }
    for (index_t k = 0; k < K; ++k)
      p_.out.coef_norm[entry.point * K + k] = scale_ * std::sqrt(squares[static_cast<std::size_t>(k)]);
  }

  // With a ridge: the SVD of the first columns, and all test points at once.
  void solve(const Later& entry) {
    const index_t n = p_.n, w = entry.width, K = predictions(), t = entry.point;
    const bool samples = p_.settings.samples;
    Matrix F, labels, coef, right, prediction, product;
    F.reshape(n, w);
    p_.columns->train(0, F, scratch_);
    ThinSvd<double> svd;
    if (!svd.compute({F->data, n, w, 1, n}, true)) return;
    const double* const s = svd.s();
    const double cut =
        std::isnan(p_.settings.rcond) ? p_.settings.unit * static_cast<double>(std::max(n, w)) : p_.settings.rcond;
    index_t kept = 0;
    while (kept < svd.size() && s[kept] > cut * s[0]) ++kept;
    const Part U{const_cast<double*>(svd.u()), n, kept, n};
    right.reshape(w, kept);
    for (index_t j = 0; j < kept; ++j)
      for (index_t i = 0; i < w; ++i) right(i, j) = svd.vt()[i * svd.size() + j];
    // Width curves: coefficients V f(s) U^T rhs; sample curves: U f(s) V^T labels.
    const Part y = samples ? p_.labels.block(0, 0, w, K) : p_.rhs;
    labels.copy(y);
    product.reshape(kept, K);
    if (samples)
      gemm('T', 'N', 1, right, labels, 0, product);
    else
      gemm('T', 'N', 1, U, labels, 0, product);
    for (index_t k = 0; k < K; ++k)
      for (index_t i = 0; i < kept; ++i) product(i, k) *= s[i] / (s[i] * s[i] + p_.settings.ridge);
    coef.reshape(samples ? n : w, K);
    if (samples)
      gemm('N', 'N', 1, U, product, 0, coef);
    else
      gemm('N', 'N', 1, right, product, 0, coef);
    gemm(samples ? 'T' : 'N', 'N', 1, F, coef, -1, labels);
    prediction.zero(p_.m, K);
    if (samples) {
      gemm('T', 'N', 1, p_.rhs, coef, 0, prediction);
    } else {
      Matrix T;
      for (index_t first = 0; first < w; first += second_pass) {
        const index_t count = std::min(second_pass, w - first);
        T.reshape(count, p_.m);
        p_.columns->test(first, 0, T, scratch_);
        for (index_t j = 0; j < count; ++j)
          if (dot(F->col(first + j), F->col(first + j), n) == 0)
            for (index_t i = 0; i < p_.m; ++i) T(j, i) = 0;
        gemm('T', 'N', 1, T, coef->block(first, 0, count, K), 1, prediction);
      }
    }
    for (index_t k = 0; k < K; ++k) {
      p_.out.coef_norm[t * K + k] = std::sqrt(dot(coef->col(k), coef->col(k), coef->rows));
      p_.out.train_risk[t * K + k] =
          dot(labels->col(k), labels->col(k), labels->rows) / static_cast<double>(labels->rows);
    }
    const double ridge = p_.settings.ridge;
    const double condition = kept > 0 ? std::sqrt((s[0] * s[0] + ridge) / (s[kept - 1] * s[kept - 1] + ridge)) : 1;
    Slot slot;
    slot.block.condition = condition;
    slot.block.step.method = Method::svd;
    record(prediction, t, condition);
    p_.out.method[t] = static_cast<std::int8_t>(Method::svd);
  }

  void record(const Matrix& prediction, index_t t, double condition) {
    const index_t K = prediction->cols, k = p_.targets.cols;
    Sums sums;
    sums.reshape(K, p_.draws, k, 1);
    Buffer<double> scratch;
    Matrix targets;
    targets.copy(p_.targets);
    kernels().curves.measure({p_.m, K, k, p_.draws, prediction->data, targets->data, p_.classify, sums.risk->data,
                              sums.square->data, sums.wrong->data, sums.bias->data, sums.variance->data,
                              scratch.reserve(2 * p_.m)});
    const double m = static_cast<double>(p_.m);
    double error = condition;
    for (index_t c = 0; c < K; ++c) {
      const double risk = sums.risk(c, 0) / m;
      p_.out.test_risk[t * K + c] = std::isfinite(risk) ? risk : none;
      const double share = (condition + 1) * std::sqrt(sums.square(c, 0) / sums.risk(c, 0));
      error = std::isnan(share) ? share : std::max(error, share);
    }
    p_.out.error[t] = safety * eps * error;
    write(sums, 0, t, p_.draws, k);
  }

  // A power of two that brings the first columns, or the root of the ridge, near 1, where squares could leave the
  // range.
  void find_scale() {
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

  const Problem& p_;
  Problem scaled_;
  const int threads_;
  const std::function<bool()>& interrupted_;
  Train train_;
  Labels labels_;
  std::vector<std::unique_ptr<Chunk>> chunks_;
  Slot slots_[2];
  std::vector<double> peak_;
  std::vector<Later> later_;
  Matrix F_;
  Buffer<double> scratch_;
  double scale_ = 1, threshold_ = none;
  index_t since_ = 0;
  bool restart_ = false, few_ = false;
  std::vector<Listed> listed_;
};

}  // namespace

void run(const Problem& problem, int threads, const std::function<bool()>& interrupted) {
  const SingleThreadedBlas guard;
  Curve(problem, threads, interrupted).run();
}

}  // namespace genkern::curves
