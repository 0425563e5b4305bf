// The rules at the border of attend and fit.
#include "check.h"

#include <cmath>

#include "common/error.h"

namespace kvfold {
namespace attention {
namespace {

constexpr double kMost = KVFOLD_ATTENTION_MAX_MAGNITUDE;

kvfold_status refuse_size(kvfold_error *error, const char *name, uint64_t value, uint64_t most) {
  return fail(error, KVFOLD_STATUS_ARGUMENT, "%s is %llu: must be 1 to %llu", name,
              static_cast<unsigned long long>(value), static_cast<unsigned long long>(most));
}

struct Size {
  const char *name;
  uint64_t value, most;
};

template <size_t N>
kvfold_status check_sizes(const Size (&sizes)[N], kvfold_error *error) {
  for (const Size &size : sizes) {
    if (size.value < 1 || size.value > size.most) return refuse_size(error, size.name, size.value, size.most);
  }
  return KVFOLD_OK;
}

/// Sizes are below 2^27 and 2^13: the product fits.
kvfold_status check_length(const char *name, const void *data, uint64_t length, uint64_t rows, uint64_t columns,
                           kvfold_error *error) {
  if (length != rows * columns) {
    return fail(error, KVFOLD_STATUS_ARGUMENT, "%s has %llu numbers instead of %llu", name,
                static_cast<unsigned long long>(length), static_cast<unsigned long long>(rows * columns));
  }
  if (data == nullptr && length > 0) return fail(error, KVFOLD_STATUS_ARGUMENT, "%s is NULL", name);
  return KVFOLD_OK;
}

kvfold_status check_optional(const char *name, const void *data, uint64_t length, uint64_t rows, uint64_t columns,
                             kvfold_error *error) {
  return length == 0 ? KVFOLD_OK : check_length(name, data, length, rows, columns, error);
}

/// Four chains, so that the additions overlap.
double square_length(const float *row, size_t count) {
  double sums[4] = {0, 0, 0, 0};
  size_t i = 0;
  for (; i + 4 <= count; i += 4) {
    for (size_t j = 0; j < 4; j++) sums[j] += static_cast<double>(row[i + j]) * row[i + j];
  }
  for (; i < count; i++) sums[0] += static_cast<double>(row[i]) * row[i];
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

kvfold_status check_longest(const char *name, const float *data, size_t rows, size_t width, double *longest,
                            kvfold_error *error) {
  double most = 0;
  for (size_t row = 0; row < rows; row++) {
    const double square = square_length(data + row * width, width);
    if (!std::isfinite(square)) {
      return fail(error, KVFOLD_STATUS_ARGUMENT, "%s row %zu is not finite", name, row);
    }
    if (square > most) most = square;
  }
  *longest = std::sqrt(most);
  return KVFOLD_OK;
}

kvfold_status check_magnitude(const char *name, const kvfold_f32_span &span, kvfold_error *error) {
  for (uint64_t i = 0; i < span.length; i++) {
    if (std::fabs(span.data[i]) <= KVFOLD_ATTENTION_MAX_MAGNITUDE) continue;
    return fail(error, KVFOLD_STATUS_ARGUMENT, "%s[%llu] is %g: must be finite and below 2^96", name,
                static_cast<unsigned long long>(i), static_cast<double>(span.data[i]));
  }
  return KVFOLD_OK;
}

/// No partial sum of q.k is larger than |q||k| (Cauchy and Schwarz).
kvfold_status check_scores(const kvfold_f32_span &queries, size_t rows, const kvfold_f32_span &keys, size_t cells,
                           size_t dim, const kvfold_f32_span &bias, kvfold_error *error) {
  double query = 0, key = 0;
  kvfold_status status = check_longest("queries", queries.data, rows, dim, &query, error);
  if (status == KVFOLD_OK) status = check_longest("keys", keys.data, cells, dim, &key, error);
  if (status == KVFOLD_OK) status = check_magnitude("bias", bias, error);
  if (status != KVFOLD_OK) return status;
  if (query * key <= kMost) return KVFOLD_OK;
  return fail(error, KVFOLD_STATUS_ARGUMENT, "scores may overflow: the longest query times the longest key is %g",
              query * key);
}

kvfold_status check_free(const kvfold_fit_input *input, kvfold_error *error) {
  for (uint64_t i = 0; i < input->free.length; i++) {
    const uint32_t cell = input->free.data[i];
    if (cell >= input->kept) return fail(error, KVFOLD_STATUS_ARGUMENT, "free cell %u of %u", cell, input->kept);
    if (i > 0 && cell <= input->free.data[i - 1]) {
      return fail(error, KVFOLD_STATUS_ARGUMENT, "free cell %u follows %u: give each once, in ascending order", cell,
                  input->free.data[i - 1]);
    }
  }
  for (uint64_t i = 0; i < input->ridge_factors.length; i++) {
    if (input->ridge_factors.data[i] == 0)
      return fail(error, KVFOLD_STATUS_ARGUMENT, "ridge factor %llu is 0: factors are 1 to 255",
                  static_cast<unsigned long long>(i));
  }
  return KVFOLD_OK;
}

}  // namespace

kvfold_status check_attend_shape(const kvfold_attend_input *input, uint32_t threads, kvfold_error *error) {
  if (input == nullptr) return fail(error, KVFOLD_STATUS_ARGUMENT, "no input");
  const Size sizes[] = {{"rows", input->rows, KVFOLD_ATTENTION_MAX_ROWS},
                        {"cells", input->cells, KVFOLD_MAX_CELLS},
                        {"key_dim", input->key_dim, KVFOLD_MAX_HEAD_DIM},
                        {"value_dim + 1", uint64_t{input->value_dim} + 1, KVFOLD_MAX_HEAD_DIM + 1},
                        {"threads", threads, KVFOLD_MAX_THREADS}};
  return check_sizes(sizes, error);
}

kvfold_status check_fit_shape(const kvfold_fit_input *input, uint32_t threads, kvfold_error *error) {
  if (input == nullptr) return fail(error, KVFOLD_STATUS_ARGUMENT, "no input");
  const Size sizes[] = {{"rows", input->rows, KVFOLD_ATTENTION_MAX_ROWS},
                        {"kept", input->kept, KVFOLD_MAX_CELLS},
                        {"key_dim", input->key_dim, KVFOLD_MAX_HEAD_DIM},
                        {"value_dim", input->value_dim, KVFOLD_MAX_HEAD_DIM},
                        {"threads", threads, KVFOLD_MAX_THREADS}};
  const kvfold_status status = check_sizes(sizes, error);
  if (status != KVFOLD_OK) return status;
  if (input->free.length > input->kept || input->free.length > KVFOLD_ATTENTION_MAX_FREE) {
    return fail(error, KVFOLD_STATUS_ARGUMENT, "%llu free cells: at most %u of %u kept",
                static_cast<unsigned long long>(input->free.length), KVFOLD_ATTENTION_MAX_FREE, input->kept);
  }
  if (!(input->lambda >= 0 && input->lambda <= 1e6)) {
    return fail(error, KVFOLD_STATUS_ARGUMENT, "lambda is %g: must be 0 to 1e6", input->lambda);
  }
  if (input->holdout == 1) {
    return fail(error, KVFOLD_STATUS_ARGUMENT, "holdout is 1: every holdout-th row judges, so 2 or more, or 0");
  }
  if (input->form > KVFOLD_FIT_DUAL) return fail(error, KVFOLD_STATUS_ARGUMENT, "form is %u", input->form);
  if (input->ridge_factors.length == 0) return KVFOLD_OK;
  if (input->ridge_factors.length != input->free.length) {
    return fail(error, KVFOLD_STATUS_ARGUMENT, "%llu ridge factors for %llu free cells",
                static_cast<unsigned long long>(input->ridge_factors.length),
                static_cast<unsigned long long>(input->free.length));
  }
  if (input->form == KVFOLD_FIT_DUAL)
    return fail(error, KVFOLD_STATUS_ARGUMENT, "the dual form has one ridge for all cells: leave the factors out");
  return KVFOLD_OK;
}

kvfold_status check_options(const kvfold_attention_options *options, kvfold_error *error) {
  if (options == nullptr) return fail(error, KVFOLD_STATUS_ARGUMENT, "no options");
  if (options->workers != nullptr && options->workers->run == nullptr) {
    return fail(error, KVFOLD_STATUS_ARGUMENT, "workers without a way to run them");
  }
  return KVFOLD_OK;
}

kvfold_status check_attend(const kvfold_attend_input *input, const kvfold_attend_output *output, kvfold_error *error) {
  if (output == nullptr) return fail(error, KVFOLD_STATUS_ARGUMENT, "no output");
  const kvfold_attend_input &in = *input;
  const kvfold_attend_output &out = *output;
  const bool valued = in.value_dim > 0;
  if (!valued && out.outputs.length > 0) {
    return fail(error, KVFOLD_STATUS_ARGUMENT, "outputs are asked for without values");
  }
  kvfold_status status = check_length("queries", in.queries.data, in.queries.length, in.rows, in.key_dim, error);
  auto then = [&](kvfold_status next) { status = status == KVFOLD_OK ? next : status; };
  if (status == KVFOLD_OK) then(check_length("keys", in.keys.data, in.keys.length, in.cells, in.key_dim, error));
  if (status == KVFOLD_OK) then(check_optional("bias", in.bias.data, in.bias.length, in.cells, 1, error));
  if (status == KVFOLD_OK) {
    then(check_length("values", in.values.data, in.values.length, in.cells, in.value_dim, error));
  }
  const kvfold_f32_buffer *statistics[] = {&out.maximum, &out.mean, &out.rms};
  for (const kvfold_f32_buffer *one : statistics) {
    if (status == KVFOLD_OK) then(check_optional("a statistic", one->data, one->length, in.cells, 1, error));
  }
  if (status == KVFOLD_OK) {
    then(check_optional("outputs", out.outputs.data, out.outputs.length, in.rows, in.value_dim, error));
  }
  if (status == KVFOLD_OK) {
    then(check_scores(in.queries, in.rows, in.keys, in.cells, in.key_dim, in.bias, error));
  }
  if (status == KVFOLD_OK) then(check_magnitude("values", in.values, error));
  return status;
}

kvfold_status check_fit(const kvfold_fit_input *input, const kvfold_f32_buffer &values,
                        const kvfold_fit_report *report, kvfold_error *error) {
  const kvfold_fit_input &in = *input;
  if (report == nullptr) return fail(error, KVFOLD_STATUS_ARGUMENT, "no report");
  kvfold_status status = check_length("queries", in.queries.data, in.queries.length, in.rows, in.key_dim, error);
  const struct {
    const char *name;
    const float *data;
    uint64_t length, rows, columns;
  } arrays[] = {{"targets", in.targets.data, in.targets.length, in.rows, in.value_dim},
                {"keys", in.keys.data, in.keys.length, in.kept, in.key_dim},
                {"values", in.values.data, in.values.length, in.kept, in.value_dim},
                {"new values", values.data, values.length, in.kept, in.value_dim}};
  for (const auto &array : arrays) {
    if (status != KVFOLD_OK) return status;
    status = check_length(array.name, array.data, array.length, array.rows, array.columns, error);
  }
  if (status == KVFOLD_OK) status = check_optional("bias", in.bias.data, in.bias.length, in.kept, 1, error);
  if (status == KVFOLD_OK && in.free.data == nullptr && in.free.length > 0) {
    return fail(error, KVFOLD_STATUS_ARGUMENT, "free is NULL");
  }
  if (status == KVFOLD_OK && in.ridge_factors.data == nullptr && in.ridge_factors.length > 0) {
    return fail(error, KVFOLD_STATUS_ARGUMENT, "ridge_factors is NULL");
  }
  if (status == KVFOLD_OK) status = check_free(input, error);
  if (status == KVFOLD_OK) {
    status = check_scores(in.queries, in.rows, in.keys, in.kept, in.key_dim, in.bias, error);
  }
  if (status == KVFOLD_OK) status = check_magnitude("values", in.values, error);
  if (status == KVFOLD_OK) status = check_magnitude("targets", in.targets, error);
  return status;
}

}  // namespace attention
}  // namespace kvfold
