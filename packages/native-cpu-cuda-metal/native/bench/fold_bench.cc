// Times a fold of any backend, interleaved with copies. The cache is folded over and over: what its cells hold does not
// matter to the time.
#include "fold_bench.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <ctime>
#include <memory>
#include <new>
#include <random>
#include <vector>

#include "common/error.h"
#include "common/tensor.h"
#include "cpu/pool.h"
#include "reference/convert.h"

namespace kvfold {
namespace bench {
namespace {

constexpr size_t kCopyBytes = size_t{256} << 20;

/// Seconds by the clock that the case asks for.
double now(const FoldBenchCase &of) {
  if (of.cpu_time) return static_cast<double>(std::clock()) / CLOCKS_PER_SEC / of.threads;
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// Memory as caches have it: no huge pages but where the system gives them to everybody.
struct Plain {
  std::unique_ptr<uint8_t[]> bytes;
  bool allocate(size_t count) {
    bytes.reset(new (std::nothrow) uint8_t[count + 64]);
    return bytes != nullptr;
  }
  uint8_t *data() const { return bytes.get() + (64 - reinterpret_cast<uintptr_t>(bytes.get()) % 64) % 64; }
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 != 0 ? values[half] : (values[half - 1] + values[half]) / 2;
}

/// One large copy a thread: the most that the C library makes of a machine.
class Copier {
 public:
  bool allocate() {
    if (!from_.allocate(kCopyBytes) || !to_.allocate(kCopyBytes)) return false;
    std::memset(from_.data(), 1, kCopyBytes);
    std::memset(to_.data(), 2, kCopyBytes);
    return true;
  }
  /// Bytes a second, read plus written.
  double run(const FoldBenchCase &of) {
    const uint32_t threads = of.threads;
    const size_t part = kCopyBytes / threads;
    const double begin = now(of);
    cpu::parallel_for(threads, threads, [&](size_t task, uint32_t) {
      std::memcpy(to_.data() + task * part, from_.data() + task * part, part);
    });
    return 2.0 * static_cast<double>(part * threads) / (now(of) - begin);
  }

 private:
  Plain from_, to_;
};

uint64_t slice_bytes(const FoldBenchCase &of) {
  const TypeSize size = type_size(of.type);
  return uint64_t{of.head_dim} / size.channels * size.bytes;
}
uint64_t tensor_bytes(const FoldBenchCase &of, uint64_t rows) { return slice_bytes(of) * of.kv_heads * rows; }
uint64_t cache_bytes(const FoldBenchCase &of, uint64_t rows) { return 2 * of.layers * tensor_bytes(of, rows); }

/// A cache full of numbers in [-1, 1), and a plan for it.
struct Fixture {
  const FoldBenchCase &of;
  std::vector<Plain> buffers;
  std::vector<double> frequencies;
  std::vector<kvfold_memory_layer> layers;
  kvfold_memory memory{};
  std::vector<uint32_t> slots, destinations, members, offsets, counts;
  std::vector<int32_t> positions, row_positions;
  std::vector<float> weights;
  kvfold_target target{};
  kvfold_plan plan{};
  std::mt19937 random{1};

  explicit Fixture(const FoldBenchCase &one) : of(one), buffers(size_t{2} * one.layers) {}

  uint32_t rows() const { return of.cells / of.ratio; }

  bool fill() {
    const TypeSize size = type_size(of.type);
    std::vector<uint8_t> pattern(size_t{of.head_dim} / size.channels * size.bytes * 1024);
    std::vector<double> values(size_t{of.head_dim} * 1024);
    for (double &value : values) value = static_cast<double>(random()) / 2147483648.0 - 1;
    reference::put(of.type, values.data(), values.size(), pattern.data());
    const size_t bytes = tensor_bytes(of, of.cells);
    for (Plain &buffer : buffers) {
      if (!buffer.allocate(bytes)) return false;
      for (size_t i = 0; i < bytes; i += pattern.size())
        std::memcpy(buffer.data() + i, pattern.data(), std::min(pattern.size(), bytes - i));
    }
    return true;
  }

  void make_memory() {
    for (uint32_t i = 0; i < of.head_dim / 2; i++) frequencies.push_back(std::pow(10000.0, -2.0 * i / of.head_dim));
    for (uint32_t l = 0; l < of.layers; l++) {
      kvfold_memory_layer layer{};
      layer.kv_heads = of.kv_heads;
      layer.key_dim = layer.value_dim = of.head_dim;
      layer.key_type = layer.value_type = of.type;
      layer.value_transposed = of.value_transposed ? 1 : 0;
      layer.rope_pairing = KVFOLD_ROPE_HALF;
      layer.rope_dims = of.head_dim;
      layer.rope_frequencies = frequencies.data();
      layer.keys = buffers[2 * l].data();
      layer.values = buffers[2 * l + 1].data();
      layer.key_bytes = layer.value_bytes = tensor_bytes(of, of.cells);
      layers.push_back(layer);
    }
    memory = {KVFOLD_MEMORY_ABI, sizeof memory, sizeof(kvfold_memory_layer), of.layers, of.cells, 1, layers.data()};
  }

  /// Rising cells, each with the same chance.
  void pick(std::vector<uint32_t> *into) {
    uint32_t left = rows();
    for (uint32_t cell = 0; cell < of.cells; cell++) {
      if (random() % (of.cells - cell) >= left) continue;
      into->push_back(cell);
      left--;
    }
  }

  void make_members() {
    const bool merging = of.plan == FoldPlanKind::merge || of.plan == FoldPlanKind::merge_turned;
    if (of.plan == FoldPlanKind::composite) {
      for (uint32_t i = 0; i < of.layers * of.kv_heads; i++) pick(&members);
      return;
    }
    if (!merging) pick(&members);
    for (uint32_t i = 0; i < rows() * of.ratio && merging; i++) members.push_back(i);
    const uint32_t each = merging ? of.ratio : 1;
    for (uint32_t row = 0; row <= rows(); row++) offsets.push_back(row * each);
    weights.assign(members.size(), 1.0f / static_cast<float>(each));
  }

  void make_plan() {
    for (uint32_t cell = 0; cell < of.cells; cell++) {
      slots.push_back(cell);
      positions.push_back(static_cast<int32_t>(cell));
    }
    for (uint32_t row = 0; row < rows(); row++) {
      destinations.push_back(row);
      row_positions.push_back(static_cast<int32_t>(row * of.ratio + of.ratio / 2));
      counts.push_back(1);
    }
    row_positions.back() = static_cast<int32_t>(of.cells - 1);
    make_members();
    target.memory = &memory;
    target.cells = of.cells;
    target.slots = {slots.data(), slots.size()};
    target.positions = {positions.data(), positions.size()};
    target.destinations = {destinations.data(), destinations.size()};
    plan.layout = of.plan == FoldPlanKind::composite ? KVFOLD_COMPOSITE : KVFOLD_SHARED;
    plan.key_frame = of.plan == FoldPlanKind::merge_turned ? KVFOLD_FRAME_TARGET : KVFOLD_FRAME_STORED;
    plan.cells = of.cells;
    plan.rows = rows();
    plan.dropped = of.cells - rows();
    plan.positions = {row_positions.data(), row_positions.size()};
    plan.counts = {counts.data(), counts.size()};
    plan.members = {members.data(), members.size()};
    plan.offsets = {offsets.data(), offsets.size()};
    plan.key_weights = plan.value_weights = {KVFOLD_SCOPE_ALL, {weights.data(), weights.size()}};
    plan.layers = of.layers;
    plan.kv_heads = of.kv_heads;
  }
};

bool backend_has_save(const kvfold_backend &backend) {
  return backend.struct_bytes >= offsetof(kvfold_backend, fold_save) + sizeof backend.fold_save &&
         backend.fold_save != nullptr;
}

struct Times {
  double prepare, save, write;
};

kvfold_status run_fold(const Fixture &fixture, bool save_apart, Times *times, kvfold_error *error) {
  const kvfold_backend &backend = *fixture.of.backend;
  const kvfold_options options = {fixture.of.threads, nullptr, nullptr, nullptr, 0};
  kvfold_fold *fold = nullptr;
  const double begin = now(fixture.of);
  kvfold_status status = backend.fold_prepare(&fixture.target, &fixture.plan, &options, &fold, error);
  if (status != KVFOLD_OK) return status;
  const double prepared = now(fixture.of);
  if (save_apart) status = backend.fold_save(fold, &options, error);
  const double saved = now(fixture.of);
  if (status == KVFOLD_OK) status = backend.fold_commit(fold, &options, error);
  *times = {prepared - begin, saved - prepared, now(fixture.of) - saved};
  backend.fold_free(fold);
  return status;
}

struct Samples {
  std::vector<double> copy, fold, fold_ratio, logged, logged_ratio, prepare, save, write;
};

kvfold_status run_once(const Fixture &fixture, Copier *copier, double bytes, Samples *samples, kvfold_error *error) {
  const bool apart = backend_has_save(*fixture.of.backend);
  Times times{}, whole{};
  const double copy = copier->run(fixture.of);
  if (apart) {
    if (kvfold_status status = run_fold(fixture, true, &times, error)) return status;
    samples->fold.push_back(bytes / (times.prepare + times.write));
    samples->fold_ratio.push_back(samples->fold.back() / copy);
    samples->save.push_back(times.save);
    samples->write.push_back(times.write);
  }
  if (kvfold_status status = run_fold(fixture, false, &whole, error)) return status;
  samples->copy.push_back(copy);
  samples->prepare.push_back(whole.prepare);
  samples->logged.push_back(bytes / (whole.prepare + whole.write));
  samples->logged_ratio.push_back(samples->logged.back() / copy);
  return KVFOLD_OK;
}

}  // namespace

uint64_t fold_bench_bytes(const FoldBenchCase &of) {
  return cache_bytes(of, of.cells) + cache_bytes(of, of.cells / of.ratio) + 2 * kCopyBytes;
}

kvfold_status fold_bench(const FoldBenchCase &of, FoldBenchResult *result, kvfold_error *error) {
  Fixture fixture(of);
  Copier copier;
  if (!copier.allocate() || !fixture.fill()) return fail_memory(error, "the cache of the benchmark");
  fixture.make_memory();
  fixture.make_plan();
  if (kvfold_status status = of.backend->supports(&fixture.layers[0], error)) return status;
  if (kvfold_status status = kvfold_check_target(&fixture.target, error)) return status;
  if (kvfold_status status = kvfold_check_plan(&fixture.target, &fixture.plan, error)) return status;
  const bool merging = of.plan == FoldPlanKind::merge || of.plan == FoldPlanKind::merge_turned;
  const uint64_t read = merging ? uint64_t{fixture.rows()} * of.ratio : fixture.rows();
  result->useful_bytes = cache_bytes(of, read) + cache_bytes(of, fixture.rows());
  Samples samples, warm_up;
  const auto bytes = static_cast<double>(result->useful_bytes);
  if (kvfold_status status = run_once(fixture, &copier, bytes, &warm_up, error)) return status;
  for (uint32_t run = 0; run < of.runs; run++) {
    if (kvfold_status status = run_once(fixture, &copier, bytes, &samples, error)) return status;
  }
  result->copy = median(samples.copy) / 1e9;
  result->prepare_milliseconds = median(samples.prepare) * 1e3;
  result->logged = median(samples.logged) / 1e9;
  result->logged_ratio = median(samples.logged_ratio);
  if (samples.fold.empty()) return KVFOLD_OK;
  result->fold = median(samples.fold) / 1e9;
  result->fold_ratio = median(samples.fold_ratio);
  result->fold_lowest = *std::min_element(samples.fold_ratio.begin(), samples.fold_ratio.end());
  result->fold_highest = *std::max_element(samples.fold_ratio.begin(), samples.fold_ratio.end());
  result->save_milliseconds = median(samples.save) * 1e3;
  result->write_milliseconds = median(samples.write) * 1e3;
  return KVFOLD_OK;
}

}  // namespace bench
}  // namespace kvfold
