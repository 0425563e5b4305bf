// Commit and rollback: all layers of a device in one submission, first the destination rows into the undo log, then
// everything that is new. Sources that are overwritten are read from the log, so no order can be wrong.
#include <algorithm>
#include <atomic>

#include "cuda/fold.h"
#include "cuda/move_rows.h"
#include "cuda/sum_rows.h"

namespace kvfold {
namespace cuda {
namespace {

std::atomic<bool> timed{false};

using Kernel = void (*)(const TensorTable *, const uint32_t *, PlanTable, uint32_t, uint32_t);

/// Written rows [begin, end) of the tensors [from, to) of a part.
struct Span {
  uint32_t from, to, begin, end;
  bool has(uint32_t tensor) const { return tensor >= from && tensor < to; }
};

template <Way way>
Kernel move_kernel(uint32_t grain) {
  switch (grain) {
    case 16: return move_rows<uint4, way>;
    case 8: return move_rows<uint2, way>;
    case 4: return move_rows<uint32_t, way>;
    default: return move_rows<uint16_t, way>;
  }
}

Kernel sum_kernel(int32_t type) {
  switch (type) {
    case KVFOLD_F32: return sum_rows<KVFOLD_F32>;
    case KVFOLD_F16: return sum_rows<KVFOLD_F16>;
    case KVFOLD_BF16: return sum_rows<KVFOLD_BF16>;
    case KVFOLD_Q4_0: return sum_rows<KVFOLD_Q4_0>;
    case KVFOLD_Q4_1: return sum_rows<KVFOLD_Q4_1>;
    case KVFOLD_Q5_0: return sum_rows<KVFOLD_Q5_0>;
    case KVFOLD_Q5_1: return sum_rows<KVFOLD_Q5_1>;
    default: return sum_rows<KVFOLD_Q8_0>;
  }
}

uint32_t row_tiles(const TensorTable &table, uint32_t rows) {
  return ceil_div(rows, rows_of_tile(table.row_bytes / table.grain));
}
uint32_t channel_tiles(const TensorTable &table, uint32_t rows) {
  return ceil_div(rows, kMoveThreads) * ceil_div(uint64_t{table.heads} * table.dim, kChannelsOfThread);
}
uint32_t sum_tiles(const TensorTable &table, uint32_t rows) {
  return ceil_div(rows, rows_of_sum_tile(table.dim / sum_channels(table.type) * table.heads, table.heads));
}
uint32_t turn_tiles(const TensorTable &, uint32_t rows) { return rows; }

/// One launch for every run of neighbours in a group that take the same kernel.
template <typename Choose>
kvfold_status launch_group(const Part &part, const Group &group, const Span &span, uint32_t threads,
                           uint32_t (*tiles_of)(const TensorTable &, uint32_t), Choose &&choose, kvfold_error *error) {
  const uint32_t rows = span.end - span.begin;
  for (size_t i = 0, next; i < group.members.size() && rows > 0; i = next) {
    next = i + 1;
    if (!span.has(group.members[i])) continue;
    const Kernel kernel = choose(part.tables[group.members[i]]);
    uint32_t tiles = tiles_of(part.tables[group.members[i]], rows);
    while (next < group.members.size() && span.has(group.members[next]) &&
           choose(part.tables[group.members[next]]) == kernel)
      tiles = std::max(tiles, tiles_of(part.tables[group.members[next++]], rows));
    const dim3 grid(tiles, static_cast<uint32_t>(next - i));
    const cudaError_t code = launch(kernel, grid, threads, part.device->stream(), part.table.data(), group.ids + i,
                                    part.plan, span.begin, span.end);
    if (kvfold_status status = check(code, "moving rows", error)) return status;
  }
  return KVFOLD_OK;
}

template <Way way>
kvfold_status move(const Part &part, const Group (&groups)[2], const Span &span, kvfold_error *error) {
  const auto rows = [](const TensorTable &table) { return move_kernel<way>(table.grain); };
  const auto channels = [](const TensorTable &) { return Kernel{move_channels<way>}; };
  if (kvfold_status status = launch_group(part, groups[0], span, kMoveThreads, row_tiles, rows, error)) return status;
  return launch_group(part, groups[1], span, kMoveThreads, channel_tiles, channels, error);
}

kvfold_status write(const Part &part, const Span &span, kvfold_error *error) {
  const auto sum = [](const TensorTable &table) { return sum_kernel(table.type); };
  const auto turn = [](const TensorTable &) { return Kernel{turn_rows}; };
  if (kvfold_status status = move<Way::copy>(part, part.copies, span, error)) return status;
  if (kvfold_status status = launch_group(part, part.sums, span, kSumThreads, sum_tiles, sum, error)) return status;
  return launch_group(part, part.turns, span, kSliceWarps * kWarp, turn_tiles, turn, error);
}

constexpr uint64_t kPointsOfTensor = 5;

/// Tensor by tensor, with a stop where a test asks for it.
kvfold_status commit_with_faults(Part *part, const kvfold_options *options, kvfold_error *error) {
  const uint32_t rows = part->plan.written_count, middle = rows / 2;
  for (uint32_t i = 0; i < part->tables.size(); i++) {
    const Span first = {i, i + 1, 0, middle}, second = {i, i + 1, middle, rows};
    if (fault_here(options)) return fail_fault(options, error, "before the old rows were saved");
    const bool saved = part->saved[i] != 0;
    if (!saved) {
      if (kvfold_status status = move<Way::save>(*part, part->moves, first, error)) return status;
    }
    if (fault_here(options)) return fail_fault(options, error, "while the old rows were saved");
    if (!saved) {
      if (kvfold_status status = move<Way::save>(*part, part->moves, second, error)) return status;
    }
    part->saved[i] = 1;
    if (fault_here(options)) return fail_fault(options, error, "after the old rows were saved");
    if (kvfold_status status = write(*part, first, error)) return status;
    if (fault_here(options)) return fail_fault(options, error, "while the new rows were written");
    if (kvfold_status status = write(*part, second, error)) return status;
    if (fault_here(options)) return fail_fault(options, error, "after the new rows were written");
  }
  return KVFOLD_OK;
}

bool is_saved(const Part &part) {
  return std::all_of(part.saved.begin(), part.saved.end(), [](uint8_t saved) { return saved != 0; });
}

kvfold_status save_part(Part *part, kvfold_error *error) {
  const Span all = {0, static_cast<uint32_t>(part->tables.size()), 0, part->plan.written_count};
  if (is_saved(*part)) return KVFOLD_OK;
  if (kvfold_status status = move<Way::save>(*part, part->moves, all, error)) return status;
  // the stream runs in order: whatever is written later is written after the log is whole
  std::fill(part->saved.begin(), part->saved.end(), uint8_t{1});
  return KVFOLD_OK;
}

kvfold_status submit(Part *part, cudaEvent_t *events, kvfold_error *error) {
  const Span all = {0, static_cast<uint32_t>(part->tables.size()), 0, part->plan.written_count};
  const auto mark = [&](int index) {
    return events == nullptr ? KVFOLD_OK : check(cudaEventRecord(events[index], part->device->stream()), "timing", error);
  };
  if (kvfold_status status = mark(0)) return status;
  if (kvfold_status status = save_part(part, error)) return status;
  if (kvfold_status status = mark(1)) return status;
  if (kvfold_status status = write(*part, all, error)) return status;
  return mark(2);
}

}  // namespace

void time_commits(bool on) { timed = on; }

kvfold_status Fold::wait_all(kvfold_status status, kvfold_error *error) const {
  for (const auto &part : parts) status = wait_too(*part->device, status, error);
  return status;
}

kvfold_status Fold::commit_timed(kvfold_error *error) {
  cudaEvent_t events[3] = {};
  Part *part = parts[0].get();
  kvfold_status status = part->device->use(error);
  for (cudaEvent_t &event : events) {
    if (status == KVFOLD_OK) status = check(cudaEventCreate(&event), "timing", error);
  }
  if (status == KVFOLD_OK) status = submit(part, events, error);
  status = wait_all(status, error);
  if (status == KVFOLD_OK)
    status = check(cudaEventElapsedTime(&save_milliseconds, events[0], events[1]), "timing", error);
  if (status == KVFOLD_OK)
    status = check(cudaEventElapsedTime(&write_milliseconds, events[1], events[2]), "timing", error);
  for (cudaEvent_t event : events) {
    if (event != nullptr) cudaEventDestroy(event);
  }
  return status;
}

kvfold_status Fold::save(kvfold_error *error) {
  kvfold_status status = KVFOLD_OK;
  for (const auto &part : parts) {
    if (status == KVFOLD_OK) status = part->device->use(error);
    if (status == KVFOLD_OK) status = save_part(part.get(), error);
  }
  return wait_all(status, error);
}

kvfold_status Fold::commit(const kvfold_options *options, kvfold_error *error) {
  if (timed && parts.size() == 1) return commit_timed(error);
  const bool faulty = options->faults != nullptr && options->faults->fail_at >= 0;
  kvfold_status status = KVFOLD_OK;
  for (const auto &part : parts) {
    if (status == KVFOLD_OK) status = part->device->use(error);
    if (status == KVFOLD_OK)
      status = faulty ? commit_with_faults(part.get(), options, error) : submit(part.get(), nullptr, error);
    if (status == KVFOLD_OK && !faulty && options->faults != nullptr)
      options->faults->points += kPointsOfTensor * part->tables.size();
  }
  return wait_all(status, error);
}

kvfold_status Fold::rollback(kvfold_error *error) {
  kvfold_status status = KVFOLD_OK;
  for (const auto &part : parts) {
    if (status == KVFOLD_OK) status = part->device->use(error);
    for (uint32_t from = 0, to; from < part->tables.size() && status == KVFOLD_OK; from = to) {
      for (to = from + 1; to < part->tables.size() && part->saved[to] == part->saved[from];) to++;
      const Span span = {from, to, 0, part->plan.written_count};
      if (part->saved[from] != 0) status = move<Way::restore>(*part, part->moves, span, error);
    }
    if (status == KVFOLD_OK) std::fill(part->saved.begin(), part->saved.end(), uint8_t{0});
  }
  return wait_all(status, error);
}

}  // namespace cuda
}  // namespace kvfold
