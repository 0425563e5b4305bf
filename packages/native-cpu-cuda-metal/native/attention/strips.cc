// Packing of keys and values: once for all blocks of query rows.
#include "strips.h"

#include <cstring>

#include "block.h"

namespace kvfold {
namespace attention {
namespace {

/// Cells of a task.
constexpr size_t kPacked = 4 * kLanes;

size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

void pack_keys(const Kernels &kernels, const PlainHead &head, const Strips &keys, size_t first) {
  const size_t dim = head.key_dim, strip = keys.strip, end = smaller(head.cells, first + kPacked);
  for (size_t cell = first; cell < end; cell += strip) {
    const size_t cells = smaller(strip, head.cells - cell);
    float *to = keys.at(cell / strip, 0);
    if (cells < strip) std::memset(to, 0, dim * strip * sizeof(float));
    kernels.transpose(head.keys + cell * dim, dim, cells, dim, to, strip);
  }
}

void pack_values(const PlainHead &head, const Strips &values, size_t first) {
  const size_t dim = head.value_dim, strip = values.strip, end = smaller(head.cells, first + kPacked);
  for (size_t s = 0; s < values.count(); s++) {
    const size_t width = values.width(s);
    for (size_t cell = first; cell < end; cell++) {
      float *to = values.at(s, cell);
      std::memcpy(to, head.values + cell * dim + s * strip, width * sizeof(float));
      if (width < strip) std::memset(to + width, 0, (strip - width) * sizeof(float));
    }
  }
}

}  // namespace

PackedLayout packed_layout(size_t cells, size_t key_dim, size_t value_dim, bool biased, Layout *layout) {
  PackedLayout packed = {};
  packed.keys = layout->floats(strip_columns(cells), key_dim);
  packed.values = layout->floats(strip_columns(value_dim), cells);
  packed.bias = layout->floats(biased ? cells : 0);
  return packed;
}

PackedHead pack_head(const Kernels &kernels, const PlainHead &head, const PackedLayout &layout, const Arena &arena,
                     Parallel &parallel) {
  const PackedHead packed = {{arena.at(layout.keys), head.key_dim, head.cells, kernels.strip},
                             {arena.at(layout.values), head.cells, head.values == nullptr ? 0 : head.value_dim,
                              kernels.strip},
                             head.bias == nullptr ? nullptr : arena.at(layout.bias)};
  parallel.for_each((head.cells + kPacked - 1) / kPacked, [&](size_t task, uint32_t) {
    const size_t first = task * kPacked;
    pack_keys(kernels, head, packed.keys, first);
    pack_values(head, packed.values, first);
    if (packed.bias == nullptr) return;
    for (size_t cell = first; cell < smaller(head.cells, first + kPacked); cell++)
      packed.bias[cell] = head.bias[cell] * kLog2E;
  });
  return packed;
}

}  // namespace attention
}  // namespace kvfold
