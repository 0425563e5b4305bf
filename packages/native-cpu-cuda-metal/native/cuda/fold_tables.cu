// Tables of a fold: the plan goes over in one copy, and one kernel finds out what every slice is made of.
#include <algorithm>
#include <cstring>

#include "common/queries.h"
#include "cuda/fold.h"

namespace kvfold {
namespace cuda {
namespace {

constexpr uint32_t kThreads = 256;
constexpr uint32_t kKinds = 4;  // copies, sums, turns, stored

/// Host arrays on their way to the device in one copy; places are kept as offsets until the memory is there.
class Packer {
 public:
  template <typename T>
  size_t add(const T *from, size_t count) {
    const size_t at = (bytes_.size() + 15) / 16 * 16;
    bytes_.resize(at + count * sizeof(T));
    if (count > 0) std::memcpy(bytes_.data() + at, from, count * sizeof(T));
    return at;
  }
  template <typename T>
  size_t add(const std::vector<T> &from) {
    return add(from.data(), from.size());
  }
  const std::vector<uint8_t> &bytes() const { return bytes_; }

 private:
  std::vector<uint8_t> bytes_;
};

/// One thread a slice.
__global__ void find_entries(const TensorTable *tensors, PlanTable plan, uint32_t *counts) {
  const TensorTable tensor = tensors[blockIdx.y];
  const uint64_t at = uint64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (at >= uint64_t{tensor.heads} * plan.written_count) return;
  const uint32_t head = static_cast<uint32_t>(at / plan.written_count);
  const uint32_t index = static_cast<uint32_t>(at % plan.written_count), row = plan.written[index];
  uint32_t entry = kStored, kind = 3;
  if (tensor.stored_index == nullptr || tensor.stored_index[size_t{head} * plan.rows + row] == kNone) {
    const Made made = classify(tensor, plan, row, head);
    entry = made.kind;
    kind = made.kind == kTurn ? 2 : 1;
    if (made.kind == kSkip) {
      const uint32_t slot = plan.slots[made.cell], logged = plan.log_of_slot[slot];
      kind = 0;
      if (slot == plan.destinations[row]) entry = kSkip;
      else entry = logged == kNone ? slot : kFromLog | logged;
    }
  }
  tensor.entries[at] = entry;
  if (entry != kSkip) atomicAdd(counts + blockIdx.y * kKinds + kind, 1u);
}

/// Whether keys stay where they were rotated, whatever the head.
bool never_turns(const kvfold_target &target, const kvfold_plan &plan, uint32_t row, uint32_t cell) {
  if (plan.key_frame != KVFOLD_FRAME_TARGET) return true;
  for (uint32_t l = 0; l < target.memory->layer_count; l++) {
    const kvfold_memory_layer &layer = target.memory->layers[l];
    if (layer.rope_pairing == KVFOLD_ROPE_NONE) continue;
    for (uint32_t h = 0; h < layer.kv_heads; h++) {
      if (source_position(target, l, h, cell) != plan.positions.data[row]) return false;
      if (target.sources == nullptr || target.sources[l].length == 0) break;
    }
  }
  return true;
}

bool all_ones(const kvfold_weights &weights, size_t members, size_t member) {
  for (size_t at = member; at < weights.data.length; at += members) {
    if (weights.data.data[at] != 1.0f) return false;
  }
  return true;
}

bool is_kept(const kvfold_target &target, const kvfold_plan &plan, uint32_t row) {
  const uint32_t member = plan.offsets.data[row];
  if (plan.offsets.data[row + 1] != member + 1) return false;
  const uint32_t cell = plan.members.data[member];
  const size_t members = plan.members.length;
  return target.slots.data[cell] == target.destinations.data[row] && all_ones(plan.key_weights, members, member) &&
         all_ones(plan.value_weights, members, member) && never_turns(target, plan, row, cell);
}

struct Places {
  size_t offsets, members, slots, cell_positions, row_positions, destinations, written, log_of_slot, spans, found;
  size_t key_weights, value_weights;
  std::vector<size_t> frequencies, sources;
};

Places pack(const Fold &fold, const Part &part, Packer *packer) {
  const kvfold_target &target = *fold.target;
  const kvfold_plan &plan = *fold.plan;
  std::vector<uint32_t> log_of_slot(target.memory->capacity, kNone), found;
  for (uint32_t i = 0; i < fold.written.size(); i++) log_of_slot[target.destinations.data[fold.written[i]]] = i;
  std::vector<uint2> spans;
  if (plan.layout == KVFOLD_SHARED) {
    for (uint64_t m = 0; m < plan.members.length; m++) {
      const uint32_t slot = target.slots.data[plan.members.data[m]], logged = log_of_slot[slot];
      found.push_back(logged == kNone ? slot : kFromLog | logged);
    }
    for (uint32_t row : fold.written) spans.push_back({plan.offsets.data[row], plan.offsets.data[row + 1]});
  }
  Places at{};
  at.offsets = packer->add(plan.offsets.data, plan.layout == KVFOLD_SHARED ? plan.offsets.length : 0);
  at.members = packer->add(plan.members.data, plan.members.length);
  at.slots = packer->add(target.slots.data, target.slots.length);
  at.cell_positions = packer->add(target.positions.data, target.positions.length);
  at.row_positions = packer->add(plan.positions.data, plan.positions.length);
  at.destinations = packer->add(target.destinations.data, target.destinations.length);
  at.written = packer->add(fold.written);
  at.log_of_slot = packer->add(log_of_slot);
  at.spans = packer->add(spans);
  at.found = packer->add(found);
  const bool weighted = plan.layout == KVFOLD_SHARED;
  at.key_weights = packer->add(plan.key_weights.data.data, weighted ? plan.key_weights.data.length : 0);
  at.value_weights = packer->add(plan.value_weights.data.data, weighted ? plan.value_weights.data.length : 0);
  for (uint32_t id : part.tensors) {
    const kvfold_memory_layer &layer = target.memory->layers[id / 2];
    const bool turns = id % 2 == KVFOLD_KEYS && layer.rope_pairing != KVFOLD_ROPE_NONE;
    const bool mapped = turns && target.sources != nullptr && target.sources[id / 2].length != 0;
    at.frequencies.push_back(packer->add(layer.rope_frequencies, turns ? layer.rope_dims / 2 : 0));
    at.sources.push_back(mapped ? packer->add(target.sources[id / 2].data, target.sources[id / 2].length) : SIZE_MAX);
  }
  return at;
}

template <typename T>
const T *placed(const Part &part, size_t offset) {
  return reinterpret_cast<const T *>(part.packed.data() + offset);
}

PlanTable plan_table(const Fold &fold, const Part &part, const Places &at) {
  const kvfold_plan &plan = *fold.plan;
  PlanTable out{};
  out.composite = plan.layout == KVFOLD_COMPOSITE ? 1 : 0;
  out.target_frame = plan.layout == KVFOLD_SHARED && plan.key_frame == KVFOLD_FRAME_TARGET ? 1 : 0;
  out.cells = plan.cells;
  out.rows = plan.rows;
  out.written_count = static_cast<uint32_t>(fold.written.size());
  out.members_count = static_cast<uint32_t>(plan.members.length);
  out.most_heads = most_heads(*fold.target->memory);
  out.plan_heads = plan.kv_heads;
  out.offsets = placed<uint32_t>(part, at.offsets);
  out.members = placed<uint32_t>(part, at.members);
  out.slots = placed<uint32_t>(part, at.slots);
  out.cell_positions = placed<int32_t>(part, at.cell_positions);
  out.row_positions = placed<int32_t>(part, at.row_positions);
  out.destinations = placed<uint32_t>(part, at.destinations);
  out.written = placed<uint32_t>(part, at.written);
  out.log_of_slot = placed<uint32_t>(part, at.log_of_slot);
  out.spans = placed<uint2>(part, at.spans);
  out.found = placed<uint32_t>(part, at.found);
  return out;
}

/// All but log, entries and stored slices.
TensorTable tensor_table(const Fold &fold, const Part &part, const Places &at, size_t index) {
  const uint32_t id = part.tensors[index];
  const Tensor tensor = fold.tensor(id);
  const kvfold_memory_layer &layer = fold.target->memory->layers[id / 2];
  const bool keys = id % 2 == KVFOLD_KEYS;
  const kvfold_weights &weights = keys ? fold.plan->key_weights : fold.plan->value_weights;
  TensorTable out{};
  out.data = tensor.data;
  if (fold.plan->layout == KVFOLD_SHARED) out.weights = placed<float>(part, keys ? at.key_weights : at.value_weights);
  if (at.sources[index] != SIZE_MAX) out.sources = placed<int32_t>(part, at.sources[index]);
  out.frequencies = placed<double>(part, at.frequencies[index]);
  out.capacity = tensor.capacity;
  out.row_bytes = tensor.row_bytes;
  out.slice_bytes = static_cast<uint32_t>(tensor.slice_bytes);
  out.element_bytes = static_cast<uint32_t>(tensor.element_bytes);
  out.heads = tensor.heads;
  out.dim = tensor.dim;
  out.type = tensor.type;
  out.transposed = tensor.transposed ? 1 : 0;
  out.hadamard = tensor.hadamard;
  out.pairing = keys ? layer.rope_pairing : 0;
  out.pairs = out.pairing == KVFOLD_ROPE_NONE ? 0 : layer.rope_dims / 2;
  out.scope = weights.scope;
  out.layer = id / 2;
  out.keys = keys ? 1 : 0;
  return out;
}

/// Numbers the changed values of the part's layers, and reserves their slices.
kvfold_status reserve_stored(Fold *fold, Part *part, kvfold_error *error) {
  const kvfold_u8_span *mask = changed_values(*fold->plan);
  if (mask == nullptr) return KVFOLD_OK;
  const size_t max_heads = most_heads(*fold->target->memory);
  size_t bytes = 0;
  std::vector<size_t> starts;
  for (const TensorTable &table : part->tables) {
    starts.push_back(bytes);
    uint32_t count = 0;
    for (uint32_t h = 0; h < table.heads && table.keys == 0; h++) {
      for (uint32_t row = 0; row < fold->plan->rows; row++) {
        const bool marked = is_marked(*mask, *fold->plan, max_heads, table.layer, h, row);
        part->stored_host.push_back(marked ? count++ : kNone);
      }
    }
    bytes += (size_t{count} * table.slice_bytes + 15) / 16 * 16;
  }
  if (kvfold_status status = part->stored.allocate(part->device, bytes, "changed values", error)) return status;
  if (kvfold_status status = part->stored_index.allocate(part->device, part->stored_host.size(), "values", error))
    return status;
  size_t at = 0;
  for (size_t i = 0; i < part->tables.size(); i++) {
    TensorTable &table = part->tables[i];
    if (table.keys != 0) continue;
    table.stored = part->stored.data() + starts[i];
    table.stored_index = part->stored_index.data() + at;
    at += size_t{table.heads} * fold->plan->rows;
  }
  fold->held_bytes += bytes;
  return KVFOLD_OK;
}

kvfold_status reserve_log(Fold *fold, Part *part, kvfold_error *error) {
  const size_t written = fold->written.size();
  size_t bytes = 0, slices = 0;
  std::vector<size_t> starts;
  // every log is at most its tensor, whose size kvfold_check_memory has multiplied out
  for (const TensorTable &table : part->tables) {
    starts.push_back(bytes);
    bytes += (written * static_cast<size_t>(table.row_bytes) + 255) / 256 * 256;
    slices += written * table.heads;
  }
  if (kvfold_status status = part->log.allocate(part->device, bytes, "the undo log", error)) return status;
  if (kvfold_status status = part->entries.allocate(part->device, slices, "the table of slices", error)) return status;
  fold->held_bytes += bytes;
  size_t at = 0;
  for (size_t i = 0; i < part->tables.size(); i++) {
    TensorTable &table = part->tables[i];
    table.log = part->log.data() + starts[i];
    table.entries = part->entries.data() + at;
    table.grain = grain_of(table);
    at += written * table.heads;
  }
  return KVFOLD_OK;
}

/// Which launch takes which tensors; tensors of one kind and of all types go together, those without work stay out.
kvfold_status build_groups(Part *part, const std::vector<uint32_t> &counts, kvfold_error *error) {
  const uint32_t tensors = static_cast<uint32_t>(part->tables.size());
  for (uint32_t i = 0; i < tensors; i++) {
    const TensorTable &table = part->tables[i];
    const uint32_t *count = counts.data() + size_t{i} * kKinds;
    part->moves[table.transposed].members.push_back(i);
    if (count[0] + count[3] > 0 || (table.transposed != 0 && count[1] > 0))
      part->copies[table.transposed].members.push_back(i);
    if (table.transposed == 0 && count[1] > 0) part->sums.members.push_back(i);
    if (count[2] > 0) part->turns.members.push_back(i);
  }
  Group *groups[] = {&part->moves[0], &part->moves[1], &part->copies[0], &part->copies[1], &part->sums, &part->turns};
  std::vector<uint32_t> ids;
  for (uint32_t i = 0; i < tensors; i++) ids.push_back(i);
  std::vector<size_t> starts;
  for (Group *group : groups) {
    // neighbours in a launch share type and width, so that a block never waits for another kind of work
    std::stable_sort(group->members.begin(), group->members.end(), [part](uint32_t a, uint32_t b) {
      const TensorTable &x = part->tables[a], &y = part->tables[b];
      return x.type != y.type ? x.type < y.type : x.grain < y.grain;
    });
    starts.push_back(ids.size());
    ids.insert(ids.end(), group->members.begin(), group->members.end());
  }
  if (kvfold_status status = part->ids.upload(part->device, ids.data(), ids.size(), "the table of tensors", error))
    return status;
  for (size_t i = 0; i < starts.size(); i++) groups[i]->ids = part->ids.data() + starts[i];
  return part->device->wait(error);  // `ids` goes
}

}  // namespace

std::vector<uint32_t> written_rows(const kvfold_target &target, const kvfold_plan &plan) {
  const bool changes = changed_values(plan) != nullptr;
  std::vector<uint32_t> rows;
  for (uint32_t row = 0; row < plan.rows; row++) {
    if (changes || plan.layout != KVFOLD_SHARED || !is_kept(target, plan, row)) rows.push_back(row);
  }
  return rows;
}

kvfold_status build_tables(Fold *fold, Part *part, kvfold_error *error) {
  if (kvfold_status status = part->device->use(error)) return status;
  Packer packer;
  const Places at = pack(*fold, *part, &packer);
  const std::vector<uint8_t> &bytes = packer.bytes();
  if (kvfold_status status = part->packed.upload(part->device, bytes.data(), bytes.size(), "the plan", error))
    return status;
  part->plan = plan_table(*fold, *part, at);
  for (size_t i = 0; i < part->tensors.size(); i++) part->tables.push_back(tensor_table(*fold, *part, at, i));
  part->saved.assign(part->tensors.size(), 0);
  if (kvfold_status status = reserve_stored(fold, part, error)) return status;
  if (kvfold_status status = reserve_log(fold, part, error)) return status;
  if (kvfold_status status =
          part->table.upload(part->device, part->tables.data(), part->tables.size(), "the table of tensors", error))
    return status;
  return part->device->wait(error);  // the packed bytes go
}

kvfold_status build_entries(Fold *fold, Part *part, kvfold_error *error) {
  if (kvfold_status status = part->device->use(error)) return status;
  const size_t indices = part->stored_host.size() * sizeof(uint32_t);
  if (kvfold_status status = part->device->upload(part->stored_index.data(), part->stored_host.data(), indices, error))
    return status;
  std::vector<uint32_t> counts(part->tables.size() * kKinds, 0);
  Buffer<uint32_t> counted;
  if (kvfold_status status = counted.upload(part->device, counts.data(), counts.size(), "counts", error)) return status;
  uint32_t heads = 0;
  for (const TensorTable &table : part->tables) heads = std::max(heads, table.heads);
  const uint64_t slices = uint64_t{heads} * fold->written.size();
  if (slices > 0) {
    const dim3 grid(ceil_div(slices, kThreads), static_cast<uint32_t>(part->tables.size()));
    const cudaError_t code =
        launch(find_entries, grid, kThreads, part->device->stream(), part->table.data(), part->plan, counted.data());
    if (kvfold_status status = check(code, "finding slices", error)) return status;
  }
  if (kvfold_status status =
          part->device->download(counts.data(), counted.data(), counts.size() * sizeof(uint32_t), error))
    return status;
  return build_groups(part, counts, error);
}

}  // namespace cuda
}  // namespace kvfold
