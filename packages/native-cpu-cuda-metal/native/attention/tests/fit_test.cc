// fit against the reference: what it minimises, what it reports and what it must not touch.
#include "bounds.h"
#include "fit_case.h"
#include "reference.h"

using namespace fixture;

namespace {

/// What values do, in double.
struct Truth {
  double weights = 0;              ///< |A_free| over the fitted rows
  double fitted = 0, judged = 0;   ///< |O - A V| with the values that were given
  double target = 0;               ///< |O|, all rows
  double change = 0, rounded = 0;  ///< |V' - V|, |V'| of the free cells
  double held = 0;                 ///< |V' - V| as the ridge sees it, each square times its factor

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
    for (size_t f = 0; f < c.free.size(); f++) {
      for (size_t i = c.free[f] * dim; i < (c.free[f] + 1) * dim; i++) {
        const double moved = std::pow(double{values[i]} - c.head.values[i], 2);
        change += moved;
        held += c.factor(f) * moved;
        rounded += double{values[i]} * values[i];
      }
    }
    for (double *sum : {&weights, &fitted, &judged, &target, &change, &rounded, &held}) *sum = std::sqrt(*sum);
  }

  double objective(double ridge) const { return std::sqrt(fitted * fitted + ridge * held * held); }
};

struct Bounds {
  double missing;  ///< |dE|
  double weights;  ///< |dA|, relative
  size_t rows;
  double factors = 0;  ///< sum over the free cells
  double stiffest = 1;
  bounds::Fit fit;

  Bounds(const Case &c, const kvfold_fit_report &report, const Truth &before)
      : rows(static_cast<size_t>(report.fitted.rows)),
        fit(c.head.rows, report.form == KVFOLD_FIT_DUAL ? static_cast<size_t>(report.fitted.rows) : c.free.size(),
            report.guarded > 0) {
    const bounds::Attend attend(c.head.rows, c.head.cells, c.head.key_dim, c.head.largest_score());
    missing = attend.outputs * largest(c.head.values) * std::sqrt(double(c.targets.size())) +
              bounds::kRoundoff * before.target;
    weights = attend.weight;
    for (size_t f = 0; f < c.free.size(); f++) {
      factors += c.factor(f);
      stiffest = std::fmax(stiffest, c.factor(f));
    }
  }

  /// How far the fitted values may lie from the best ones, in the norm of the objective.
  double distance(const Truth &before, const Truth &after, const Truth &best, double ridge, bool dual) const {
    const double a = before.weights, root = std::sqrt(ridge);
    const double data = weights * a * after.fitted / root + missing + weights * a * after.change;
    const double answer = after.fitted / ridge;  // |a| of the dual
    const double trace = a * a + ridge * (dual ? static_cast<double>(rows) : factors);
    const double solve =
        dual ? (fit.solve_matrix * trace + fit.solve_right * a * (a + root)) * answer
             : (fit.solve_matrix * trace * after.change + fit.solve_right * a * before.fitted) / root;
    return data + solve + bounds::kRoundoff * (a + root * std::sqrt(stiffest)) * (after.rounded + best.rounded);
  }
  /// How far a reported error may lie from the truth.
  double reported(const Truth &after, double all_weights) const {
    return missing + (weights + fit.answer) * all_weights * after.change +
           bounds::kRoundoff * all_weights * after.rounded;
  }
};

Case random_case(Random &random, uint32_t most_kept) {
  const uint32_t kept = random.size(1, most_kept), cells = kept * random.between(1, 4);
  const uint32_t free = random.uniform() < 0.2 ? kept : random.between(0, kept);
  const uint32_t widest = most_kept > 200 ? 256 : 100;
  Case c(random, random.size(1, 700), cells, kept, free, random.size(8, widest), random.size(1, widest),
         random.uniform() < 0.5, random.uniform() < 0.3 ? 6 : 1);
  const double lambdas[] = {0.001, 0.01, 0.1};
  c.lambda = lambdas[random.between(0, 2)];
  return c;
}

void check_read_only(const Case &c, const Fitted &result) {
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

/// Largest share of the bound on the distance that was used.
double worst_share = 0;

void compare(const Case &c, const Fitted &got, const Fitted &want) {
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
  if (c.holdout == 0)
    CHECK_BOUND(std::fabs(std::sqrt(got.report.fitted.after) - after.fitted), bound.reported(after, all_weights));
  else
    CHECK(std::isnan(got.report.fitted.after) && std::isnan(want.report.fitted.after));
  CHECK_BOUND(std::fabs(std::sqrt(got.report.judged.after) - after.judged), bound.reported(after, all_weights));
  const double reached = after.objective(ridge), possible = best.objective(ridge);
  const double excess = std::sqrt(std::fmax(0, reached * reached - possible * possible));
  const double allowed = bound.distance(before, after, best, ridge, got.report.form == KVFOLD_FIT_DUAL);
  if (!CHECK_BOUND(excess, allowed)) std::printf("  %u x %u, %zu free\n", c.head.rows, c.head.cells, c.free.size());
  worst_share = std::fmax(worst_share, excess / allowed);
}

}  // namespace

