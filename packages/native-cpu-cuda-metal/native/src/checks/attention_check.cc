// What a request to turn queries or to attend must look like before a pointer of it is used.
#include <algorithm>
#include <cmath>

#include "attention.h"
#include "checks/span_check.h"
#include "common/error.h"
#include "common/tensor.h"
#include "kvfold/backend.h"

namespace kvfold {
namespace {

unsigned long long wide(uint64_t value) { return value; }

kvfold_status check_layer_queries(const kvfold_turn &turn, kvfold_error *error) {
  const kvfold_query_layer &queries = turn.queries;
  const uint32_t kv_heads = turn.layer->kv_heads;
  if (queries.heads == 0 || queries.heads > KVFOLD_MAX_QUERY_HEADS || queries.heads % kv_heads != 0)
    return fail(error, KVFOLD_STATUS_ARGUMENT, "%u query heads do not belong to %u KV heads", queries.heads, kv_heads);
  if (!(std::fabs(queries.scale) <= 1e6))
    return fail(error, KVFOLD_STATUS_ARGUMENT, "the attention scale is %g", queries.scale);
  // samples are below 2^27, heads at most 2^16, channels at most 2^13
  const uint64_t needed = turn.positions.length * queries.heads * turn.layer->key_dim;
  if (queries.rows.length != needed)
    return fail(error, KVFOLD_STATUS_ARGUMENT, "the queries have %llu numbers, %llu samples of %u heads need %llu",
                wide(queries.rows.length), wide(turn.positions.length), queries.heads, wide(needed));
  return KVFOLD_OK;
}

}  // namespace
}  // namespace kvfold

using namespace kvfold;

extern "C" uint32_t kvfold_turned_rows(const kvfold_turn *turn) {
  const uint64_t group = turn->queries.heads / turn->layer->kv_heads;
  return static_cast<uint32_t>(std::min(turn->positions.length, turn->max_rows / group) * group);
}

extern "C" kvfold_status kvfold_check_turn(const kvfold_turn *turn, kvfold_error *error) {
  if (kvfold_status status = kvfold_check_layer(turn->layer, 0, error)) return status;
  if (turn->positions.length == 0 || turn->positions.length > KVFOLD_MAX_CELLS)
    return fail(error, KVFOLD_STATUS_ARGUMENT, "the sample has %llu queries", wide(turn->positions.length));
  if (is_missing(turn->positions) || is_missing(turn->queries.rows)) return fail_missing(error, "queries");
  if (turn->horizon == 0) return fail(error, KVFOLD_STATUS_ARGUMENT, "a horizon of 0 positions");
  if (kvfold_status status = check_layer_queries(*turn, error)) return status;
  const uint32_t group = turn->queries.heads / turn->layer->kv_heads;
  if (turn->max_rows < group)
    return fail(error, KVFOLD_STATUS_ARGUMENT, "%u query rows are less than the %u heads of one sample",
                turn->max_rows, group);
  const uint64_t samples = std::min<uint64_t>(turn->positions.length, turn->max_rows / group);
  if (samples * group > KVFOLD_ATTENTION_MAX_ROWS)
    return fail(error, KVFOLD_STATUS_PLAN_LIMIT, "%llu query rows a head, the limit is %u", wide(samples * group),
                KVFOLD_ATTENTION_MAX_ROWS);
  return KVFOLD_OK;
}

extern "C" kvfold_status kvfold_check_attention(const kvfold_attention *attention, kvfold_error *error) {
  kvfold_read read{};
  read.memory = attention->memory;
  read.layer = attention->layer;
  read.slots = attention->slots;
  if (kvfold_status status = kvfold_check_read(&read, error)) return status;
  if (attention->slots.length == 0) return fail(error, KVFOLD_STATUS_ARGUMENT, "no cells to attend to");
  if (attention->rows == 0 || attention->rows > KVFOLD_ATTENTION_MAX_ROWS)
    return fail(error, KVFOLD_STATUS_ARGUMENT, "%u query rows a head, allowed are 1 to %u", attention->rows,
                KVFOLD_ATTENTION_MAX_ROWS);
  const kvfold_memory_layer &layer = attention->memory->layers[attention->layer];
  const uint64_t needed = uint64_t{layer.kv_heads} * attention->rows * layer.key_dim;
  if (attention->queries.length != needed)
    return fail(error, KVFOLD_STATUS_ARGUMENT, "the queries have %llu numbers, %u heads of %u rows need %llu",
                wide(attention->queries.length), layer.kv_heads, attention->rows, wide(needed));
  if (is_missing(attention->queries) || is_missing(attention->bias)) return fail_missing(error, "queries or bias");
  if (attention->bias.length != 0 && attention->bias.length != attention->slots.length)
    return fail(error, KVFOLD_STATUS_ARGUMENT, "bias has %llu entries for %llu cells", wide(attention->bias.length),
                wide(attention->slots.length));
  return KVFOLD_OK;
}
