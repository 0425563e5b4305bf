// Plans over a cache of the benchmark.
#include "plans.h"

#include <random>

namespace kvfold {
namespace bench {
namespace {

/// Appends `count` rising cells of `cells`, all choices alike.
void pick(uint32_t cells, uint32_t count, std::mt19937 *random, std::vector<uint32_t> *into) {
  for (uint32_t cell = 0; count > 0; cell++) {
    if ((*random)() % (cells - cell) >= count) continue;
    into->push_back(cell);
    count--;
  }
}

}  // namespace

void Planned::begin(const Cache &cache, uint32_t ratio) {
  plan.cells = cache.cells();
  plan.rows = cache.cells() / ratio;
  plan.dropped = 0;
  for (uint32_t r = 0; r < plan.rows; r++) {
    positions.push_back(static_cast<int32_t>((r + 1) * ratio - 1));
    counts.push_back(1);
    destinations.push_back(r);
  }
  target.memory = &cache.memory();
  target.cells = cache.cells();
  target.slots = cache.slots();
  target.positions = cache.positions();
}

void Planned::bind() {
  plan.dropped = plan.cells;
  for (uint32_t count : counts) plan.dropped -= count;
  plan.positions = {positions.data(), positions.size()};
  plan.counts = {counts.data(), counts.size()};
  plan.members = {members.data(), members.size()};
  plan.offsets = {offsets.data(), offsets.size()};
  plan.key_weights.data = plan.value_weights.data = {weights.data(), weights.size()};
  target.destinations = {destinations.data(), destinations.size()};
}

void Planned::merge(const Cache &cache, uint32_t ratio, bool turned) {
  begin(cache, ratio);
  plan.layout = KVFOLD_SHARED;
  plan.key_frame = turned ? KVFOLD_FRAME_TARGET : KVFOLD_FRAME_STORED;
  for (uint32_t m = 0; m < plan.rows * ratio; m++) members.push_back(m);
  for (uint32_t r = 0; r <= plan.rows; r++) offsets.push_back(r * ratio);
  weights.assign(members.size(), 1.0f / static_cast<float>(ratio));
  counts.assign(plan.rows, ratio);
  bind();
}

void Planned::evict(const Cache &cache, uint32_t ratio) {
  begin(cache, ratio);
  plan.layout = KVFOLD_SHARED;
  std::mt19937 random(1);
  pick(plan.cells, plan.rows, &random, &members);
  for (uint32_t r = 0; r <= plan.rows; r++) offsets.push_back(r);
  weights.assign(members.size(), 1.0f);
  bind();
}

void Planned::composite(const Cache &cache, uint32_t ratio) {
  begin(cache, ratio);
  plan.layout = KVFOLD_COMPOSITE;
  plan.layers = cache.memory().layer_count;
  plan.kv_heads = cache.layer().kv_heads;
  std::mt19937 random(1);
  for (uint32_t head = 0; head < plan.layers * plan.kv_heads; head++) pick(plan.cells, plan.rows, &random, &members);
  bind();
}

kvfold_status Planned::check(kvfold_error *error) const {
  if (kvfold_status status = kvfold_check_target(&target, error)) return status;
  return kvfold_check_plan(&target, &plan, error);
}

double Planned::useful_bytes(const Cache &cache) const {
  const double slices = plan.layout == KVFOLD_COMPOSITE ? plan.rows : static_cast<double>(members.size());
  return (slices + plan.rows) * cache.cell_bytes();
}

}  // namespace bench
}  // namespace kvfold
