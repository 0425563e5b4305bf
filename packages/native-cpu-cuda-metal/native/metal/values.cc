// Rows of floats that become slices of a fold's scratch, and values that a plan gives.
#include "metal/values.h"

#include <memory>

#include "common/error.h"
#include "common/queries.h"

namespace kvfold {
namespace metal {

bool SliceStore::load(const std::vector<uint32_t> &numbers, const Tensor &tensor) {
  rows_ = static_cast<uint32_t>(numbers.size());
  chunks_ = chunks_of(tensor.dim);
  return numbers_.assign(numbers.data(), numbers.size()) && unstorable_.allocate(uint64_t{rows_} * chunks_) &&
         trial_.allocate(0);
}

bool SliceStore::allocate_trial(const Tensor &tensor) {
  return trial_.allocate(uint64_t{rows_} * tensor.slice_bytes);
}

void SliceStore::encode(Work *work, const TensorWork &of, uint32_t before, uint32_t count, const Buffer &rows,
                        bool store) const {
  const EncodeParameters parameters = {0, of.cache.layout(), rows_, chunks_, before, count, store ? 1u : 0u};
  work->run("encode_rows", parameters, uint64_t{rows_} * chunks_, {rows, of.scratch, numbers_, unstorable_, trial_});
}

int64_t SliceStore::first_unstorable() const {
  for (uint64_t i = 0; i < unstorable_.bytes(); i++) {
    if (unstorable_.as<uint8_t>()[i] != 0) return static_cast<int64_t>(i / chunks_);
  }
  return -1;
}

namespace {

/// The given rows of one head, until the GPU is done with them.
struct GivenHead {
  std::vector<uint32_t> rows;
  Buffer values;
  SliceStore store;
};

const float *first_given(const Fold &fold, uint32_t layer) {
  const float *given = fold.plan->values->data.data;
  const kvfold_memory &memory = *fold.target->memory;
  for (uint32_t l = 0; l < layer; l++) {
    for (uint32_t h = 0; h < memory.layers[l].kv_heads; h++)
      given += size_t{marked_rows(fold.plan->values->given, *fold.target, *fold.plan, l, h)} *
               memory.layers[l].value_dim;
  }
  return given;
}

}  // namespace

kvfold_status store_given(const Fold &fold, uint32_t layer, Work *work, kvfold_error *error) {
  const kvfold_plan &plan = *fold.plan;
  const uint32_t index = 2 * layer + KVFOLD_VALUES;
  const Tensor tensor = fold.tensor(index);
  const size_t max_heads = most_heads(*fold.target->memory);
  const float *given = first_given(fold, layer);
  std::vector<GivenHead> heads(tensor.heads);
  for (uint32_t head = 0; head < tensor.heads; head++) {
    GivenHead &one = heads[head];
    std::vector<uint32_t> numbers;
    for (uint32_t row = 0; row < plan.rows; row++) {
      if (!is_marked(plan.values->given, plan, max_heads, layer, head, row)) continue;
      one.rows.push_back(row);
      numbers.push_back(SliceTable::index(fold.table.entry(head, row)));
    }
    if (!one.values.assign(given, numbers.size() * tensor.dim) || !one.store.load(numbers, tensor))
      return fail_memory(error, "given values");
    given += numbers.size() * tensor.dim;
    transform_rows(work, tensor.hadamard, tensor.dim, numbers.size(), one.values);
    const uint32_t before = fold.table.computed_before(head);
    one.store.encode(work, fold.tensors[index], before, fold.table.computed_before(head + 1) - before,
                     one.values, true);
  }
  if (kvfold_status status = work->finish(error)) return status;
  for (uint32_t head = 0; head < tensor.heads; head++) {
    const int64_t bad = heads[head].store.first_unstorable();
    if (bad >= 0)
      return fail(error, KVFOLD_STATUS_PLAN_FIT, "layer %u head %u: the cache cannot hold the value given for row %u",
                  layer, head, heads[head].rows[static_cast<size_t>(bad)]);
  }
  return KVFOLD_OK;
}

}  // namespace metal
}  // namespace kvfold
