// Query samples: made, read, copied and freed from TypeScript; fed by `decode`.
#include "queries.h"

#include <cstdint>
#include <set>

namespace kvfold {

namespace {

// The layers asked for whose queries can be found. @throws KVFOLD_ARGUMENT, KVFOLD_UNSUPPORTED
std::vector<QuerySource> sources_arg(const CacheInfo &cache, const Napi::Value &value) {
  const std::vector<uint32_t> wanted = array_arg<uint32_t>(value, "layers");
  std::set<uint32_t> seen;
  std::vector<QuerySource> sources;
  for (const uint32_t index : wanted) {
    if (index >= cache.layers.size() || !seen.insert(index).second)
      throw Failure("KVFOLD_ARGUMENT", "layers must be distinct indices into the layers of the cache");
    const CacheLayer &layer = cache.layers[index];
    if (layer.facts.query_node.empty())
      throw Failure("KVFOLD_UNSUPPORTED", "the queries of layer " + std::to_string(layer.index) + " are not understood");
    sources.push_back({layer.index, layer.facts.query_node, layer.facts.query_op,
                       static_cast<uint32_t>(layer.facts.query_heads), static_cast<uint32_t>(layer.facts.key_dim)});
  }
  return sources;
}

// startQueries(context, {maxPositions, newest, maxBytes, seed, layers}): a handle. Nothing is allocated beyond maxBytes.
Napi::Value start_queries(const Napi::CallbackInfo &info) {
  const auto context = context_arg(info[0]);
  if (!info[1].IsObject()) throw Failure("KVFOLD_ARGUMENT", "expected options");
  const Napi::Object given = info[1].As<Napi::Object>();
  const auto positions = static_cast<uint32_t>(integer_arg(given.Get("maxPositions"), "maxPositions", 1, INT32_MAX));
  const auto most = static_cast<uint64_t>(integer_arg(given.Get("maxBytes"), "maxBytes", 0, int64_t{1} << 53));
  const auto newest = static_cast<uint32_t>(integer_arg(given.Get("newest"), "newest", 0, positions));
  const auto seed = static_cast<uint64_t>(integer_arg(given.Get("seed"), "seed", 0, UINT32_MAX));
  std::vector<QuerySource> sources = sources_arg((*context)->foldable_cache(), given.Get("layers"));
  const uint64_t bytes = QueryTap::bytes_needed(sources, positions);
  if (bytes > most)
    throw Failure("KVFOLD_ARGUMENT",
                  "a sample of the queries at " + std::to_string(positions) + " positions needs " +
                      std::to_string(bytes) + " bytes, the limit is " + std::to_string(most),
                  "give smaller queryRows or larger queryBytes");
  auto tap = std::make_shared<QueryTap>(std::move(sources), positions, newest, seed);
  return wrap(info.Env(), std::make_shared<QueriesHandle>(std::move(tap)));
}

std::vector<uint16_t> in_order(const QueryTap &tap, size_t source, const std::vector<uint32_t> &order) {
  const size_t width = static_cast<size_t>(tap.sources()[source].heads) * tap.sources()[source].head_dim;
  std::vector<uint16_t> rows;
  rows.reserve(order.size() * width);
  for (const uint32_t slot : order) {
    const auto from = tap.rows(source).begin() + static_cast<ptrdiff_t>(slot * width);
    rows.insert(rows.end(), from, from + static_cast<ptrdiff_t>(width));
  }
  return rows;
}

struct Taken {
  std::vector<int32_t> positions;
  std::vector<std::vector<uint16_t>> rows;
  std::vector<uint32_t> heads;
};

Taken take_now(const QueryTap &tap) {
  const std::vector<uint32_t> order = tap.reservoir().order();
  Taken taken;
  for (const uint32_t slot : order) taken.positions.push_back(tap.reservoir().entries()[slot].position);
  for (size_t i = 0; i < tap.sources().size(); i++) {
    taken.rows.push_back(in_order(tap, i, order));
    taken.heads.push_back(tap.sources()[i].heads);
  }
  return taken;
}

Napi::Value taken_object(Napi::Env env, Taken &taken) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("positions", take_array<int32_t>(env, std::move(taken.positions)));
  Napi::Array layers = Napi::Array::New(env, taken.rows.size());
  for (uint32_t i = 0; i < taken.rows.size(); i++) {
    Napi::Object layer = Napi::Object::New(env);
    layer.Set("rows", take_array<uint16_t>(env, std::move(taken.rows[i])));
    layer.Set("heads", Napi::Number::New(env, taken.heads[i]));
    layers.Set(i, layer);
  }
  object.Set("layers", layers);
  return object;
}

// takeQueries(queries): promise of {positions, layers: [{rows, heads}]}, a copy; samples in the order of the reservoir, layers as
// asked for.
Napi::Value take_queries(const Napi::CallbackInfo &info) {
  auto held = std::make_shared<OwnedQueries>(unwrap<QueriesHandle>(info[0]));
  return Job<Taken>::start(
      info.Env(), [held = std::move(held)]() { return take_now(held->handle->tap()); }, taken_object);
}

// queryBytes(queries): what the sample occupies now.
Napi::Value query_bytes(const Napi::CallbackInfo &info) {
  const auto handle = unwrap<QueriesHandle>(info[0]);
  const HeldQueries held(*handle);
  const QueryTap &tap = handle->tap();
  const uint64_t bytes = QueryTap::bytes_needed(tap.sources(), tap.reservoir().entries().size());
  return Napi::Number::New(info.Env(), static_cast<double>(bytes));
}

// copyQueries(queries): a handle of its own; each goes on without the other. Nothing is copied before one does.
Napi::Value copy_queries(const Napi::CallbackInfo &info) {
  const auto handle = unwrap<QueriesHandle>(info[0]);
  const HeldQueries held(*handle);
  return wrap(info.Env(), std::make_shared<QueriesHandle>(handle->shared));
}

// takeBackQueries(queries, tokens): promise. The last tokens that were offered are gone.
Napi::Value take_back_queries(const Napi::CallbackInfo &info) {
  auto held = std::make_shared<OwnedQueries>(unwrap<QueriesHandle>(info[0]));
  const auto tokens = static_cast<uint64_t>(integer_arg(info[1], "tokens", 0, INT32_MAX));
  return Job<bool>::start(
      info.Env(),
      [held = std::move(held), tokens]() {
        held->handle->own_tap().take_back(tokens);
        return true;
      },
      [](Napi::Env env, bool &) { return env.Undefined(); });
}

// freeQueries(queries): promise. The sample cannot be used any more at once; twice does no harm.
Napi::Value free_queries(const Napi::CallbackInfo &info) {
  const auto handle = unwrap<QueriesHandle>(info[0]);
  auto tap = std::make_shared<std::shared_ptr<QueryTap>>();
  if (!handle->released) {
    const HeldQueries held(*handle);
    tap->swap(handle->shared);
    handle->released = true;
  }
  return Job<bool>::start(
      info.Env(),
      [tap]() {
        tap->reset();
        return true;
      },
      [](Napi::Env env, bool &) { return env.Undefined(); });
}

}  // namespace

void register_queries(Napi::Env env, Napi::Object exports) {
  exports.Set("startQueries", Napi::Function::New(env, guarded<start_queries>));
  exports.Set("takeQueries", Napi::Function::New(env, guarded<take_queries>));
  exports.Set("queryBytes", Napi::Function::New(env, guarded<query_bytes>));
  exports.Set("copyQueries", Napi::Function::New(env, guarded<copy_queries>));
  exports.Set("takeBackQueries", Napi::Function::New(env, guarded<take_back_queries>));
  exports.Set("freeQueries", Napi::Function::New(env, guarded<free_queries>));
}

}  // namespace kvfold
