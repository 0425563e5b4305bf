// Seeded random memories, plans and slot permutations.
#include "cases.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>

#include "bounds.h"
#include "common/tensor.h"
#include "reference/convert.h"
#include "reference/rows.h"

namespace cases {
namespace {

constexpr uint8_t kGuard = 0xc3;
constexpr int32_t kTypes[] = {KVFOLD_F32,  KVFOLD_F16,  KVFOLD_BF16, KVFOLD_Q8_0,
                              KVFOLD_Q4_0, KVFOLD_Q4_1, KVFOLD_Q5_0, KVFOLD_Q5_1};

/// Mostly small, some up to 512; multiples of 8 where the type has no blocks.
uint32_t random_dim(int32_t type, Random *random) {
  const uint32_t most = random->below(16) == 0 ? 512 : 96;
  const uint32_t unit = kvfold::is_block_type(type) || random->coin() ? 32 : 8;
  return unit * (1 + random->below(most / unit));
}

/// A Hadamard block, or none.
uint32_t power_of_two_in(uint32_t dim, Random *random) {
  if (random->coin()) return 0;
  return dim % 64 == 0 ? 64 : dim % 32 == 0 ? 32 : 8;
}

kvfold_memory_layer random_layer(Random *random) {
  kvfold_memory_layer layer{};
  layer.kv_heads = 1 + random->below(3);
  layer.key_type = kTypes[random->below(8)];
  layer.value_type = kTypes[random->below(8)];
  layer.key_dim = random_dim(layer.key_type, random);
  layer.value_dim = random_dim(layer.value_type, random);
  const bool blocks = kvfold::is_block_type(layer.value_type);
  layer.value_transposed = !blocks && random->coin() ? 1 : 0;
  layer.rope_pairing = random->below(3);
  layer.rope_dims = layer.rope_pairing == 0 ? 0 : 2 * (1 + random->below(layer.key_dim / 2));
  layer.hadamard_key = power_of_two_in(layer.key_dim, random);
  layer.hadamard_value = power_of_two_in(layer.value_dim, random);
  return layer;
}

/// Numbers in [-1, 1) in the type of the tensor; free cells hold bytes that read as NaN.
void fill(const kvfold::Tensor &tensor, const std::vector<uint32_t> &slots, Random *random) {
  std::vector<double> values(tensor.dim);
  std::vector<uint8_t> slice(tensor.slice_bytes);
  for (uint32_t slot : slots) {
    for (uint32_t head = 0; head < tensor.heads; head++) {
      for (double &value : values) value = random->number();
      kvfold::reference::put(tensor.type, values.data(), values.size(), slice.data());
      kvfold::reference::store_slice(tensor, slot, head, slice.data());
    }
  }
}

std::vector<uint32_t> shuffled(uint32_t count, Random *random) {
  std::vector<uint32_t> order(count);
  for (uint32_t i = 0; i < count; i++) order[i] = i;
  for (uint32_t i = count; i > 1; i--) std::swap(order[i - 1], order[random->below(i)]);
  return order;
}

/// What cases are that differ in length.
struct Extent {
  uint32_t cells, capacity;
  bool is_long;  // at most 6 members a row, a quarter of the cells at least stays
};

/// Of the layers that `made` has.
void make_memory(Case *made, const Extent &extent, Random *random) {
  const uint32_t cells = extent.cells, capacity = extent.capacity;
  const auto layer_count = static_cast<uint32_t>(made->layers.size());
  made->frequencies.resize(layer_count);
  made->buffers.resize(size_t{2} * layer_count);
  made->memory = {KVFOLD_MEMORY_ABI, sizeof(kvfold_memory), sizeof(kvfold_memory_layer), layer_count, capacity, 1,
                  made->layers.data()};
  for (uint32_t l = 0; l < layer_count; l++) {
    for (uint32_t i = 0; i < made->layers[l].rope_dims / 2; i++)
      made->frequencies[l].push_back(std::pow(10000.0, -2.0 * i / made->layers[l].rope_dims));
  }
  const std::vector<uint32_t> order = shuffled(capacity, random);
  made->slots.assign(order.begin(), order.begin() + cells);
  if (random->coin()) std::sort(made->slots.begin(), made->slots.end());
  for (uint32_t i = 0; i < made->buffers.size(); i++) {
    const kvfold::Tensor shape = kvfold::tensor_of(made->memory, i / 2, i % 2);
    made->buffers[i].bytes.assign(shape.row_bytes * capacity + 2 * kGuardBytes, 0xff);
    std::fill_n(made->buffers[i].bytes.begin(), kGuardBytes, kGuard);
    std::fill_n(made->buffers[i].bytes.end() - kGuardBytes, kGuardBytes, kGuard);
  }
  made->bind();
  for (uint32_t i = 0; i < made->buffers.size(); i++)
    fill(kvfold::tensor_of(made->memory, i / 2, i % 2), made->slots, random);
}

void make_positions(Case *made, uint32_t cells, Random *random) {
  int32_t position = 0;
  for (uint32_t c = 0; c < cells; c++) made->positions.push_back(position += static_cast<int32_t>(random->below(4)));
  made->sources.resize(made->layers.size());
  made->source_spans.resize(made->layers.size());
  for (size_t l = 0; l < made->layers.size(); l++) {
    if (random->coin()) continue;
    for (size_t i = 0; i < size_t{made->layers[l].kv_heads} * cells; i++)
      made->sources[l].push_back(static_cast<int32_t>(random->below(static_cast<uint32_t>(position) + 3)));
  }
}

std::vector<float> random_weights(const Case &made, uint32_t *scope, size_t members, Random *random) {
  const uint32_t layers = made.memory.layer_count, heads = kvfold::most_heads(made.memory);
  *scope = random->below(3);
  const size_t groups = *scope == KVFOLD_SCOPE_ALL ? 1 : *scope == KVFOLD_SCOPE_LAYER ? layers : size_t{layers} * heads;
  std::vector<float> weights(groups * members);
  const uint32_t least = random->coin() ? 1 : 0;  // 1: every member counts
  for (float &weight : weights) {
    const uint32_t kind = std::max(least, random->below(6));
    weight = kind == 0 ? 0.0f : kind <= 2 ? 1.0f : static_cast<float>(2 * random->number());
  }
  return weights;
}

void make_shared(Case *made, const Extent &extent, Random *random) {
  const uint32_t cells = extent.cells;
  const std::vector<uint32_t> order = random->coin() ? shuffled(cells, random) : std::vector<uint32_t>();
  // now and then more members than kernels take at once, in a row and in a tile of rows
  const uint32_t most = !extent.is_long && cells > 90 && random->coin() ? 120 : 6;
  uint32_t used = 0;
  made->offsets.push_back(0);
  while (used < cells) {
    const uint32_t take = std::min(cells - used, 1 + random->below(most));
    const bool drop = made->offsets.size() > 1 && random->below(5) == 0;
    for (uint32_t i = used; i < used + take && !drop; i++) made->members.push_back(order.empty() ? i : order[i]);
    if (!drop) made->offsets.push_back(static_cast<uint32_t>(made->members.size()));
    used += take;
  }
  made->plan.layout = KVFOLD_SHARED;
  made->plan.key_frame = random->below(2);
  made->plan.rows = static_cast<uint32_t>(made->offsets.size() - 1);
  made->key_weights = random_weights(*made, &made->plan.key_weights.scope, made->members.size(), random);
  made->value_weights = random_weights(*made, &made->plan.value_weights.scope, made->members.size(), random);
}

void make_composite(Case *made, const Extent &extent, Random *random) {
  const uint32_t cells = extent.cells, heads = kvfold::most_heads(made->memory);
  made->plan.layout = KVFOLD_COMPOSITE;
  made->plan.rows = extent.is_long ? cells / 4 + random->below(cells / 4) : 1 + random->below(cells);
  made->plan.layers = made->memory.layer_count;
  made->plan.kv_heads = heads;
  for (uint32_t l = 0; l < made->memory.layer_count; l++) {
    std::vector<uint32_t> first;
    for (uint32_t h = 0; h < heads; h++) {
      std::vector<uint32_t> order = h == 0 || h < made->layers[l].kv_heads ? shuffled(cells, random) : first;
      if (h == 0) first = order;
      made->members.insert(made->members.end(), order.begin(), order.begin() + made->plan.rows);
    }
  }
}

void make_plan(Case *made, const Extent &extent, Random *random) {
  const uint32_t cells = extent.cells;
  made->plan.cells = cells;
  if (random->coin()) make_shared(made, extent, random);
  else make_composite(made, extent, random);
  int32_t position = 0;
  for (uint32_t r = 0; r < made->plan.rows; r++) {
    made->row_positions.push_back(position += static_cast<int32_t>(random->below(3)));
    made->counts.push_back(1);
  }
  made->plan.dropped = cells - made->plan.rows;
  std::vector<uint32_t> places = made->slots;  // over the sequence's own cells, or anywhere
  if (random->coin()) places = shuffled(made->memory.capacity, random);
  else std::sort(places.begin(), places.end());
  made->destinations.assign(places.begin(), places.begin() + made->plan.rows);
  std::sort(made->destinations.begin(), made->destinations.end());
}

/// All but the layers.
void finish(Case *made, uint32_t seed, const Extent &extent, Random *random) {
  make_memory(made, extent, random);
  make_positions(made, extent.cells, random);
  make_plan(made, extent, random);
  made->bind();
  char name[96];
  std::snprintf(name, sizeof name, "(seed %u, %u cells, %u layers, %s)", seed, extent.cells, made->memory.layer_count,
                made->plan.layout == KVFOLD_SHARED ? "shared" : "composite");
  made->name = name;
}

}  // namespace

bool Buffer::guards_hold() const {
  const auto guard = [](uint8_t byte) { return byte == kGuard; };
  return std::all_of(bytes.begin(), bytes.begin() + kGuardBytes, guard) &&
         std::all_of(bytes.end() - kGuardBytes, bytes.end(), guard);
}

bool Case::guards_hold() const {
  return std::all_of(buffers.begin(), buffers.end(), [](const Buffer &buffer) { return buffer.guards_hold(); });
}

bool Case::same_bytes(const std::vector<Buffer> &before) const {
  for (size_t i = 0; i < buffers.size(); i++) {
    if (buffers[i].bytes != before[i].bytes) return false;
  }
  return true;
}

void Case::bind() {
  for (size_t l = 0; l < layers.size(); l++) {
    layers[l].rope_frequencies = frequencies[l].empty() ? nullptr : frequencies[l].data();
    layers[l].keys = buffers[2 * l].data();
    layers[l].key_bytes = buffers[2 * l].size();
    layers[l].values = buffers[2 * l + 1].data();
    layers[l].value_bytes = buffers[2 * l + 1].size();
  }
  memory.layers = layers.data();
  for (size_t l = 0; l < source_spans.size(); l++) source_spans[l] = {sources[l].data(), sources[l].size()};
  target.memory = &memory;
  target.cells = static_cast<uint32_t>(slots.size());
  target.slots = {slots.data(), slots.size()};
  target.positions = {positions.data(), positions.size()};
  target.sources = source_spans.empty() ? nullptr : source_spans.data();
  target.destinations = {destinations.data(), destinations.size()};
  plan.positions = {row_positions.data(), row_positions.size()};
  plan.counts = {counts.data(), counts.size()};
  plan.members = {members.data(), members.size()};
  plan.offsets = {offsets.data(), offsets.size()};
  plan.bias = {bias.data(), bias.size()};
  plan.pins = {pins.data(), pins.size()};
  plan.key_weights.data = {key_weights.data(), key_weights.size()};
  plan.value_weights.data = {value_weights.data(), value_weights.size()};
  fit.free = values.given = {changed.data(), changed.size()};
  values.data = {given_values.data(), given_values.size()};
  target.bias = {cell_bias.data(), cell_bias.size()};
  for (size_t l = 0; l < query_layers.size(); l++) query_layers[l].rows = {query_rows[l].data(), query_rows[l].size()};
  sample = {{sample_positions.data(), sample_positions.size()}, query_layers.data(),
            static_cast<uint32_t>(query_layers.size())};
}

double fixed_point_slack(const Case &before, uint32_t tensor, uint32_t row, uint32_t head, size_t j, double largest) {
  const kvfold_plan &plan = before.plan;
  const kvfold::Tensor shape = kvfold::tensor_of(before.memory, tensor / 2, tensor % 2);
  if (shape.type != KVFOLD_Q8_0 || plan.layout != KVFOLD_SHARED) return 0;
  const kvfold_weights &weights = tensor % 2 == KVFOLD_KEYS ? plan.key_weights : plan.value_weights;
  const size_t heads = kvfold::most_heads(before.memory), begin = before.offsets[row], end = before.offsets[row + 1];
  std::vector<uint8_t> bytes(shape.slice_bytes);
  double magnitude = 0;
  for (size_t m = begin; m < end; m++) {
    kvfold::reference::load_slice(shape, before.slots[before.members[m]], head, bytes.data());
    uint16_t scale = 0;
    std::memcpy(&scale, bytes.data() + j / 32 * 34, sizeof scale);
    const double d = std::fabs(kvfold::reference::f16_to_double(scale));
    magnitude += 128 * d * std::fabs(kvfold::weight_of(weights, before.members.size(), heads, tensor / 2, head, m));
  }
  return bounds::fixed_point(static_cast<double>(end - begin), magnitude, largest);
}

std::unique_ptr<Case> random_case(uint32_t seed) {
  Random random(seed);
  auto made = std::make_unique<Case>();
  const uint32_t cells = seed % 8 == 0 ? 100 + random.below(200) : 1 + random.below(80);  // some of several blocks
  const uint32_t layers = 1 + random.below(3), capacity = cells + random.below(cells + 1);
  for (uint32_t l = 0; l < layers; l++) made->layers.push_back(random_layer(&random));
  finish(made.get(), seed, {cells, capacity, false}, &random);
  return made;
}

std::unique_ptr<Case> long_case(uint32_t seed) {
  Random random(seed);
  auto made = std::make_unique<Case>();
  kvfold_memory_layer layer{};
  layer.kv_heads = 2;
  layer.key_dim = layer.value_dim = 64;
  const int32_t types[][2] = {{KVFOLD_F16, KVFOLD_F16}, {KVFOLD_Q8_0, KVFOLD_Q8_0}, {KVFOLD_F32, KVFOLD_BF16},
                              {KVFOLD_Q8_0, KVFOLD_F16}, {KVFOLD_F16, KVFOLD_Q8_0}};
  for (const int32_t *type : types) {
    layer.key_type = type[0];
    layer.value_type = type[1];
    layer.value_transposed = made->layers.empty() ? 1 : 0;
    layer.rope_pairing = random.below(3);
    layer.rope_dims = layer.rope_pairing == 0 ? 0 : 64;
    made->layers.push_back(layer);
  }
  const uint32_t cells = 11000 + random.below(1000), free = random.coin() ? 0 : random.below(cells);
  finish(made.get(), seed, {cells, cells + free, true}, &random);
  return made;
}

}  // namespace cases
