// A folded head and how to run a fit on it.
#ifndef KVFOLD_ATTENTION_TESTS_FIT_CASE_H
#define KVFOLD_ATTENTION_TESTS_FIT_CASE_H

#include "check.h"
#include "fixture.h"

namespace fixture {

/// A folded head: some cells of a larger one stay, and should answer like all of them.
struct Case {
  Head head;  ///< the kept cells
  Floats targets;
  std::vector<uint32_t> free;
  std::vector<uint8_t> factors;  ///< of the free cells, or empty
  double lambda = 0.01;
  uint32_t holdout = 0, form = KVFOLD_FIT_SMALLER;

  Case(Random &random, uint32_t rows, uint32_t cells, uint32_t kept, uint32_t free_count, uint32_t dim,
       uint32_t value_dim, bool biased, double sharp)
      : head(random, rows, cells, dim, value_dim, biased, sharp), targets(size_t{rows} * value_dim) {
    const kvfold_attend_input all = head.input();
    const kvfold_attend_output outputs = {{nullptr, 0}, {nullptr, 0}, {nullptr, 0}, buffer(targets)};
    CHECK(kvfold_attend_reference(&all, nullptr, &outputs, nullptr) == KVFOLD_OK);
    head.cells = kept;
    head.keys.resize(size_t{kept} * dim);
    head.values.resize(size_t{kept} * value_dim);
    if (biased) head.bias.resize(kept);
    uint32_t left = free_count;
    for (uint32_t cell = 0; cell < kept && left > 0; cell++) {
      if (random.uniform() * (kept - cell) >= left) continue;
      free.push_back(cell);
      left--;
    }
  }

  kvfold_fit_input input() const {
    return {head.rows,       head.cells,      head.key_dim,   head.value_dim,    span(head.queries),
            span(targets),   span(head.keys), span(head.bias), span(head.values), {free.data(), free.size()},
            lambda,          holdout,         form,            {factors.data(), factors.size()}};
  }
  double factor(size_t f) const { return factors.empty() ? 1 : factors[f]; }
  /// Some cells held more strongly. Not for the dual form.
  void stiffen(Random &random) {
    for (size_t f = 0; f < free.size(); f++)
      factors.push_back(static_cast<uint8_t>(random.uniform() < 0.4 ? random.between(1, 255) : 1));
  }
};

struct Fitted {
  Floats values;
  kvfold_fit_report report = {};
  kvfold_status status = KVFOLD_OK;
};

using FitOperation = kvfold_status (*)(const kvfold_fit_input *, const kvfold_attention_options *, kvfold_f32_buffer,
                                    kvfold_fit_report *, kvfold_error *);

inline Fitted run(FitOperation operation, const Case &c, const char *isa, uint32_t threads = 1) {
  Fitted result;
  result.values.assign(c.head.values.size(), -7);
  const Threads pool(threads);
  const kvfold_attention_options how = options(isa, threads == 1 ? nullptr : &pool.workers);
  const kvfold_fit_input input = c.input();
  kvfold_error error = {};
  result.status = operation(&input, &how, buffer(result.values), &result.report, &error);
  if (!CHECK(result.status == KVFOLD_OK)) std::printf("  %s\n", error.message);
  return result;
}

}  // namespace fixture

#endif
