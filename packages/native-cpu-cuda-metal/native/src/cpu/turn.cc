// Sampled queries, turned to positions after the context: samples in parallel, each by one thread from start to end.
#include <algorithm>
#include <atomic>
#include <vector>

#include "common/error.h"
#include "common/queries.h"
#include "cpu/attend.h"
#include "cpu/fold.h"
#include "cpu/half.h"
#include "cpu/pool.h"
#include "cpu/read.h"
#include "cpu/rope.h"

namespace kvfold {
namespace cpu {
namespace {

constexpr size_t kSamplesOfTask = 64;

/// All rows of one sample: the heads of the group of every KV head in [from, to).
void turn_sample(const kvfold_turn &turn, uint32_t from, uint32_t to, size_t sample, size_t samples, Angles *angles,
                 float *out) {
  const kvfold_memory_layer &layer = *turn.layer;
  const size_t group = turn.queries.heads / layer.kv_heads, dim = layer.key_dim;
  const bool turned = layer.rope_pairing != KVFOLD_ROPE_NONE;
  if (turned) angles->set(layer, turn_delta(turn, sample));
  for (size_t head = from * group; head < to * group; head++) {
    const uint16_t *query = turn.queries.rows.data + (sample * turn.queries.heads + head) * dim;
    float *row = out + ((head / group - from) * samples * group + sample * group + head % group) * dim;
    for (size_t j = 0; j < dim; j++) row[j] = static_cast<float>(f16_to_f32(query[j]) * turn.queries.scale);
    if (turned) rotate(layer, *angles, row);
  }
}

}  // namespace

bool turn_heads(const kvfold_turn &turn, uint32_t from, uint32_t to, const kvfold_options &options, float *out) {
  const size_t group = turn.queries.heads / turn.layer->kv_heads, samples = kvfold_turned_rows(&turn) / group;
  std::vector<AngleSpace> angles(options.threads, AngleSpace(turn.layer->key_dim));
  for (AngleSpace &space : angles) space.bind();
  std::atomic<bool> stop{false};
  parallel_for(options.threads, (samples + kSamplesOfTask - 1) / kSamplesOfTask, [&](size_t task, uint32_t worker) {
    if (stop.load(std::memory_order_relaxed)) return;
    if (cancelled(&options)) return stop.store(true, std::memory_order_relaxed);
    for (size_t i = task * kSamplesOfTask; i < std::min(samples, (task + 1) * kSamplesOfTask); i++)
      turn_sample(turn, from, to, i, samples, &angles[worker].angles, out);
  });
  return !stop.load();
}

kvfold_status turn_queries(const kvfold_turn *turn, const kvfold_options *options, float *out, kvfold_error *error) {
  try {
    return turn_heads(*turn, 0, turn->layer->kv_heads, *options, out) ? KVFOLD_OK : fail_aborted(error);
  } catch (...) {
    return fail_memory(error, "turning queries");
  }
}

}  // namespace cpu
}  // namespace kvfold
