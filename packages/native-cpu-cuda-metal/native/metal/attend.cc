// attend: one KV head after another, so that memory does not grow with heads.
#include <cmath>
#include <cstring>

#include "common/error.h"
#include "common/location.h"
#include "metal/head_attention.h"
#include "metal/fold.h"

namespace kvfold {
namespace metal {
namespace {

/// Query rows of a submission: the caller is asked between two of them whether to stop.
constexpr uint64_t kRowsOfWork = 16 * kLanes;

class LayerAttention {
 public:
  LayerAttention(const kvfold_attention &request, kvfold_attention_result *result, const kvfold_options &options)
      : request_(request), result_(*result), options_(options),
        keys_(tensor_of(*request.memory, request.layer, KVFOLD_KEYS)),
        values_(tensor_of(*request.memory, request.layer, KVFOLD_VALUES)), valued_(result->outputs != nullptr),
        shape_{request.rows, request.slots.length, keys_.dim, valued_ ? values_.dim : 0} {}

  /// Everything that is held at a time, besides copies of memory that Metal does not take.
  uint64_t bytes() const {
    const uint64_t cells = shape_.cells, dims = uint64_t{shape_.key_dim} + shape_.value_dim;
    return BlockBuffers::bytes(shape_) + sizeof(float) * (cells * (dims + 5) + shape_.rows * dims);
  }

  kvfold_status open(kvfold_error *error) {
    const uint64_t cells = shape_.cells;
    if (!key_cache_.open(keys_) || (valued_ && !value_cache_.open(values_)))
      return fail_memory(error, "a copy of the cache");
    const uint64_t lane = cells * sizeof(float);
    const bool ok = slots_.assign(request_.slots.data, cells) && block_.allocate(shape_) &&
                    bias_.assign(request_.bias.data, request_.bias.length) && maximum_.allocate(lane) &&
                    sums_.allocate(lane) && squares_.allocate(lane) && key_rows_.allocate(lane * keys_.dim) &&
                    value_rows_.allocate(lane * shape_.value_dim) &&
                    outputs_.allocate(shape_.rows * shape_.value_dim * sizeof(float));
    return ok ? KVFOLD_OK : fail_memory(error, "the rows of a head");
  }

  kvfold_status head(uint32_t index, kvfold_error *error) {
    const uint64_t count = shape_.rows * keys_.dim;
    const float *queries = request_.queries.data + index * count;
    Work work;
    Scan keys, values;
    if (!queries_.assign(queries, count) || !decode(&work, index, &keys, &values))
      return fail_memory(error, "the rows of a head");
    if (kvfold_status status = work.finish(error)) return status;
    const float bias = largest_of(request_.bias.data, request_.bias.length);
    if (kvfold_status status = check_magnitudes(keys_.dim, largest_of(queries, count), keys.largest(),
                                                valued_ ? values.largest() : 0, bias, error))
      return status;
    if (kvfold_status status = attend(&work, error)) return status;
    hand_out(index);
    return KVFOLD_OK;
  }

 private:
  bool decode(Work *work, uint32_t index, Scan *keys, Scan *values) {
    const uint64_t cells = shape_.cells;
    decode_head(work, {key_cache_, keys_, slots_, slots_, cells, 0, 0}, index, key_rows_);
    transform_rows(work, keys_.hadamard, keys_.dim, cells, key_rows_);
    if (!keys->gather(work, key_rows_, cells * keys_.dim)) return false;
    if (!valued_) return true;
    decode_head(work, {value_cache_, values_, slots_, slots_, cells, 0, 0}, index, value_rows_);
    transform_rows(work, values_.hadamard, values_.dim, cells, value_rows_);
    return values->gather(work, value_rows_, cells * values_.dim);
  }

  kvfold_status attend(Work *work, kvfold_error *error) {
    for (Buffer *sums : {&maximum_, &sums_, &squares_})
      std::memset(sums->as<float>(), 0, static_cast<size_t>(sums->bytes()));
    const HeadInput input = {queries_, key_rows_, value_rows_, bias_, request_.bias.length != 0};
    const HeadOutput output = {&maximum_, &sums_, &squares_, valued_ ? &outputs_ : nullptr, false, nullptr, nullptr, 0};
    for (uint64_t first = 0; first < shape_.rows; first += kRowsOfWork) {
      if (cancelled(&options_)) return fail_aborted(error);
      const uint64_t end = shape_.rows - first < kRowsOfWork ? shape_.rows : first + kRowsOfWork;
      attend_rows(work, shape_, input, output, block_, first, end);
      if (kvfold_status status = work->finish(error)) return status;
    }
    return KVFOLD_OK;
  }

  void hand_out(uint32_t index) const {
    const size_t cells = static_cast<size_t>(shape_.cells), from = index * cells;
    for (size_t c = 0; c < cells; c++) {
      const double rows = static_cast<double>(shape_.rows);
      result_.maximum[from + c] = maximum_.as<float>()[c];
      result_.mean[from + c] = static_cast<float>(sums_.as<float>()[c] / rows);
      result_.rms[from + c] =
          static_cast<float>(std::sqrt(squares_.as<float>()[c] / rows) / KVFOLD_METAL_SQUARE_SCALE);
    }
    if (!valued_) return;
    const size_t bytes = static_cast<size_t>(outputs_.bytes());
    std::memcpy(result_.outputs + index * bytes / sizeof(float), outputs_.as<float>(), bytes);
  }

  const kvfold_attention &request_;
  const kvfold_attention_result &result_;
  const kvfold_options &options_;
  const Tensor keys_, values_;
  const bool valued_;
  const HeadShape shape_;
  CacheBuffer key_cache_, value_cache_;
  BlockBuffers block_;
  Buffer slots_, bias_, queries_, key_rows_, value_rows_, maximum_, sums_, squares_, outputs_;
};

}  // namespace

kvfold_status attend(const kvfold_attention *attention, const kvfold_options *options,
                     kvfold_attention_result *result, kvfold_error *error) {
  if (kvfold_status status = check_device(error)) return status;
  if (kvfold_status status = require_location(*attention->memory, KVFOLD_LOCATION_HOST, kBackend.name, error)) return status;
  try {
    LayerAttention layer(*attention, result, *options);
    result->working_bytes = layer.bytes();
    if (kvfold_status status = check_limit(layer.bytes(), *options, error)) return status;
    if (kvfold_status status = layer.open(error)) return status;
    for (uint32_t head = 0; head < attention->memory->layers[attention->layer].kv_heads; head++) {
      if (cancelled(options)) return fail_aborted(error);
      if (kvfold_status status = layer.head(head, error)) return status;
    }
    return KVFOLD_OK;
  } catch (...) {
    return fail_memory(error, "attend");
  }
}

}  // namespace metal
}  // namespace kvfold
