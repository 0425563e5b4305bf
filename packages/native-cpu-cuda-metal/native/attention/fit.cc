// fit: builds the system over the fitting rows, solves it, and lets the judging rows decide.
#include <cmath>
#include <cstring>

#include "attention.h"
#include "check.h"
#include "common/error.h"
#include "fit_system.h"
#include "isa.h"

namespace kvfold {
namespace attention {
namespace {

/// |missing|^2 over some slots, in double.
double squares(const FitSystem &system, size_t slot, size_t rows) {
  double sum = 0;
  for (size_t i = 0; i < rows; i++) {
    const float *row = system.missing.data + (slot + i) * system.missing.ld;
    for (size_t j = 0; j < system.missing.width; j++) sum += static_cast<double>(row[j]) * row[j];
  }
  return sum;
}

double target_squares(const kvfold_fit_input &input, size_t rows, bool judging) {
  double sum = 0;
  for (size_t i = 0; i < rows; i++) {
    const float *row = input.targets.data + query_of(input, i, judging) * input.value_dim;
    for (size_t j = 0; j < input.value_dim; j++) sum += static_cast<double>(row[j]) * row[j];
  }
  return sum;
}

void write_values(const kvfold_fit_input &input, const kvfold_fit_report &report, const Solution &solution,
                  kvfold_f32_buffer values) {
  std::memmove(values.data, input.values.data, static_cast<size_t>(values.length) * sizeof(float));
  if (report.accepted == 0) return;
  for (size_t f = 0; f < input.free.length; f++) {
    float *row = values.data + size_t{input.free.data[f]} * input.value_dim;
    const float *change = solution.change.data + f * solution.change.ld;
    for (size_t i = 0; i < input.value_dim; i++) row[i] += change[i];
  }
}

/// False when stopped.
bool fit(const Kernels &kernels, const kvfold_fit_input &input, const FitShape &shape, const Arena &arena,
         Parallel &parallel, kvfold_fit_report &report, Solution &solution) {
  const size_t strip = kernels.strip;
  const FitSystem system = {shape.dual ? Strips{arena.at(shape.weights_at), shape.free, shape.slots, strip}
                                       : Strips{arena.at(shape.weights_at), shape.slots, shape.free, strip},
                            {arena.at(shape.missing_at), shape.ld, shape.width}};
  if (!build_system(kernels, input, shape, arena, system, parallel)) return false;
  report.fitted = {shape.fitting, target_squares(input, shape.fitting, false), squares(system, 0, shape.fitting), 0};
  report.judged = {shape.judging, target_squares(input, shape.judging, true),
                   squares(system, shape.first_judge, shape.judging), 0};
  solution = solve_system(kernels, input, shape, arena, system, parallel);
  if (parallel.stopped()) return false;
  report.fitted.after = input.holdout == 0 ? squares(system, 0, shape.fitting) : std::nan("");
  report.judged.after = squares(system, shape.first_judge, shape.judging);
  const kvfold_fit_error &judge = input.holdout == 0 ? report.fitted : report.judged;
  report.accepted = solution.solved && judge.after < judge.before;
  report.form = !solution.solved ? 0 : shape.dual ? KVFOLD_FIT_DUAL : KVFOLD_FIT_PRIMAL;
  report.ridge = solution.ridge;
  report.guarded = solution.guarded;
  return true;
}

}  // namespace
}  // namespace attention
}  // namespace kvfold

using namespace kvfold;
using namespace kvfold::attention;

extern "C" kvfold_status kvfold_fit_memory(const kvfold_fit_input *input, uint32_t threads, uint64_t *bytes,
                                           kvfold_error *error) {
  const kvfold_status status = check_fit_shape(input, threads, error);
  if (status != KVFOLD_OK) return status;
  if (bytes == nullptr) return fail(error, KVFOLD_STATUS_ARGUMENT, "nowhere to put the number of bytes");
  const FitShape shape = fit_shape(*input, threads);
  if (!shape.layout.fits()) return fail_memory(error, "fit");
  *bytes = shape.layout.bytes();
  return KVFOLD_OK;
}

extern "C" kvfold_status kvfold_fit(const kvfold_fit_input *input, const kvfold_attention_options *options,
                                    kvfold_f32_buffer values, kvfold_fit_report *report, kvfold_error *error) {
  kvfold_status status = check_options(options, error);
  if (status != KVFOLD_OK) return status;
  Parallel parallel(*options);
  status = check_fit_shape(input, parallel.threads(), error);
  if (status == KVFOLD_OK) status = check_fit(input, values, report, error);
  if (status != KVFOLD_OK) return status;
  const Kernels *kernels = kernels_named(options->isa);
  if (kernels == nullptr) return fail(error, KVFOLD_STATUS_UNSUPPORTED, "no instruction set %s here", options->isa);
  const FitShape shape = fit_shape(*input, parallel.threads());
  Arena arena;
  if (!arena.allocate(shape.layout)) return fail_memory(error, "fit");
  kvfold_fit_report found = {};
  Solution solution = {};
  if (!kvfold::attention::fit(*kernels, *input, shape, arena, parallel, found, solution)) return fail_aborted(error);
  *report = found;
  write_values(*input, found, solution, values);
  return KVFOLD_OK;
}
