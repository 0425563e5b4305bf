// fit against the reference: what it minimises, what it reports, what it must not touch, and everything it refuses.
#include <limits>

#include "bounds.h"
#include "check.h"
#include "fixture.h"
#include "reference.h"

using namespace fixture;

namespace {

/// A folded head: some cells of a larger one stay, and should answer like all of them.
struct Case {
  Head head;  ///< the kept cells
  Floats targets;
  std::vector<uint32_t> free;
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
    return {head.rows,         head.cells,      head.key_dim,      head.value_dim,            span(head.queries),
            span(targets),     span(head.keys), span(head.bias),   span(head.values),         {free.data(), free.size()},
            lambda,            holdout,         form};
  }
};

struct Result {
  Floats values;
  kvfold_fit_report report = {};
  kvfold_status status = KVFOLD_OK;
};

using Operation = kvfold_status (*)(const kvfold_fit_input *, const kvfold_attention_options *, kvfold_f32_buffer,
                                    kvfold_fit_report *, kvfold_error *);

Result run(Operation operation, const Case &c, const char *isa, uint32_t threads = 1) {
  Result result;
  result.values.assign(c.head.values.size(), -7);
  const Threads pool(threads);
  const kvfold_attention_options how = options(isa, threads == 1 ? nullptr : &pool.workers);
  const kvfold_fit_input input = c.input();
  kvfold_error error = {};
  result.status = operation(&input, &how, buffer(result.values), &result.report, &error);
  if (!CHECK(result.status == KVFOLD_OK)) std::printf("  %s\n", error.message);
  return result;
}

/// What values do, in double.
struct Truth {
  double weights = 0;                   ///< |A_free| over the fitted rows
  double fitted = 0, judged = 0;        ///< |O - A V| with the values that were given
  double target = 0;                    ///< |O|, all rows
  double change = 0, rounded = 0;       ///< |V' - V|, |V'| of the free cells

  Truth(const Case &c, const Floats &values) {
    const size_t dim = c.head.value_dim;
    std::vector<double> row(c.head.cells);
    const float *bias = c.head.bias.empty() ? nullptr : c.head.bias.data();
    for (size_t r = 0; r < c.head.rows; r++) {
      const bool judges = c.holdout > 0 && r % c.holdout == c.holdout - 1u;
      kvfold::attention::reference_softmax(c.head.queries.data() + r * c.head.key_dim, c.head.keys.data(), bias,
                                           c.head.key_dim, row);
      for (uint32_t cell : c.free) weights += judges ? 0 : row[cell] * row[cell];
      for (size_t i = 0; i < dim; i++) {
        double left = c.targets[r * dim + i];
        target += left * left;
        for (size_t cell = 0; cell < row.size(); cell++) left -= row[cell] * values[cell * dim + i];
        (judges ? judged : fitted) += left * left;
      }
    }
    for (uint32_t cell : c.free) {
      for (size_t i = cell * dim; i < (cell + 1) * dim; i++) {
        change += std::pow(double{values[i]} - c.head.values[i], 2);
        rounded += double{values[i]} * values[i];
      }
    }
    for (double *sum : {&weights, &fitted, &judged, &target, &change, &rounded}) *sum = std::sqrt(*sum);
  }

  double objective(double ridge) const { return std::sqrt(fitted * fitted + ridge * change * change); }
};

struct Bounds {
  double missing;  ///< |dE|
  double weights;  ///< |dA|, relative
  bounds::Fit fit;

  Bounds(const Case &c, const kvfold_fit_report &report, const Truth &before)
      : fit(c.head.rows, report.form == KVFOLD_FIT_DUAL ? static_cast<size_t>(report.fitted.rows) : c.free.size(),
            report.guarded > 0) {
    const bounds::Attend attend(c.head.rows, c.head.cells, c.head.key_dim, c.head.largest_score());
    missing = attend.outputs * largest(c.head.values) * std::sqrt(double(c.targets.size())) +
              bounds::kRoundoff * before.target;
    weights = attend.weight;
  }

