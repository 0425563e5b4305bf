// What some of the new rows of a tensor are made of, looked up at once: the work of a kernel.
#ifndef KVFOLD_CPU_ROW_BATCH_H
#define KVFOLD_CPU_ROW_BATCH_H

#include <cstddef>
#include <cstdint>

#include "cpu/arch/kernels.h"

namespace kvfold {
namespace cpu {

/// Rows [begin, end), each of them one piece, or one piece a head.
///
///     rows       a  [bc]        pieces of two heads     a0  a1  [b0 c0]  [b1 c1]
///                               ends                     1   2        4        6
struct alignas(64) RowBatch {
  static constexpr size_t kPieces = 256, kTerms = 1024;

  size_t begin = 0, end = 0;
  size_t pieces = 0, terms = 0;
  size_t piece_bytes = 0;
  bool copies = false;  // every piece is a term
  // of a plan's own, where these are used instead of the lists below
  const float *plan_weights = nullptr;
  const uint32_t *plan_ends = nullptr;
  uint32_t plan_first = 0;
  bool plan_sums = false;  // no row is a copy
  const uint8_t *from[kTerms];
  float weights[kTerms];
  uint32_t ends[kPieces];
  // where the terms lie: neighbours are one run
  size_t runs = 0;
  const uint8_t *run_begins[kTerms], *run_ends[kTerms];

  void clear(size_t row) {
    begin = end = row;
    pieces = terms = runs = 0;
    plan_ends = nullptr;
    copies = false;
  }
  bool empty() const { return begin == end; }
  /// Where the terms lie.
  Runs places() const {
    if (copies) return {from, nullptr, piece_bytes, terms, 0};
    size_t lines = runs;
    for (size_t i = 0; i < runs; i++) lines += static_cast<size_t>(run_ends[i] - run_begins[i]) / 64;
    return {run_begins, run_ends, 0, runs, lines};
  }
  Pieces list() const {
    if (copies) return {from, nullptr, nullptr, terms};
    if (plan_ends != nullptr) return {from, plan_weights, plan_ends, pieces, plan_first, plan_sums};
    return {from, weights, ends, pieces};
  }
};

/// Fills a batch; what it counts stays in registers until it is done.
class BatchWriter {
 public:
  explicit BatchWriter(RowBatch *empty) : batch_(*empty), row_(empty->end) {}
  ~BatchWriter() {
    end_run();
    batch_.end = row_;
    batch_.pieces = pieces_;
    batch_.terms = terms_;
    batch_.runs = runs_;
  }

  size_t row() const { return row_; }
  bool has_room(size_t more_pieces, size_t more_terms) const {
    return pieces_ + more_pieces <= RowBatch::kPieces && terms_ + more_terms <= RowBatch::kTerms;
  }
  void add_term(const uint8_t *term, float weight) {
    batch_.from[terms_] = term;
    batch_.weights[terms_++] = weight;
  }
  void add_run(const uint8_t *begin, size_t bytes) {
    if (begin != run_end_) {
      end_run();
      batch_.run_begins[runs_++] = begin;
    }
    run_end_ = begin + bytes;
  }
  void end_piece() { batch_.ends[pieces_++] = static_cast<uint32_t>(terms_); }
  void end_row() { row_++; }
 private:
  void end_run() {
    if (runs_ > 0) batch_.run_ends[runs_ - 1] = run_end_;
  }

  RowBatch &batch_;
  size_t row_, pieces_ = 0, terms_ = 0, runs_ = 0;
  const uint8_t *run_end_ = nullptr;
};

}  // namespace cpu
}  // namespace kvfold

#endif
