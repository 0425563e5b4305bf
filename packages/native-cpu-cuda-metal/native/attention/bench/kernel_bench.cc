// Prints what each inner loop reaches on one thread: products against the peak of multiply-adds on registers, the rest
// in nanoseconds of processor time. Shapes are those of attend and fit at 64 channels: where a fold spends its time.
// Interleaved rounds, medians, the peak measured in every round. Arguments: rounds (20), instruction set (all).
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <functional>
#include <random>
#include <vector>

#include "attention.h"
#include "gemm.h"
#include "isa.h"

namespace {

using namespace kvfold::attention;
using Floats = std::vector<float>;

struct Loop {
  const char *name;
  double operations;  ///< 0: not a product
  double elements;    ///< weights that it handles
  std::function<void()> work;
  std::vector<double> share, nanoseconds;
};

/// Of the processor, not of the wall: other work on the machine takes turns with this.
double seconds(const std::function<void()> &work) {
  const std::clock_t start = std::clock();
  work();
  return static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

Floats random_floats(std::mt19937 &random, size_t count, float scale) {
  std::normal_distribution<float> normal(0.0f, scale);
  Floats out(count);
  for (float &x : out) x = normal(random);
  return out;
}

constexpr size_t kDim = 64, kCells = 28 * kTile, kColumns = 8 * kLanes, kRepeats = 8;
const kvfold_attention_options kAlone = {nullptr, nullptr, nullptr, nullptr};

/// Buffers of one head and one block, as attend and fit use them.
struct Buffers {
  Floats keys, values, queries, weights, outputs, factor, top, total, correction, panels, square, missing, sums;
  explicit Buffers(std::mt19937 &random)
      : keys(random_floats(random, kCells * kDim, 1)), values(random_floats(random, kCells * 2 * kLanes, 1)),
        queries(random_floats(random, kDim * kLanes, 0.2f)), weights(kCells * kLanes, 0.5f),
        outputs(2 * kLanes * kLanes), factor(kLanes, 1e-3f), top(kLanes), total(kLanes), correction(kLanes, 1.0f),
        panels(random_floats(random, kCells * kColumns, 1e-3f)), square(kColumns * dense_ld(kColumns)),
        missing(kCells * dense_ld(kDim)), sums(3 * kCells) {}
};

/// C = A^T B of two strips.
Product product(size_t strip, const float *a, const float *b, float *c, size_t m, size_t k) {
  Product p = {};
  p.a = a;
  p.b = b;
  p.c = c;
  p.row_stride = 1;
  p.column_stride = p.ldb = p.ldc = p.n = strip;
  p.m = m;
  p.k = k;
  p.finish = Finish::store;
  return p;
}

std::vector<Loop> loops_of(const Kernels &kernels, Buffers &b) {
  const double pairs = static_cast<double>(kCells) * kLanes;
  const size_t strip = kernels.strip;
  auto each_tile = [](auto &&work) {
    for (size_t cell = 0; cell < kCells; cell += kTile) work(cell);
  };
  std::vector<Loop> loops;
  auto add = [&loops](const char *name, double operations, double elements, std::function<void()> work) {
    loops.push_back({name, operations, elements, std::move(work), {}, {}});
  };
  add("scores  Q K^T", 2 * pairs * kDim, pairs, [=, &kernels, &b] {
    each_tile([&](size_t cell) {
      for (size_t c = cell; c < cell + kTile; c += strip)
        for (size_t lane = 0; lane < kLanes; lane += strip)
          kernels.product(product(strip, &b.keys[c * kDim], &b.queries[lane * kDim],
                                  &b.weights[cell * kLanes + lane * kTile + (c - cell) * strip], strip, kDim));
    });
  });
  add("softmax", 0, pairs, [=, &kernels, &b] {
    each_tile([&](size_t cell) {
      kernels.softmax(&b.weights[cell * kLanes], kTile, {b.top.data(), b.total.data(), b.correction.data()});
    });
  });
  add("outputs P V", 2 * pairs * kDim, pairs, [=, &kernels, &b] {
    each_tile([&](size_t cell) {
      for (size_t lane = 0; lane < kLanes; lane += strip)
        for (size_t i = 0; i < kDim; i += strip) {
          Product p = product(strip, &b.values[i * kCells + cell * strip], &b.weights[cell * kLanes + lane * kTile],
                              &b.outputs[i * kLanes + lane], std::min(strip, kDim - i), kTile);
          p.ldc = kLanes;
          p.begin = Start::scaled;
          p.start = &b.correction[lane];
          kernels.product(p);
        }
    });
  });
  add("statistics", 0, pairs, [=, &kernels, &b] {
    each_tile([&](size_t cell) {
      kernels.statistics(&b.weights[cell * kLanes], kTile, b.factor.data(),
                         {&b.sums[cell], &b.sums[kCells + cell], &b.sums[2 * kCells + cell]});
    });
  });
  const Dense square = {b.square.data(), dense_ld(kColumns), kColumns};
  const Strips tall = {b.panels.data(), kCells, kColumns, strip};
  const double triangle = kColumns * (kColumns + strip), tall_size = static_cast<double>(kCells) * kColumns;
  add("gram  A^T A", triangle * kCells, triangle * kCells / 2, [=, &kernels] {
    Parallel parallel(kAlone);
    gram(kernels, tall, kCells, square, parallel);
  });
  const Dense change = {b.square.data(), dense_ld(kDim), kDim}, missing = {b.missing.data(), dense_ld(kDim), kDim};
  add("right side A^T E", 2 * tall_size * kDim, tall_size, [=, &kernels] {
    Parallel parallel(kAlone);
    multiply_transposed(kernels, tall, kCells, missing, change, Finish::store, parallel);
  });
  add("answer  A X", 2 * tall_size * kDim, tall_size, [=, &kernels] {
    Parallel parallel(kAlone);
    multiply(kernels, tall, kCells, change, missing, Finish::subtract, parallel);
  });
  add("transpose", 0, pairs, [=, &kernels, &b] {
    for (size_t at = 0; at + strip * strip <= kCells * kLanes; at += strip * strip)
      kernels.transpose(&b.panels[at], strip, strip, strip, b.square.data(), strip);
  });
  return loops;
}

}  // namespace

int main(int argc, char **argv) {
  const int rounds = argc > 1 ? std::max(1, std::atoi(argv[1])) : 20;
  std::mt19937 random(1);
  for (size_t i = 0; const Kernels *kernels = kernels_at(i); i++) {
    if (argc > 2 && std::strcmp(argv[2], kernels->isa) != 0) continue;
    Buffers buffers(random);
    std::vector<Loop> loops = loops_of(*kernels, buffers);
    std::vector<double> peaks;
    for (int round = 0; round < rounds; round++) {
      const size_t burst = 1000000;
      volatile float sink = 0;
      const double rate = static_cast<double>(burst * kernels->burst_operations) /
                          seconds([&] { sink = kernels->burst(burst); });
      peaks.push_back(rate);
      for (Loop &loop : loops) {
        const double spent = seconds([&] { for (size_t r = 0; r < kRepeats; r++) loop.work(); }) / kRepeats;
        loop.share.push_back(loop.operations / spent / rate);
        loop.nanoseconds.push_back(spent / loop.elements * 1e9);
      }
      static_cast<void>(sink);
    }
    std::printf("%-7s peak %.1f GFLOP/s, medians of %d rounds, one thread, %zu channels\n", kernels->isa,
                median(peaks) / 1e9, rounds, kDim);
    for (const Loop &loop : loops) {
      std::printf("%-7s %-16s %7.3f ns a weight, best %7.3f", kernels->isa, loop.name, median(loop.nanoseconds),
                  *std::min_element(loop.nanoseconds.begin(), loop.nanoseconds.end()));
      if (loop.operations > 0)
        std::printf("  %5.1f %% of peak, best %5.1f %%", 100 * median(loop.share),
                    100 * *std::max_element(loop.share.begin(), loop.share.end()));
      std::printf("\n");
    }
  }
  return 0;
}
