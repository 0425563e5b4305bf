// Prints the speed of attend and fit on one thread, for every instruction set, against the peak of multiply-adds on
// registers that the same thread reaches. Arguments: rows cells dim kept free (2048 4096 64 1024 512).
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <random>
#include <vector>

#include "attention.h"

namespace {

using Floats = std::vector<float>;

struct Sizes {
  uint32_t rows = 2048, cells = 4096, dim = 64, kept = 1024, free = 512;
};

Floats random_floats(std::mt19937 &random, size_t count, float scale) {
  std::normal_distribution<float> normal(0.0f, scale);
  Floats out(count);
  for (float &x : out) x = normal(random);
  return out;
}

kvfold_f32_span span(const Floats &data) { return {data.data(), data.size()}; }
kvfold_f32_buffer buffer(Floats &data) { return {data.data(), data.size()}; }

struct Time {
  double best, median;
};

/// Of several runs, in seconds of processor time. Other work on the machine only ever makes a run slower.
template <typename Work>
Time time_of(Work &&work) {
  std::vector<double> times;
  double spent = 0;
  while (times.size() < 100 && (times.size() < 11 || spent < 2)) {
    const std::clock_t start = std::clock();
    work();
    times.push_back(static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC);
    spent += times.back();
  }
  std::sort(times.begin(), times.end());
  return {times[0], times[times.size() / 2]};
}

void check(kvfold_status status, const kvfold_error &error) {
  if (status == KVFOLD_OK) return;
  std::fprintf(stderr, "%s: %s\n", kvfold_attention_isa(0), error.message);
  std::exit(1);
}

void print(const char *isa, const char *op, const Time &time, double operations, double peak) {
  std::printf("%-7s %-22s %8.2f ms %8.1f GFLOP/s %5.1f %% of peak, median %8.2f ms %5.1f %%\n", isa, op,
              1e3 * time.best, operations / time.best / 1e9, 100.0 * operations / time.best / peak, 1e3 * time.median,
              100.0 * operations / time.median / peak);
}

}  // namespace

int main(int argc, char **argv) {
  Sizes s;
  uint32_t *sizes[] = {&s.rows, &s.cells, &s.dim, &s.kept, &s.free};
  for (int i = 1; i < argc && i <= 5; i++) *sizes[i - 1] = static_cast<uint32_t>(std::strtoul(argv[i], nullptr, 10));
  std::mt19937 random(1);
  const Floats queries = random_floats(random, size_t{s.rows} * s.dim, 2.0f / 8.0f);
  const Floats keys = random_floats(random, size_t{s.cells} * s.dim, 1.0f);
  const Floats values = random_floats(random, size_t{s.cells} * s.dim, 1.0f);
  const Floats kept_keys(keys.begin(), keys.begin() + size_t{s.kept} * s.dim);
  const Floats kept_values(values.begin(), values.begin() + size_t{s.kept} * s.dim);
  std::vector<uint32_t> free(s.free);
  for (uint32_t f = 0; f < s.free; f++) free[f] = f * (s.kept / s.free);
  Floats maximum(s.cells), mean(s.cells), rms(s.cells), outputs(size_t{s.rows} * s.dim), fitted(kept_values.size());
  const kvfold_attend_input attend = {s.rows, s.cells, s.dim, s.dim, span(queries), span(keys), {nullptr, 0},
                                      span(values)};
  const kvfold_attend_output everything = {buffer(maximum), buffer(mean), buffer(rms), buffer(outputs)};
  const kvfold_attend_output only_outputs = {{nullptr, 0}, {nullptr, 0}, {nullptr, 0}, buffer(outputs)};
  const kvfold_attend_output only_scores = {buffer(maximum), buffer(mean), buffer(rms), {nullptr, 0}};
  std::printf("rows %u, cells %u, dim %u, kept %u, free %u, one thread\n", s.rows, s.cells, s.dim, s.kept, s.free);
  const double pairs = static_cast<double>(s.rows) * s.cells;
  for (uint32_t i = 0; kvfold_attention_isa(i) != nullptr; i++) {
    const char *isa = kvfold_attention_isa(i);
    const double peak = kvfold_attention_peak(isa);
    std::printf("%-7s %-22s %11s %8.1f GFLOP/s\n", isa, "peak", "", peak / 1e9);
    const kvfold_attention_options options = {nullptr, nullptr, nullptr, isa};
    kvfold_error error = {};
    auto run = [&](const kvfold_attend_output &output) {
      return time_of([&] { check(kvfold_attend(&attend, &options, &output, &error), error); });
    };
    print(isa, "attend", run(everything), 4 * pairs * s.dim, peak);
    print(isa, "attend, no statistics", run(only_outputs), 4 * pairs * s.dim, peak);
    print(isa, "attend, no values", run(only_scores), 2 * pairs * s.dim, peak);
    check(kvfold_attend(&attend, &options, &everything, &error), error);
    const kvfold_fit_input fit = {s.rows, s.kept, s.dim, s.dim, span(queries), span(outputs), span(kept_keys),
                                  {nullptr, 0}, span(kept_values), {free.data(), free.size()}, 0.01, 5, 0};
    kvfold_fit_report report = {};
    const Time time =
        time_of([&] { check(kvfold_fit(&fit, &options, buffer(fitted), &report, &error), error); });
    const double rows = s.rows, kept = s.kept, n = s.free, dim = s.dim;
    const double fitting = static_cast<double>(report.fitted.rows);
    // attention over the kept cells; A^T A; its factor; two solves; A^T E and A X
    const double operations = 4 * rows * kept * dim + fitting * n * n + n * n * n / 3 + 2 * n * n * dim +
                              2 * n * dim * (fitting + rows);
    print(isa, "fit", time, operations, peak);
    uint64_t attend_bytes = 0, fit_bytes = 0;
    check(kvfold_attend_memory(&attend, 1, &attend_bytes, &error), error);
    check(kvfold_fit_memory(&fit, 1, &fit_bytes, &error), error);
    std::printf("%-7s scratch: attend %.1f MiB, fit %.1f MiB; judged error %.4f -> %.4f of the target\n", isa,
                static_cast<double>(attend_bytes) / (1 << 20), static_cast<double>(fit_bytes) / (1 << 20),
                report.judged.before / report.judged.target, report.judged.after / report.judged.target);
  }
  return 0;
}
