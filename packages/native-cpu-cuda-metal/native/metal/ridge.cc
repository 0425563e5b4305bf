// Ridge regression of one head on the GPU: the order of its kernels (fit.metal).
#include "metal/ridge.h"

namespace kvfold {
namespace metal {
namespace {

constexpr uint64_t kFloat = sizeof(float);

uint64_t tiles_of(uint64_t count) { return (count + kTile - 1) / kTile; }

/// 2^-30 of the mean diagonal: kPivotLeast of the attention library.
constexpr double kPivotLeast = 0x1p-30;

/// Sizes of a step over the unknowns [begin, end) of the square system.
FitParameters step_of(const RidgeShape &shape, uint32_t begin, uint32_t end) {
  FitParameters p{};
  p.rows = shape.free + shape.width;
  p.left = shape.free;
  p.out_stride = shape.free;
  p.begin = begin;
  p.end = end;
  return p;
}

}  // namespace

uint64_t Ridge::bytes(const RidgeShape &shape) {
  const uint64_t free = shape.free, width = shape.width;
  return kFloat * (shape.rows * (free + width) + (free + width) * free + free);
}

bool Ridge::allocate() {
  const uint64_t free = shape_.free, width = shape_.width;
  return weights_.allocate(shape_.rows * free * kFloat) && missing_.allocate(shape_.rows * width * kFloat) &&
         matrix_.allocate((free + width) * free * kFloat) && diagonal_.allocate(free * kFloat);
}

void Ridge::build(Work *work) const {
  FitParameters p{};
  p.rows = static_cast<uint32_t>(shape_.fitting);
  p.left = p.right = p.left_stride = p.right_stride = p.out_stride = shape_.free;
  p.lower = 1;
  work->run("multiply_columns", p, tiles_of(p.left) * tiles_of(p.right), {weights_, weights_, matrix_});
  p.right = p.right_stride = shape_.width;
  p.lower = 0;
  p.out_transposed = 1;
  const uint64_t below = uint64_t{shape_.free} * shape_.free * kFloat;
  work->run("multiply_columns", p, tiles_of(p.left) * tiles_of(p.right), {weights_, missing_, {matrix_, below}});
}

bool Ridge::solve(Work *work, double lambda, const std::vector<uint8_t> &factors) const {
  const size_t free = shape_.free;
  float *matrix = matrix_.as<float>();
  double trace = 0;
  for (size_t i = 0; i < free; i++) trace += matrix[i * free + i];
  if (!(trace > 0)) return false;
  const double ridge = lambda * trace / static_cast<double>(free);
  double raised = 0;
  for (size_t i = 0; i < free; i++) {
    matrix[i * free + i] += static_cast<float>(ridge * factors[i]);
    diagonal_.as<float>()[i] = matrix[i * free + i];
    raised += matrix[i * free + i];
  }
  factor(work, static_cast<float>(raised / static_cast<double>(free) * kPivotLeast));
  solve_back(work);
  FitParameters p{};
  p.left = shape_.free;
  p.right = shape_.width;
  p.out_stride = shape_.free;
  const uint64_t below = uint64_t{shape_.free} * shape_.free * kFloat;
  work->run("subtract_answer", p, shape_.rows * shape_.width, {weights_, {matrix_, below}, missing_});
  return true;
}

void Ridge::factor(Work *work, float least) const {
  for (uint32_t begin = 0; begin < shape_.free; begin += kStep) {
    const uint32_t end = shape_.free - begin < kStep ? shape_.free : begin + kStep;
    FitParameters p = step_of(shape_, begin, end);
    p.least = least;
    work->run("factor_diagonal", p, 1, {matrix_, diagonal_});
    work->run("solve_rows", p, p.rows - end, {matrix_});
    work->run("update_tiles", p, tiles_of(p.rows - end) * tiles_of(p.left - end), {matrix_});
  }
}

void Ridge::solve_back(Work *work) const {
  for (uint32_t end = shape_.free; end > 0;) {
    const uint32_t begin = (end - 1) / kStep * kStep;
    const FitParameters p = step_of(shape_, begin, end);
    work->run("solve_back", p, shape_.width, {matrix_});
    work->run("update_back", p, uint64_t{shape_.width} * begin, {matrix_});
    end = begin;
  }
}

}  // namespace metal
}  // namespace kvfold
