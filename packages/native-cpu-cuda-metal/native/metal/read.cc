// Reading rows of a layer as floats, key statistics, and turning queries: one head at a time.
#include <cmath>
#include <cstring>
#include <vector>

#include "common/error.h"
#include "common/location.h"
#include "metal/head_attention.h"
#include "metal/fold.h"

namespace kvfold {
namespace metal {
namespace {

/// Rows of one head as a kvfold_read asks for them.
class HeadReader {
 public:
  explicit HeadReader(const kvfold_read &read)
      : read_(read), layer_(read.memory->layers[read.layer]), tensor_(tensor_of(*read.memory, read.layer, read.kind)),
        rope_(rope_of(layer_)), turned_(read.unrotate != 0 && rope_.pairs != 0) {}

  bool open() {
    return cache_.open(tensor_) && slots_.assign(read_.slots.data, read_.slots.length) && load_turns(layer_, &turns_) &&
           rows_.allocate(cells() * tensor_.dim * sizeof(float));
  }

  /// Gathers the reading of a head into `rows`.
  bool gather(Work *work, uint32_t head) {
    decode_head(work, {cache_, tensor_, slots_, slots_, cells(), 0, 0}, head, rows_);
    if (read_.undo_hadamard != 0 || turned_) transform_rows(work, tensor_.hadamard, tensor_.dim, cells(), rows_);
    if (!turned_) return true;
    Buffer deltas;
    if (!deltas.allocate(cells() * sizeof(int64_t))) return false;
    const bool mapped = read_.sources.length != 0;
    const int32_t *sources = mapped ? read_.sources.data + head * cells() : read_.positions.data;
    for (uint64_t c = 0; c < cells(); c++) deltas.as<int64_t>()[c] = -static_cast<int64_t>(sources[c]);
    rotate_rows(work, rope_, tensor_.dim, cells(), rows_, deltas, turns_);
    if (read_.undo_hadamard == 0) transform_rows(work, tensor_.hadamard, tensor_.dim, cells(), rows_);
    return true;
  }

  uint64_t cells() const { return read_.slots.length; }
  const Tensor &tensor() const { return tensor_; }
  const Buffer &rows() const { return rows_; }

 private:
  const kvfold_read &read_;
  const kvfold_memory_layer &layer_;
  const Tensor tensor_;
  const RopeLayout rope_;
  const bool turned_;
  CacheBuffer cache_;
  Buffer slots_, turns_, rows_;
};

/// Statistics of the keys that a reader has read.
class HeadScore {
 public:
  explicit HeadScore(const HeadReader &reader)
      : reader_(reader), p_{0, static_cast<uint32_t>(reader.cells()), reader.tensor().dim,
                            static_cast<uint32_t>((reader.cells() + kSumRows - 1) / kSumRows)} {}

  bool allocate() {
    const uint64_t lane = reader_.cells() * sizeof(float), dim = p_.dim * sizeof(float);
    return norms_.allocate(lane) && cosines_.allocate(lane) && mean_.allocate(dim) && sums_.allocate(p_.blocks * dim);
  }

  kvfold_status run(Work *work, float *norm, float *cosine, kvfold_error *error) {
    work->run("norm_rows", p_, p_.rows, {reader_.rows(), norms_});
    work->run("sum_directions", p_, uint64_t{p_.blocks} * p_.dim, {reader_.rows(), norms_, sums_});
    if (kvfold_status status = work->finish(error)) return status;
    find_mean();
    work->run("compare_rows", p_, p_.rows, {reader_.rows(), norms_, mean_, cosines_});
    if (kvfold_status status = work->finish(error)) return status;
    std::memcpy(norm, norms_.as<float>(), p_.rows * sizeof(float));
    std::memcpy(cosine, cosines_.as<float>(), p_.rows * sizeof(float));
    return KVFOLD_OK;
  }

 private:
  /// Sums of blocks in their order, in double; of length 1, or 0.
  void find_mean() {
    std::vector<double> sum(p_.dim, 0.0);
    double square = 0;
    for (size_t block = 0; block < p_.blocks; block++) {
      for (size_t j = 0; j < p_.dim; j++) sum[j] += sums_.as<float>()[block * p_.dim + j];
    }
    for (double x : sum) square += x * x;
    const double scale = square > 0 ? 1 / std::sqrt(square) : 0;
    for (size_t j = 0; j < p_.dim; j++) mean_.as<float>()[j] = static_cast<float>(sum[j] * scale);
  }

