// The cells of a sequence: map, destinations, metadata, bias.
#include "context.h"

namespace kvfold {

namespace {

Napi::Value map_object(Napi::Env env, const CellMap &map) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("slots", to_array<uint32_t>(env, map.slots));
  object.Set("positions", to_array<int32_t>(env, map.positions));
  object.Set("shared", Napi::Number::New(env, map.shared));
  return object;
}

// cellMap(context, sequence): {slots, positions, shared}, by ascending slot.
Napi::Value cell_map_of(const Napi::CallbackInfo &info) {
  const auto context = context_arg(info[0]);
  const CacheInfo &cache = (*context)->cache();
  const llama_seq_id sequence = sequence_arg(*context, info[1]);
  if (cache.cache == nullptr) (*context)->foldable_cache();
  return map_object(info.Env(), cell_map(cache, sequence));
}

// recordedCellMap(context, sequence): the same from the state writer.
Napi::Value recorded_map_of(const Napi::CallbackInfo &info) {
  const auto context = context_arg(info[0]);
  return map_object(info.Env(), recorded_cell_map((*context)->foldable_cache(), sequence_arg(*context, info[1])));
}

// lowestCells(context, sequence, count): Uint32Array, ascending.
Napi::Value lowest_cells_of(const Napi::CallbackInfo &info) {
  const auto context = context_arg(info[0]);
  const CacheInfo &cache = (*context)->foldable_cache();
  const llama_seq_id sequence = sequence_arg(*context, info[1]);
  const auto count = static_cast<uint32_t>(integer_arg(info[2], "count", 1, cache.cells));
  return to_array<uint32_t>(info.Env(), lowest_cells(cache, sequence, count));
}

// commitCells(context, sequence, positions, destinations, failAt): promise of the read calls made. After a failure: restore.
Napi::Value commit_cells_of(const Napi::CallbackInfo &info) {
  auto context = context_arg(info[0]);
  const CacheInfo &cache = (*context)->foldable_cache();
  const llama_seq_id sequence = sequence_arg(*context, info[1]);
  const std::vector<int32_t> positions = array_arg<int32_t>(info[2], "positions");
  const std::vector<uint32_t> destinations = array_arg<uint32_t>(info[3], "destinations");
  const int64_t fail_at = integer_arg(info[4], "failAt", -1, INT32_MAX);
  return Job<int64_t>::start(
      info.Env(),
      [context = std::move(context), &cache, sequence, positions, destinations, fail_at]() {
        llama_synchronize((*context)->context());
        return commit_cells(cache, sequence, positions, destinations, fail_at);
      },
      [](Napi::Env env, int64_t &reads) { return Napi::Number::New(env, static_cast<double>(reads)); });
}

// setBias(context, sequence, slots, bias): replaces all entries of the sequence's stream. Zeros are left out.
Napi::Value set_bias(const Napi::CallbackInfo &info) {
  const auto context = context_arg(info[0]);
  const CacheInfo &cache = (*context)->foldable_cache();
  const uint32_t stream = stream_of(cache, sequence_arg(*context, info[1]));
  const std::vector<uint32_t> slots = array_arg<uint32_t>(info[2], "slots");
  const std::vector<float> values = array_arg<float>(info[3], "bias");
  if (slots.size() != values.size()) throw Failure("KVFOLD_ARGUMENT", "slots and bias must have the same length");
  CellBias::Entries entries;
  for (size_t i = 0; i < slots.size(); i++) {
    if (slots[i] >= cache.cells || !(std::abs(values[i]) < 16.0f))
      throw Failure("KVFOLD_ARGUMENT", "a slot or a bias is out of range");
    if (values[i] != 0.0f) entries.emplace_back(slots[i], values[i]);
  }
  (*context)->bias().replace(stream, std::move(entries));
  (*context)->update_callback();
  return info.Env().Undefined();
}

// biasRewrites(context): masks rewritten so far.
Napi::Value bias_rewrites(const Napi::CallbackInfo &info) {
  return Napi::Number::New(info.Env(), static_cast<double>((*context_arg(info[0]))->bias().rewrites()));
}

}  // namespace

void register_cells(Napi::Env env, Napi::Object exports) {
  exports.Set("cellMap", Napi::Function::New(env, guarded<cell_map_of>));
  exports.Set("recordedCellMap", Napi::Function::New(env, guarded<recorded_map_of>));
  exports.Set("lowestCells", Napi::Function::New(env, guarded<lowest_cells_of>));
  exports.Set("commitCells", Napi::Function::New(env, guarded<commit_cells_of>));
  exports.Set("setBias", Napi::Function::New(env, guarded<set_bias>));
  exports.Set("biasRewrites", Napi::Function::New(env, guarded<bias_rewrites>));
}

}  // namespace kvfold
