// Random queries for attend and fit.
#include "queries.h"

#include <cmath>
#include <random>

#include "reference/convert.h"

namespace kvfold {
namespace bench {

void Queries::make(const Cache &cache, uint32_t rows) {
  const kvfold_memory_layer &layer = cache.layer();
  std::mt19937 random(3);
  rows_.resize(size_t{rows} * layer.kv_heads * layer.key_dim);
  for (uint16_t &bits : rows_)
    bits = reference::double_to_f16(static_cast<double>(random()) / 2147483648.0 - 1);
  for (uint32_t i = 0; i < rows; i++) positions_.push_back(static_cast<int32_t>(i % cache.cells()));
  // scores of about 1.3, root mean square: a softmax that is neither flat nor one cell
  layer_ = {layer.kv_heads, 4 / std::sqrt(static_cast<double>(layer.key_dim)), {rows_.data(), rows_.size()}};
  sample_ = {{positions_.data(), positions_.size()}, &layer_, 1};
}

kvfold_status Queries::turned(const Request &request, const Cache &cache, int32_t last, std::vector<float> *out,
                              kvfold_error *error) const {
  const kvfold_turn turn = {&cache.layer(), layer_, sample_.positions, last, kHorizon, request.query_rows};
  if (kvfold_status status = kvfold_check_turn(&turn, error)) return status;
  out->resize(size_t{cache.layer().kv_heads} * kvfold_turned_rows(&turn) * cache.layer().key_dim);
  const kvfold_options options = {request.threads, request.cancelled, request.cancelled_data, nullptr, 0};
  return request.backend->turn_queries(&turn, &options, out->data(), error);
}

kvfold_status Attention::make(const Request &asked, const Cache &cache, const Queries &sample, bool with_outputs,
                              kvfold_error *error) {
  const int32_t last = static_cast<int32_t>(cache.cells()) - 1;
  if (kvfold_status status = sample.turned(asked, cache, last, &queries, error)) return status;
  const size_t heads = cache.layer().kv_heads, slices = heads * cache.cells();
  for (std::vector<float> *statistic : {&maximum, &mean, &rms}) statistic->resize(slices);
  if (with_outputs) outputs.resize(heads * asked.query_rows * cache.layer().value_dim);
  request = {&cache.memory(), 0, cache.slots(), asked.query_rows, {queries.data(), queries.size()}, {nullptr, 0}};
  result = {maximum.data(), mean.data(), rms.data(), with_outputs ? outputs.data() : nullptr, 0};
  return kvfold_check_attention(&request, error);
}

}  // namespace bench
}  // namespace kvfold