  const HeadReader &reader_;
  const ScoreParameters p_;
  Buffer norms_, cosines_, mean_, sums_;
};

kvfold_status read_heads(const kvfold_read &read, const kvfold_options *options, float *out, kvfold_error *error) {
  if (kvfold_status status = require_location(*read.memory, KVFOLD_LOCATION_HOST, kBackend.name, error)) return status;
  HeadReader reader(read);
  if (!reader.open()) return fail_memory(error, "reading rows");
  const size_t count = static_cast<size_t>(reader.cells()) * reader.tensor().dim;
  for (uint32_t head = 0; head < reader.tensor().heads; head++) {
    if (cancelled(options)) return fail_aborted(error);
    Work work;
    if (!reader.gather(&work, head)) return fail_memory(error, "reading rows");
    if (kvfold_status status = work.finish(error)) return status;
    if (count != 0) std::memcpy(out + head * count, reader.rows().as<float>(), count * sizeof(float));
  }
  return KVFOLD_OK;
}

kvfold_status score_heads(const kvfold_read &read, const kvfold_options *options, float *norm, float *mean_cosine,
                          kvfold_error *error) {
  if (kvfold_status status = require_location(*read.memory, KVFOLD_LOCATION_HOST, kBackend.name, error)) return status;
  HeadReader reader(read);
  HeadScore score(reader);
  if (!reader.open() || !score.allocate()) return fail_memory(error, "key statistics");
  const size_t cells = static_cast<size_t>(reader.cells());
  for (uint32_t head = 0; head < reader.tensor().heads && cells != 0; head++) {
    if (cancelled(options)) return fail_aborted(error);
    Work work;
    if (!reader.gather(&work, head)) return fail_memory(error, "key statistics");
    if (kvfold_status status = score.run(&work, norm + head * cells, mean_cosine + head * cells, error)) return status;
  }
  return KVFOLD_OK;
}

kvfold_status turn_heads(const kvfold_turn &turn, const kvfold_options *options, float *out, kvfold_error *error) {
  const uint32_t rows = kvfold_turned_rows(&turn), dim = turn.layer->key_dim;
  Buffer bits, order, turns, found;
  if (!bits.assign(turn.queries.rows.data, turn.queries.rows.length) || !order.allocate(uint64_t{rows} * 4) ||
      !load_turns(*turn.layer, &turns) || !found.allocate(uint64_t{rows} * dim * sizeof(float)))
    return fail_memory(error, "turning queries");
  for (uint32_t i = 0; i < rows; i++) order.as<uint32_t>()[i] = i;
  for (uint32_t head = 0; head < turn.layer->kv_heads; head++) {
    if (cancelled(options)) return fail_aborted(error);
    Work work;
    if (!load_queries(&work, {turn, bits, order, turns}, head, rows, found))
      return fail_memory(error, "turning queries");
    if (kvfold_status status = work.finish(error)) return status;
    std::memcpy(out + size_t{head} * rows * dim, found.as<float>(), size_t{rows} * dim * sizeof(float));
  }
  return KVFOLD_OK;
}

}  // namespace

kvfold_status read_rows(const kvfold_read *read, const kvfold_options *options, float *out, kvfold_error *error) {
  if (kvfold_status status = check_device(error)) return status;
  try {
    return read_heads(*read, options, out, error);
  } catch (...) {
    return fail_memory(error, "reading rows");
  }
}

kvfold_status key_stats(const kvfold_read *read, const kvfold_options *options, float *norm, float *mean_cosine,
                        kvfold_error *error) {
  if (kvfold_status status = check_device(error)) return status;
  try {
    kvfold_read unrotated = *read;
    unrotated.kind = KVFOLD_KEYS;
    unrotated.unrotate = 1;
    unrotated.undo_hadamard = 1;
    return score_heads(unrotated, options, norm, mean_cosine, error);
  } catch (...) {
    return fail_memory(error, "key statistics");
  }
}

kvfold_status turn_queries(const kvfold_turn *turn, const kvfold_options *options, float *out, kvfold_error *error) {
  if (kvfold_status status = check_device(error)) return status;
  try {
    return turn_heads(*turn, options, out, error);
  } catch (...) {
    return fail_memory(error, "turning queries");
  }
}

}  // namespace metal
}  // namespace kvfold