  /// How far the objective's root may lie above the best one.
  double excess(const Truth &before, const Truth &after, const Truth &best, double ridge, bool dual) const {
    const double a = before.weights, root = std::sqrt(ridge);
    const double trace = a * a * 1.1 + ridge * 1000;  // (1 + lambda), or as many ridges as there are rows in these tests
    const double solve = dual ? (fit.solve_matrix * trace + fit.solve_right * a * (a + root)) * after.fitted / ridge
                              : (fit.solve_matrix * trace * after.change + fit.solve_right * a * before.fitted) / root;
    return 2 * missing + weights * a * (after.change + best.change) + solve +
           2 * bounds::kRoundoff * a * (after.rounded + best.rounded);
  }
  /// How far a reported error may lie from the truth.
  double reported(const Truth &after, double all_weights) const {
    return missing + (weights + fit.answer) * all_weights * after.change + bounds::kRoundoff * all_weights * after.rounded;
  }
};

Case random_case(Random &random, uint32_t most_kept) {
  const uint32_t kept = random.size(1, most_kept), cells = kept * random.between(1, 4);
  const uint32_t free = random.uniform() < 0.2 ? kept : random.between(0, kept);
  Case c(random, random.size(1, 700), cells, kept, free, random.size(8, 256), random.size(1, 256),
         random.uniform() < 0.5, random.uniform() < 0.3 ? 6 : 1);
  const double lambdas[] = {0.001, 0.01, 0.1};
  c.lambda = lambdas[random.between(0, 2)];
  return c;
}

void check_read_only(const Case &c, const Result &result) {
  std::vector<char> free(c.head.cells, 0);
  if (result.report.accepted) {
    for (uint32_t cell : c.free) free[cell] = 1;
  }
  const size_t dim = c.head.value_dim;
  for (size_t cell = 0; cell < c.head.cells; cell++) {
    if (free[cell]) continue;
    CHECK(std::memcmp(&result.values[cell * dim], &c.head.values[cell * dim], dim * sizeof(float)) == 0);
  }
}

/// Largest share of the bound on the objective that was used.
double worst_share = 0;

void compare(const Case &c, const Result &got, const Result &want) {
  check_read_only(c, got);
  CHECK(got.report.form == want.report.form);
  CHECK(got.report.fitted.rows == want.report.fitted.rows && got.report.judged.rows == want.report.judged.rows);
  const Truth before(c, c.head.values), after(c, got.values), best(c, want.values);
  const Bounds bound(c, got.report, before);
  CHECK_BOUND(std::fabs(std::sqrt(got.report.fitted.before) - before.fitted), bound.missing);
  CHECK_BOUND(std::fabs(std::sqrt(got.report.judged.before) - before.judged), bound.missing);
  if (got.report.form == 0) return;
  const double ridge = want.report.ridge;
  // a trace of squares: relative errors of the weights twice, and of the sums
  CHECK_BOUND(std::fabs(got.report.ridge - ridge), ridge * 2 * (bound.weights + 256 * bounds::kRoundoff));
  const kvfold_fit_error &judge = c.holdout == 0 ? got.report.fitted : got.report.judged;
  CHECK((got.report.accepted == 1) == (judge.after < judge.before));
  if (!got.report.accepted || !want.report.accepted) return;
  // all rows have weights of at most 1 in sum
  const double all_weights = std::sqrt(static_cast<double>(c.head.rows));
  CHECK_BOUND(std::fabs(std::sqrt(got.report.fitted.after) - after.fitted), bound.reported(after, all_weights));
  CHECK_BOUND(std::fabs(std::sqrt(got.report.judged.after) - after.judged), bound.reported(after, all_weights));
  const double excess = after.objective(ridge) - best.objective(ridge);
  if (getenv("DBG")) printf("%u rows %u kept %zu free lam %g form %u guard %d: before %.3g best %.3g excess %.3g\n", c.head.rows, c.head.cells, c.free.size(), c.lambda, got.report.form, (int)got.report.guarded, before.fitted, best.objective(ridge), excess);
  const double allowed = bound.excess(before, after, best, ridge, got.report.form == KVFOLD_FIT_DUAL);
  CHECK_BOUND(excess, allowed);
  if (getenv("DBG")) printf("   allowed %.3g = missing %.3g dA %.3g\n", allowed, 2*bound.missing, bound.weights*before.weights*(after.change+best.change));
  worst_share = std::fmax(worst_share, excess / allowed);
}

}  // namespace

TEST(fit_reaches_the_objective_of_the_reference) {
  Random random(31);
  for (int i = 0; i < 120; i++) {
    Case c = random_case(random, i < 12 ? 500 : 150);
    c.form = random.between(0, 2);
    const Result want = run(kvfold_fit_reference, c, nullptr);
    each_isa([&](const char *isa) { compare(c, run(kvfold_fit, c, isa), want); });
  }
  std::printf("       fit uses %.1f %% of its bounds\n", 100 * worst_share);
}

