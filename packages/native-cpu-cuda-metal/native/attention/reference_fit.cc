// fit in double, serial: what kernels are compared with.
#include <cmath>
#include <new>
#include <vector>

#include "attention.h"
#include "check.h"
#include "common/error.h"
#include "reference.h"

namespace kvfold {
namespace attention {
namespace {

/// A matrix, row by row.
struct Matrix {
  size_t rows, columns;
  std::vector<double> data;
  Matrix(size_t r, size_t c) : rows(r), columns(c), data(r * c) {}
  double *operator[](size_t row) { return data.data() + row * columns; }
  const double *operator[](size_t row) const { return data.data() + row * columns; }
};

bool judges(const kvfold_fit_input &in, size_t row) {
  return in.holdout > 0 && row % in.holdout == in.holdout - 1u;
}

/// Weights of the free cells and O - A V, for every query row.
void build(const kvfold_fit_input &in, Matrix &weights, Matrix &missing) {
  const float *bias = in.bias.length > 0 ? in.bias.data : nullptr;
  std::vector<double> row(in.kept);
  for (size_t r = 0; r < in.rows; r++) {
    reference_softmax(in.queries.data + r * in.key_dim, in.keys.data, bias, in.key_dim, row);
    for (size_t f = 0; f < in.free.length; f++) weights[r][f] = row[in.free.data[f]];
    for (size_t i = 0; i < in.value_dim; i++) {
      double output = 0;
      for (size_t cell = 0; cell < in.kept; cell++) output += row[cell] * in.values.data[cell * in.value_dim + i];
      missing[r][i] = in.targets.data[r * in.value_dim + i] - output;
    }
  }
}

void subtract_answer(const Matrix &weights, const Matrix &change, Matrix &missing) {
  for (size_t r = 0; r < weights.rows; r++) {
    for (size_t f = 0; f < weights.columns; f++) {
      for (size_t i = 0; i < missing.columns; i++) missing[r][i] -= weights[r][f] * change[f][i];
    }
  }
}

/// The guards of @kvfold/core: 2^-36 of the own diagonal entry, 2^-60 of the mean one.
size_t factor(Matrix &a) {
  const size_t n = a.rows;
  double trace = 0;
  for (size_t j = 0; j < n; j++) trace += a[j][j];
  size_t guarded = 0;
  for (size_t j = 0; j < n; j++) {
    const double floor = std::fmax(std::ldexp(a[j][j], -36), std::ldexp(trace / static_cast<double>(n), -60));
    double pivot = a[j][j];
    for (size_t k = 0; k < j; k++) pivot -= a[j][k] * a[j][k];
    if (!(pivot >= floor)) {
      pivot = floor;
      guarded++;
    }
    a[j][j] = std::sqrt(pivot);
    for (size_t i = j + 1; i < n; i++) {
      for (size_t k = 0; k < j; k++) a[i][j] -= a[i][k] * a[j][k];
      a[i][j] /= a[j][j];
    }
  }
  return guarded;
}

void solve(const Matrix &l, Matrix &b) {
  const size_t n = l.rows;
  for (size_t c = 0; c < b.columns; c++) {
    for (size_t i = 0; i < n; i++) {
      for (size_t k = 0; k < i; k++) b[i][c] -= l[i][k] * b[k][c];
      b[i][c] /= l[i][i];
    }
    for (size_t i = n; i-- > 0;) {
      for (size_t k = i + 1; k < n; k++) b[i][c] -= l[k][i] * b[k][c];
      b[i][c] /= l[i][i];
    }
  }
}

/// to = A^T from over the fitting rows, `from` having one row for each of them.
void transposed(const kvfold_fit_input &in, const Matrix &weights, const Matrix &from, bool only_fitting, Matrix &to) {
  size_t at = 0;
  for (size_t r = 0; r < weights.rows; r++) {
    if (judges(in, r)) continue;
    const size_t row = only_fitting ? at++ : r;
    for (size_t f = 0; f < weights.columns; f++) {
      for (size_t i = 0; i < to.columns; i++) to[f][i] += weights[r][f] * from[row][i];
    }
  }
}

/// (A^T A + ridge N) X = A^T E.
size_t primal(const kvfold_fit_input &in, const Matrix &weights, const Matrix &missing, double ridge, Matrix &change) {
  const size_t free = weights.columns;
  Matrix gram(free, free);
  for (size_t r = 0; r < weights.rows; r++) {
    if (judges(in, r)) continue;
    for (size_t i = 0; i < free; i++) {
      for (size_t j = 0; j <= i; j++) gram[i][j] += weights[r][i] * weights[r][j];
    }
  }
  for (size_t i = 0; i < free; i++)
    gram[i][i] += ridge * (in.ridge_factors.length > 0 ? in.ridge_factors.data[i] : 1);
  const size_t guarded = factor(gram);
  transposed(in, weights, missing, false, change);
  solve(gram, change);
  return guarded;
}

/// X = A^T (A A^T + ridge)^-1 E.
size_t dual(const kvfold_fit_input &in, const Matrix &weights, const Matrix &missing, double ridge, Matrix &change) {
  std::vector<size_t> rows;
  for (size_t r = 0; r < weights.rows; r++) {
    if (!judges(in, r)) rows.push_back(r);
  }
  Matrix gram(rows.size(), rows.size()), right(rows.size(), missing.columns);
  for (size_t i = 0; i < rows.size(); i++) {
    for (size_t j = 0; j <= i; j++) {
      for (size_t f = 0; f < weights.columns; f++) gram[i][j] += weights[rows[i]][f] * weights[rows[j]][f];
    }
    gram[i][i] += ridge;
    for (size_t c = 0; c < missing.columns; c++) right[i][c] = missing[rows[i]][c];
  }
  const size_t guarded = factor(gram);
  solve(gram, right);
  transposed(in, weights, right, true, change);
  return guarded;
}

kvfold_fit_error error_before(const kvfold_fit_input &in, const Matrix &missing, bool judging) {
  kvfold_fit_error sums = {};
  for (size_t r = 0; r < in.rows; r++) {
    if (judges(in, r) != judging) continue;
    sums.rows++;
    for (size_t i = 0; i < in.value_dim; i++) {
      const double target = in.targets.data[r * in.value_dim + i];
      sums.target += target * target;
      sums.before += missing[r][i] * missing[r][i];
    }
  }
  return sums;
}

double trace_of(const kvfold_fit_input &in, const Matrix &weights) {
  double trace = 0;
  for (size_t r = 0; r < in.rows; r++) {
    if (judges(in, r)) continue;
    for (size_t f = 0; f < weights.columns; f++) trace += weights[r][f] * weights[r][f];
  }
  return trace;
}

void fit(const kvfold_fit_input &in, kvfold_f32_buffer values, kvfold_fit_report &report) {
  const size_t free = static_cast<size_t>(in.free.length);
  Matrix weights(in.rows, free), missing(in.rows, in.value_dim), change(free, in.value_dim);
  build(in, weights, missing);
  report = {};
  report.fitted = error_before(in, missing, false);
  report.judged = error_before(in, missing, true);
  const double trace = trace_of(in, weights);
  if (trace > 0) {
    report.ridge = in.lambda * trace / static_cast<double>(free);
    const bool by_rows = in.form == KVFOLD_FIT_SMALLER
                             ? report.fitted.rows < free && in.ridge_factors.length == 0
                             : in.form == KVFOLD_FIT_DUAL;
    report.form = by_rows ? KVFOLD_FIT_DUAL : KVFOLD_FIT_PRIMAL;
    report.guarded = by_rows ? dual(in, weights, missing, report.ridge, change)
                             : primal(in, weights, missing, report.ridge, change);
    subtract_answer(weights, change, missing);
  }
  report.fitted.after = in.holdout == 0 ? error_before(in, missing, false).before : std::nan("");
  report.judged.after = error_before(in, missing, true).before;
  const kvfold_fit_error &judge = in.holdout == 0 ? report.fitted : report.judged;
  report.accepted = report.form != 0 && judge.after < judge.before;
  for (uint64_t i = 0; i < values.length; i++) values.data[i] = in.values.data[i];
  if (report.accepted == 0) return;
  for (size_t f = 0; f < free; f++) {
    for (size_t i = 0; i < in.value_dim; i++) {
      float &value = values.data[size_t{in.free.data[f]} * in.value_dim + i];
      value = static_cast<float>(value + change[f][i]);
    }
  }
}

}  // namespace
}  // namespace attention
}  // namespace kvfold

extern "C" kvfold_status kvfold_fit_reference(const kvfold_fit_input *input, const kvfold_attention_options *,
                                              kvfold_f32_buffer values, kvfold_fit_report *report,
                                              kvfold_error *error) {
  kvfold_status status = kvfold::attention::check_fit_shape(input, 1, error);
  if (status == KVFOLD_OK) status = kvfold::attention::check_fit(input, values, report, error);
  if (status != KVFOLD_OK) return status;
  try {
    kvfold::attention::fit(*input, values, *report);
  } catch (const std::bad_alloc &) {
    return kvfold::fail_memory(error, "fit");
  }
  return KVFOLD_OK;
}
