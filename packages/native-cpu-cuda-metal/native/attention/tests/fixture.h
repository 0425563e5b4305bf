// Seeded heads of any shape, threads for the library, and shorthands.
#ifndef KVFOLD_ATTENTION_TESTS_FIXTURE_H
#define KVFOLD_ATTENTION_TESTS_FIXTURE_H

#include <atomic>
#include <cmath>
#include <cstring>
#include <random>
#include <thread>
#include <vector>

#include "attention.h"

namespace fixture {

using Floats = std::vector<float>;

inline kvfold_f32_span span(const Floats &data) { return {data.data(), data.size()}; }
inline kvfold_f32_buffer buffer(Floats &data) { return {data.data(), data.size()}; }
inline bool same_bits(const Floats &a, const Floats &b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

/// The same numbers on every machine: of the standard library only the engine's raw output is used.
class Random {
 public:
  explicit Random(uint32_t seed) : engine_(seed) {}
  double uniform() { return static_cast<double>(engine_()) / 4294967296.0; }
  /// Sum of four uniform numbers, variance 1/3, times scale.
  float number(double scale) {
    return static_cast<float>(scale * (uniform() + uniform() + uniform() + uniform() - 2));
  }
  uint32_t between(uint32_t low, uint32_t high) {
    return low + static_cast<uint32_t>(uniform() * (static_cast<double>(high) - low + 1));
  }
  /// Every magnitude is equally likely.
  uint32_t size(uint32_t low, uint32_t high) {
    return static_cast<uint32_t>(std::floor(low * std::pow((high + 1.0) / low, uniform())));
  }
  Floats floats(size_t count, double scale) {
    Floats out(count);
    for (float &x : out) x = number(scale);
    return out;
  }

 private:
  std::mt19937 engine_;
};

inline double largest(const Floats &data) {
  double most = 0;
  for (float x : data) most = std::fmax(most, std::fabs(static_cast<double>(x)));
  return most;
}

inline double longest(const Floats &data, size_t width) {
  double most = 0;
  for (size_t from = 0; from < data.size(); from += width) {
    double sum = 0;
    for (size_t i = 0; i < width; i++) sum += static_cast<double>(data[from + i]) * data[from + i];
    most = std::fmax(most, sum);
  }
  return std::sqrt(most);
}

/// A head; scores of a few units unless `sharp` makes them tens.
struct Head {
  uint32_t rows, cells, key_dim, value_dim;
  Floats queries, keys, bias, values;

  Head(Random &random, uint32_t r, uint32_t c, uint32_t d, uint32_t v, bool biased, double sharp)
      : rows(r), cells(c), key_dim(d), value_dim(v), queries(random.floats(size_t{r} * d, 3 * sharp / std::sqrt(d))),
        keys(random.floats(size_t{c} * d, 1.5)), bias(biased ? random.floats(c, 2) : Floats()),
        values(random.floats(size_t{c} * v, 1)) {}

  double largest_score() const { return longest(queries, key_dim) * longest(keys, key_dim) + largest(bias); }
  kvfold_attend_input input() const {
    return {rows, cells, key_dim, value_dim, span(queries), span(keys), span(bias), span(values)};
  }
};

/// Fresh std::threads for every call, tasks taken one by one.
struct Threads {
  kvfold_workers workers;
  explicit Threads(uint32_t count) : workers{count, run, &workers} {}

  static void run(void *self, uint64_t tasks, void (*work)(void *, uint64_t, uint32_t), void *context) {
    std::atomic<uint64_t> next{0};
    auto loop = [&](uint32_t worker) {
      for (uint64_t task = next++; task < tasks; task = next++) work(context, task, worker);
    };
    std::vector<std::thread> others;
    for (uint32_t worker = 1; worker < static_cast<kvfold_workers *>(self)->threads; worker++) {
      others.emplace_back(loop, worker);
    }
    loop(0);
    for (std::thread &thread : others) thread.join();
  }
};

inline kvfold_attention_options options(const char *isa, const kvfold_workers *workers = nullptr) {
  return {workers, nullptr, nullptr, isa};
}

/// Cancels at the n-th question.
struct Cancel {
  std::atomic<int> left;
  explicit Cancel(int n) : left(n) {}
  static int ask(void *self) { return --static_cast<Cancel *>(self)->left < 0; }
};

/// Calls work(isa) for every instruction set of this machine, best first.
template <typename Work>
void each_isa(Work &&work) {
  for (uint32_t i = 0; kvfold_attention_isa(i) != nullptr; i++) work(kvfold_attention_isa(i));
}

}  // namespace fixture

#endif