TEST(fit_lets_held_out_rows_judge) {
  Random random(32);
  int accepted = 0, refused = 0;
  for (int i = 0; i < 60; i++) {
    Case c = random_case(random, 120);
    c.holdout = random.between(2, 7);
    const Result want = run(kvfold_fit_reference, c, nullptr);
    each_isa([&](const char *isa) {
      const Result got = run(kvfold_fit, c, isa);
      compare(c, got, want);
      (got.report.accepted ? accepted : refused)++;
    });
  }
  CHECK(accepted > 0 && refused > 0);
}

TEST(fit_of_a_typical_head_loses_nothing_to_single_precision) {
  Random random(33);
  Case c(random, 1024, 1024, 256, 128, 64, 64, false, 1);
  c.holdout = 5;
  const Result want = run(kvfold_fit_reference, c, nullptr);
  REQUIRE(want.report.accepted);
  const double gain = want.report.judged.before - want.report.judged.after;
  CHECK(gain > 0.02 * want.report.judged.before);
  each_isa([&](const char *isa) {
    const Result got = run(kvfold_fit, c, isa);
    CHECK(got.report.accepted && got.report.guarded == 0);
    const double lost = (got.report.judged.after - want.report.judged.after) / gain;
    std::printf("       %s: 2^%.1f of the gain on held-out rows is lost or found\n", isa, std::log2(std::fabs(lost)));
    // what a user can notice starts far above one part in a thousand
    CHECK_BOUND(std::fabs(lost), 1e-3);
  });
}

TEST(fit_brings_back_values_that_were_lost) {
  Random random(34);
  Case c(random, 400, 60, 60, 20, 32, 24, true, 1);
  c.lambda = 1e-5;
  const Floats original = c.head.values;
  for (uint32_t cell : c.free) {
    for (size_t i = 0; i < 24; i++) c.head.values[cell * 24 + i] = 0;
  }
  each_isa([&](const char *isa) {
    const Result got = run(kvfold_fit, c, isa);
    REQUIRE(got.report.accepted);
    // the ridge of 1e-5 of the mean keeps back at most that over the smallest eigenvalue; what is left of the target
    CHECK_BOUND(got.report.fitted.after, 1e-5 * got.report.fitted.before);
    const Truth after(c, got.values);
    CHECK_BOUND(after.fitted, 1e-2 * std::sqrt(got.report.fitted.before));
  });
}

TEST(fit_changes_nothing_where_nothing_is_missing) {
  Random random(35);
  Case c(random, 200, 50, 50, 50, 16, 16, false, 1);
  c.holdout = 4;
  each_isa([&](const char *isa) {
    const Result got = run(kvfold_fit, c, isa);
    const Bounds bound(c, got.report, Truth(c, c.head.values));
    CHECK_BOUND(std::sqrt(got.report.judged.before), bound.missing);
    const Truth after(c, got.values);
    CHECK_BOUND(after.judged, bound.missing);
  });
}

TEST(fit_in_primal_and_dual_form_agree) {
  Random random(36);
  for (int i = 0; i < 6; i++) {
    Case c = random_case(random, 100);
    c.lambda = 0.1;
    each_isa([&](const char *isa) {
      c.form = KVFOLD_FIT_PRIMAL;
      const Result primal = run(kvfold_fit, c, isa);
      c.form = KVFOLD_FIT_DUAL;
      const Result dual = run(kvfold_fit, c, isa);
      if (primal.report.form == 0 || !primal.report.accepted || !dual.report.accepted) return;
      const Truth before(c, c.head.values), a(c, primal.values), b(c, dual.values);
      const Bounds bound(c, dual.report, before);
      const double ridge = dual.report.ridge;
      CHECK_BOUND(std::fabs(a.objective(ridge) - b.objective(ridge)),
                  bound.excess(before, a, b, ridge, false) + bound.excess(before, b, a, ridge, true));
    });
  }
}

