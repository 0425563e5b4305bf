// attend in double, row by row: what kernels are compared with.
#include <cmath>
#include <new>
#include <vector>

#include "attention.h"
#include "check.h"
#include "common/error.h"
#include "reference.h"

namespace kvfold {
namespace attention {

void reference_softmax(const float *query, const float *keys, const float *bias, size_t dim,
                       std::vector<double> &weights) {
  double top = -INFINITY, total = 0;
  for (size_t cell = 0; cell < weights.size(); cell++) {
    double score = bias == nullptr ? 0 : bias[cell];
    for (size_t i = 0; i < dim; i++) score += static_cast<double>(query[i]) * keys[cell * dim + i];
    weights[cell] = score;
    if (score > top) top = score;
  }
  for (double &weight : weights) total += weight = std::exp(weight - top);
  for (double &weight : weights) weight /= total;
}

namespace {

void attend(const kvfold_attend_input &in, const kvfold_attend_output &out) {
  std::vector<double> weights(in.cells), maximum(in.cells), sum(in.cells), squares(in.cells), output(in.value_dim);
  const float *bias = in.bias.length > 0 ? in.bias.data : nullptr;
  for (size_t row = 0; row < in.rows; row++) {
    reference_softmax(in.queries.data + row * in.key_dim, in.keys.data, bias, in.key_dim, weights);
    output.assign(in.value_dim, 0);
    for (size_t cell = 0; cell < in.cells; cell++) {
      maximum[cell] = std::fmax(maximum[cell], weights[cell]);
      sum[cell] += weights[cell];
      squares[cell] += weights[cell] * weights[cell];
      for (size_t i = 0; i < in.value_dim; i++) output[i] += weights[cell] * in.values.data[cell * in.value_dim + i];
    }
    if (out.outputs.length == 0) continue;
    for (size_t i = 0; i < in.value_dim; i++) out.outputs.data[row * in.value_dim + i] = static_cast<float>(output[i]);
  }
  for (size_t cell = 0; cell < in.cells; cell++) {
    if (out.maximum.length > 0) out.maximum.data[cell] = static_cast<float>(maximum[cell]);
    if (out.mean.length > 0) out.mean.data[cell] = static_cast<float>(sum[cell] / in.rows);
    if (out.rms.length > 0) out.rms.data[cell] = static_cast<float>(std::sqrt(squares[cell] / in.rows));
  }
}

}  // namespace
}  // namespace attention
}  // namespace kvfold

extern "C" kvfold_status kvfold_attend_reference(const kvfold_attend_input *input, const kvfold_attention_options *,
                                                 const kvfold_attend_output *output, kvfold_error *error) {
  kvfold_status status = kvfold::attention::check_attend_shape(input, 1, error);
  if (status == KVFOLD_OK) status = kvfold::attention::check_attend(input, output, error);
  if (status != KVFOLD_OK) return status;
  try {
    kvfold::attention::attend(*input, *output);
  } catch (const std::bad_alloc &) {
    return kvfold::fail_memory(error, "attend");
  }
  return KVFOLD_OK;
}
