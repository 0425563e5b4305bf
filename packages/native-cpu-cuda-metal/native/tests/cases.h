// Seeded random memories, plans and slot permutations, with guard bytes around every buffer.
#ifndef KVFOLD_TESTS_CASES_H
#define KVFOLD_TESTS_CASES_H

#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "kvfold/backend.h"

namespace cases {

/// The same numbers with every standard library.
class Random {
 public:
  explicit Random(uint32_t seed) : engine_(seed) {}
  uint32_t below(uint32_t n) { return static_cast<uint32_t>(engine_() % n); }
  bool coin() { return below(2) == 0; }
  double number() { return static_cast<double>(engine_()) / 2147483648.0 - 1; }  // [-1, 1)

 private:
  std::mt19937 engine_;
};

constexpr size_t kGuardBytes = 64;

/// A buffer inside guard bytes.
struct Buffer {
  std::vector<uint8_t> bytes;
  uint8_t *data() { return bytes.data() + kGuardBytes; }
  size_t size() const { return bytes.size() - 2 * kGuardBytes; }
  bool guards_hold() const;
};

/// A memory with its sequence, and a plan. Not movable: the C structs point into it.
struct Case {
  Case() = default;
  Case(const Case &) = delete;

  std::vector<kvfold_memory_layer> layers;
  std::vector<std::vector<double>> frequencies;
  std::vector<Buffer> buffers;  // [layers, keys then values]
  kvfold_memory memory{};
  kvfold_target target{};
  std::vector<uint32_t> slots, destinations;
  std::vector<int32_t> positions;
  std::vector<std::vector<int32_t>> sources;
  std::vector<kvfold_i32_span> source_spans;
  kvfold_plan plan{};
  std::vector<int32_t> row_positions;
  std::vector<uint32_t> counts, members, offsets;
  std::vector<float> key_weights, value_weights, bias;
  std::vector<uint8_t> pins;
  kvfold_fit_request fit{};
  kvfold_dense_values values{};
  std::vector<uint8_t> changed;  // `free` of the fit, or `given` of the values
  std::vector<float> given_values, cell_bias;
  kvfold_query_sample sample{};
  std::vector<int32_t> sample_positions;
  std::vector<kvfold_query_layer> query_layers;
  std::vector<std::vector<uint16_t>> query_rows;
  std::string name;

  bool is_changed(uint32_t layer, uint32_t head, uint32_t row) const;

  /// Points the C structs at the vectors; after every change of one.
  void bind();
  std::vector<Buffer> snapshot() const { return buffers; }
  bool same_bytes(const std::vector<Buffer> &before) const;
  bool guards_hold() const;
};

/// Any types, layouts, rotations, slots and plan. Members per row are at most 6, |weights| at most 2.
std::unique_ptr<Case> random_case(uint32_t seed);
/// A fold of it writes 4 MiB and more, past the caches. Ten tensors, one of them transposed.
std::unique_ptr<Case> long_case(uint32_t seed);

/// How far fixed point may move a sum of q8_0 blocks (bounds.h): of the block at channel j of a row that `before` had not
/// been folded into. 0 of other types.
double fixed_point_slack(const Case &before, uint32_t tensor, uint32_t row, uint32_t head, size_t j, double largest);

/// Adds a query sample, biases of cells and rows, and a fit of some rows, at most a quarter of the fitting queries.
void add_fit(Case *one, uint32_t seed);
/// Adds given values in [-1, 1) for some rows.
void add_values(Case *one, uint32_t seed);

}  // namespace cases

#endif