TEST(fit_has_the_same_bits_for_any_number_of_threads_and_width) {
  Random random(37);
  for (int i = 0; i < 8; i++) {
    Case c = random_case(random, i == 0 ? 600 : 150);
    c.holdout = i % 2 == 0 ? 0 : 3;
    c.form = i % 4 == 3 ? KVFOLD_FIT_DUAL : KVFOLD_FIT_SMALLER;
    Floats fused;
    each_isa([&](const char *isa) {
      const Result one = run(kvfold_fit, c, isa);
      for (uint32_t threads = 2; threads <= 4; threads++) {
        const Result many = run(kvfold_fit, c, isa, threads);
        CHECK(same_bits(one.values, many.values));
        CHECK(std::memcmp(&one.report, &many.report, sizeof one.report) == 0);
      }
      if (std::strcmp(isa, "scalar") == 0) return;
      if (fused.empty()) fused = one.values;
      CHECK(same_bits(fused, one.values));
    });
  }
}

TEST(fit_may_write_over_its_input) {
  Random random(38);
  Case c(random, 200, 80, 40, 20, 16, 16, false, 1);
  const Result apart = run(kvfold_fit, c, nullptr);
  REQUIRE(apart.report.accepted);
  const kvfold_fit_input input = c.input();
  const kvfold_attention_options how = options(nullptr);
  kvfold_fit_report report = {};
  CHECK(kvfold_fit(&input, &how, buffer(c.head.values), &report, nullptr) == KVFOLD_OK);
  CHECK(same_bits(c.head.values, apart.values));
}

TEST(fit_guards_cells_that_cannot_be_told_apart) {
  Random random(39);
  Case c(random, 300, 40, 40, 40, 16, 16, false, 1);
  for (size_t i = 16; i < c.head.keys.size(); i++) c.head.keys[i] = c.head.keys[i % 16];
  c.lambda = 0;
  c.form = KVFOLD_FIT_PRIMAL;
  each_isa([&](const char *isa) {
    const Result got = run(kvfold_fit, c, isa);
    CHECK(got.report.guarded == 39);
    for (float value : got.values) CHECK(std::isfinite(value));
    CHECK(got.report.fitted.after <= got.report.fitted.before);
  });
}

TEST(fit_has_nothing_to_do_without_free_cells) {
  Random random(40);
  Case c(random, 70, 30, 10, 0, 8, 8, false, 1);
  c.holdout = 5;
  each_isa([&](const char *isa) {
    const Result got = run(kvfold_fit, c, isa);
    CHECK(got.report.form == 0 && got.report.accepted == 0 && same_bits(got.values, c.head.values));
    CHECK(got.report.judged.rows == 14 && got.report.judged.after == got.report.judged.before);
  });
  c.holdout = 71;  // nobody is left to judge
  c.free = {0, 3};
  const Result got = run(kvfold_fit, c, nullptr);
  CHECK(got.report.judged.rows == 0 && got.report.accepted == 0 && got.report.form == KVFOLD_FIT_PRIMAL);
}

TEST(fit_can_be_cancelled_and_writes_nothing) {
  Random random(41);
  const Case c(random, 500, 300, 200, 150, 16, 16, false, 1);
  const kvfold_fit_input input = c.input();
  const Threads pool(3);
  Cancel never(1 << 30);
  const kvfold_attention_options patient = {nullptr, Cancel::ask, &never, nullptr};
  Floats values(c.head.values.size(), -7);
  kvfold_fit_report report = {};
  CHECK(kvfold_fit(&input, &patient, buffer(values), &report, nullptr) == KVFOLD_OK);
  const int polls = (1 << 30) - never.left;
  CHECK(polls > 20);
  for (int poll = 0; poll < polls; poll++) {
    for (const kvfold_workers *workers : {static_cast<const kvfold_workers *>(nullptr), &pool.workers}) {
      Cancel cancel(poll);
      const kvfold_attention_options how = {workers, Cancel::ask, &cancel, nullptr};
      values.assign(values.size(), -7);
      report.form = 99;
      CHECK(kvfold_fit(&input, &how, buffer(values), &report, nullptr) == KVFOLD_STATUS_ABORTED);
      CHECK(values == Floats(values.size(), -7) && report.form == 99);
    }
  }
}