TEST(fit_reaches_the_objective_of_the_reference) {
  Random random(31);
  for (int i = 0; i < 1400; i++) {
    Case c = random_case(random, i % 100 == 0 ? 500 : 150);
    c.form = random.between(0, 2);
    if (c.form != KVFOLD_FIT_DUAL && random.uniform() < 0.5) c.stiffen(random);
    const Fitted want = run(kvfold_fit_reference, c, nullptr);
    each_isa([&](const char *isa) { compare(c, run(kvfold_fit, c, isa), want); });
  }
  std::printf("       fit uses %.1f %% of its bounds\n", 100 * worst_share);
}

TEST(fit_lets_held_out_rows_judge) {
  Random random(32);
  int accepted = 0, refused = 0;
  for (int i = 0; i < 600; i++) {
    Case c = random_case(random, 120);
    c.holdout = random.between(2, 7);
    if (random.uniform() < 0.5) c.stiffen(random);
    const Fitted want = run(kvfold_fit_reference, c, nullptr);
    each_isa([&](const char *isa) {
      const Fitted got = run(kvfold_fit, c, isa);
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
  const Fitted want = run(kvfold_fit_reference, c, nullptr);
  REQUIRE(want.report.accepted);
  const double gain = want.report.judged.before - want.report.judged.after;
  CHECK(gain > 0.02 * want.report.judged.before);
  each_isa([&](const char *isa) {
    const Fitted got = run(kvfold_fit, c, isa);
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
    const Fitted got = run(kvfold_fit, c, isa);
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
    const Fitted got = run(kvfold_fit, c, isa);
    const Bounds bound(c, got.report, Truth(c, c.head.values));
    CHECK_BOUND(std::sqrt(got.report.judged.before), bound.missing);
    const Truth after(c, got.values);
    CHECK_BOUND(after.judged, bound.missing);
  });
}

TEST(fit_holds_stiff_cells_back) {
  Random random(43);
  Case c(random, 400, 200, 60, 40, 24, 24, false, 1);
  const auto moved = [&](size_t f, const Floats &values) {
    double sum = 0;
    for (size_t i = c.free[f] * 24; i < (c.free[f] + 1) * 24; i++) sum += std::pow(values[i] - c.head.values[i], 2);
    return std::sqrt(sum);
  };
  c.lambda = 0.1;
  const Fitted loose = run(kvfold_fit_reference, c, nullptr);
  c.factors.assign(40, 1);
  CHECK(same_bits(run(kvfold_fit_reference, c, nullptr).values, loose.values));
  for (size_t f = 0; f < 40; f += 2) c.factors[f] = 255;
  each_isa([&](const char *isa) {
    const Fitted got = run(kvfold_fit, c, isa);
    REQUIRE(got.report.accepted && loose.report.accepted);
    double stiff = 0, before = 0;
    for (size_t f = 0; f < 40; f += 2) {
      stiff += moved(f, got.values);
      before += moved(f, loose.values);
    }
    CHECK_BOUND(stiff, before / 20);
  });
}

TEST(fit_in_primal_and_dual_form_agree) {
  Random random(36);
  for (int i = 0; i < 6; i++) {
    Case c = random_case(random, 100);
    c.lambda = 0.1;
    each_isa([&](const char *isa) {
      c.form = KVFOLD_FIT_PRIMAL;
      const Fitted primal = run(kvfold_fit, c, isa);
      c.form = KVFOLD_FIT_DUAL;
      const Fitted dual = run(kvfold_fit, c, isa);
      if (primal.report.form == 0 || !primal.report.accepted || !dual.report.accepted) return;
      const Truth before(c, c.head.values), a(c, primal.values), b(c, dual.values);
      const Bounds bound(c, dual.report, before);
      const double ridge = dual.report.ridge;
      CHECK_BOUND(std::fabs(a.objective(ridge) - b.objective(ridge)),
                  bound.distance(before, a, b, ridge, false) + bound.distance(before, b, a, ridge, true));
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
      const Fitted one = run(kvfold_fit, c, isa);
      for (uint32_t threads = 2; threads <= 4; threads++) {
        const Fitted many = run(kvfold_fit, c, isa, threads);
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
  const Fitted apart = run(kvfold_fit, c, nullptr);
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
    const Fitted got = run(kvfold_fit, c, isa);
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
    const Fitted got = run(kvfold_fit, c, isa);
    CHECK(got.report.form == 0 && got.report.accepted == 0 && same_bits(got.values, c.head.values));
    CHECK(got.report.judged.rows == 14 && got.report.judged.after == got.report.judged.before);
  });
  c.holdout = 71;  // nobody is left to judge
  c.free = {0, 3};
  const Fitted got = run(kvfold_fit, c, nullptr);
  CHECK(got.report.judged.rows == 0 && got.report.accepted == 0 && got.report.form == KVFOLD_FIT_PRIMAL);
}
