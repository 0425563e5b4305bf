// Random fits and given values for a case.
#include <algorithm>
#include <cmath>

#include "cases.h"
#include "common/tensor.h"
#include "reference/convert.h"

namespace cases {
namespace {

/// Marks up to `most` rows of each head, some of them with a number of up to `largest`.
void mark_rows(Case *one, uint32_t most, uint32_t largest, Random *random) {
  const uint32_t heads = kvfold::most_heads(one->memory), rows = one->plan.rows;
  one->changed.assign(size_t{one->memory.layer_count} * heads * rows, 0);
  for (uint32_t l = 0; l < one->memory.layer_count; l++) {
    for (uint32_t h = 0; h < one->layers[l].kv_heads; h++) {
      const uint32_t wanted = random->below(5) == 0 ? 0 : 1 + random->below(std::min(most, rows));
      for (uint32_t i = 0; i < wanted; i++)
        one->changed[(size_t{l} * heads + h) * rows + random->below(rows)] =
            static_cast<uint8_t>(random->below(3) == 0 ? 1 + random->below(largest) : 1);
    }
  }
}

void add_queries(Case *one, uint32_t samples, Random *random) {
  for (uint32_t i = 0; i < samples; i++) one->sample_positions.push_back(static_cast<int32_t>(random->below(500)));
  one->query_rows.resize(one->memory.layer_count);
  for (uint32_t l = 0; l < one->memory.layer_count; l++) {
    const kvfold_memory_layer &layer = one->layers[l];
    kvfold_query_layer queries{};
    queries.heads = layer.kv_heads * (1 + random->below(3));
    queries.scale = 4 / std::sqrt(static_cast<double>(layer.key_dim));  // scores of about 1.3, root mean square
    for (size_t i = 0; i < size_t{samples} * queries.heads * layer.key_dim; i++)
      one->query_rows[l].push_back(kvfold::reference::double_to_f16(random->number()));
    one->query_layers.push_back(queries);
  }
}

}  // namespace

bool Case::is_changed(uint32_t layer, uint32_t head, uint32_t row) const {
  if (changed.empty()) return false;
  return changed[(size_t{layer} * kvfold::most_heads(memory) + head) * plan.rows + row] != 0;
}

void add_fit(Case *one, uint32_t seed) {
  Random random(seed ^ 0x517u);
  const uint32_t samples = 40 + random.below(60);
  constexpr double kLambdas[] = {0.01, 0.1, 1};
  add_queries(one, samples, &random);
  one->fit.lambda = kLambdas[random.below(3)];
  one->fit.horizon = 1 + random.below(600);
  one->fit.max_rows = 30 + random.below(300);
  one->fit.holdout = 2 + random.below(5);
  uint32_t fewest = one->fit.max_rows;
  for (uint32_t l = 0; l < one->memory.layer_count; l++) {
    const uint32_t group = one->query_layers[l].heads / one->layers[l].kv_heads;
    const uint32_t rows = std::min(samples, one->fit.max_rows / group) * group;
    fewest = std::min(fewest, rows - rows / one->fit.holdout);
  }
  mark_rows(one, fewest / 4, seed % 3 == 0 ? 1 : UINT8_MAX, &random);
  for (uint32_t c = 0; c < one->plan.cells && seed % 2 == 0; c++)
    one->cell_bias.push_back(static_cast<float>(random.number()));
  for (uint32_t r = 0; r < one->plan.rows && seed % 3 == 0; r++)
    one->bias.push_back(static_cast<float>(random.number()));
  one->plan.fit = &one->fit;
  one->target.queries = &one->sample;
  one->bind();
}

void add_values(Case *one, uint32_t seed) {
  Random random(seed ^ 0x9e3u);
  mark_rows(one, one->plan.rows, 1, &random);
  for (uint32_t l = 0; l < one->memory.layer_count; l++) {
    for (uint32_t h = 0; h < one->layers[l].kv_heads; h++) {
      for (uint32_t row = 0; row < one->plan.rows; row++) {
        for (uint32_t j = 0; j < one->layers[l].value_dim && one->is_changed(l, h, row); j++)
          one->given_values.push_back(static_cast<float>(random.number()));
      }
    }
  }
  one->plan.values = &one->values;
  one->bind();
}

}  // namespace cases
