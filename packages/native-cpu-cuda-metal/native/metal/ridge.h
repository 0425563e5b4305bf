// Ridge regression of one head on the GPU: (A^T A + ridge) X = A^T E over the rows that fit, and what X leaves of E.
//
// A plan has at most a quarter as many free rows as fitting queries (value_check.cc), so the normal equations are always
// the smaller of the two forms; the dual one is not here.
#ifndef KVFOLD_METAL_RIDGE_H
#define KVFOLD_METAL_RIDGE_H

#include <vector>

#include "metal/device.h"

namespace kvfold {
namespace metal {

struct RidgeShape {
  uint64_t rows, fitting;  // query rows; those that fit come first
  uint32_t free, width;    // unknown rows and their channels
};

class Ridge {
 public:
  explicit Ridge(const RidgeShape &shape) : shape_(shape) {}
  static uint64_t bytes(const RidgeShape &shape);
  bool allocate();

  /// Softmax weights of the free rows: filled by the caller. [rows, free]
  const Buffer &weights() const { return weights_; }
  /// E: filled by the caller, less A X afterwards. [rows, width]
  const Buffer &missing() const { return missing_; }

  /// Gathers the square system; after the work has run, `solve` gathers its solution.
  void build(Work *work) const;
  /// False, and nothing is gathered, when no free row got any weight. factors: of the ridge for each free row [free]
  bool solve(Work *work, double lambda, const std::vector<uint8_t> &factors) const;
  /// Channel j of the change of free row f.
  float change(size_t f, size_t j) const {
    return matrix_.as<float>()[(shape_.free + j) * shape_.free + f];
  }

 private:
  void factor(Work *work, float least) const;
  void solve_back(Work *work) const;

  const RidgeShape shape_;
  Buffer weights_, missing_;
  Buffer matrix_;    // [free + width, free]: see fit.metal
  Buffer diagonal_;  // [free]
};

}  // namespace metal
}  // namespace kvfold

#endif