TEST(fit_refuses_bad_input) {
  Random random(42);
  const Case good(random, 20, 14, 7, 3, 4, 3, true, 1);
  const float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
  auto status = [&](auto &&spoil) {
    Case c = good;
    kvfold_fit_input input = c.input();
    Floats values(c.head.values.size(), -7);
    kvfold_f32_buffer out = buffer(values);
    spoil(c, input, out);
    const kvfold_attention_options how = options(nullptr);
    kvfold_fit_report report = {};
    kvfold_error error = {};
    const kvfold_status got = kvfold_fit(&input, &how, out, &report, &error);
    CHECK(got == KVFOLD_OK || (error.message[0] != '\0' && values == Floats(values.size(), -7)));
    CHECK(kvfold_fit_reference(&input, nullptr, out, &report, nullptr) == got);
    return got;
  };
  using In = kvfold_fit_input;
  using Out = kvfold_f32_buffer;
  const kvfold_status bad = KVFOLD_STATUS_ARGUMENT;
  const uint32_t twice[] = {2, 2}, falling[] = {3, 1}, outside[] = {0, 7};
  CHECK(status([&](Case &, In &, Out &) {}) == KVFOLD_OK);
  CHECK(status([&](Case &, In &in, Out &) { in.rows = 0; }) == bad);
  CHECK(status([&](Case &, In &in, Out &) { in.rows = UINT32_MAX; }) == bad);
  CHECK(status([&](Case &, In &in, Out &) { in.kept = 0; }) == bad);
  CHECK(status([&](Case &, In &in, Out &) { in.value_dim = 0; }) == bad);
  CHECK(status([&](Case &, In &in, Out &) { in.targets.length--; }) == bad);
  CHECK(status([&](Case &, In &in, Out &) { in.values.data = nullptr; }) == bad);
  CHECK(status([&](Case &, In &, Out &out) { out.length++; }) == bad);
  CHECK(status([&](Case &, In &in, Out &) { in.free = {twice, 2}; }) == bad);
  CHECK(status([&](Case &, In &in, Out &) { in.free = {falling, 2}; }) == bad);
  CHECK(status([&](Case &, In &in, Out &) { in.free = {outside, 2}; }) == bad);
  CHECK(status([&](Case &, In &in, Out &) { in.free = {nullptr, 2}; }) == bad);
  CHECK(status([&](Case &, In &in, Out &) { in.free.length = 8; }) == bad);
  CHECK(status([&](Case &, In &in, Out &) { in.free.length = UINT64_MAX; }) == bad);
  CHECK(status([&](Case &, In &in, Out &) { in.lambda = -0.1; }) == bad);
  CHECK(status([&](Case &, In &in, Out &) { in.lambda = nan; }) == bad);
  CHECK(status([&](Case &, In &in, Out &) { in.holdout = 1; }) == bad);
  CHECK(status([&](Case &, In &in, Out &) { in.form = 3; }) == bad);
  CHECK(status([&](Case &c, In &, Out &) { c.targets[5] = nan; }) == bad);
  CHECK(status([&](Case &c, In &, Out &) { c.head.values[5] = infinity; }) == bad);
  CHECK(status([&](Case &c, In &, Out &) { c.head.keys[5] = nan; }) == bad);
  CHECK(status([&](Case &c, In &, Out &) { c.head.queries[0] = c.head.keys[0] = 1e20f; }) == bad);
}

TEST(fit_reports_its_memory) {
  Random random(43);
  Case c(random, 20, 14, 7, 3, 4, 3, true, 1);
  kvfold_fit_input input = c.input();
  input.rows = 4096;
  input.kept = 2048;
  input.value_dim = input.key_dim = 64;
  input.free.length = 1024;
  input.holdout = 8;
  uint64_t one = 0, four = 0;
  CHECK(kvfold_fit_memory(&input, 1, &one, nullptr) == KVFOLD_OK);
  CHECK(kvfold_fit_memory(&input, 4, &four, nullptr) == KVFOLD_OK);
  // weights, missing, square system and exponentials are what counts
  const uint64_t large = 4 * (4096 * 1024 + 4096 * 64 + 1024 * 1024 + 2048 * 64);
  CHECK(one >= large && one < large + large / 20);
  CHECK(four - one >= 3 * 2048 * 256 && four - one < 3 * (2048 * 256 + 131072));
  input.free.length = KVFOLD_ATTENTION_MAX_FREE + 1;
  input.kept = KVFOLD_MAX_CELLS;
  CHECK(kvfold_fit_memory(&input, 1, &one, nullptr) == KVFOLD_STATUS_ARGUMENT);
  CHECK(kvfold_fit_memory(&input, 1, nullptr, nullptr) == KVFOLD_STATUS_ARGUMENT);
}
