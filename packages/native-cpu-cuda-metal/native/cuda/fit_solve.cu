// The systems of a fit: the smaller of the two of each head, built, solved, and taken off what is missing.
#include "cuda/fit_layer.h"

namespace kvfold {
namespace cuda {

Systems LayerFit::systems(uint32_t from, uint32_t count) const {
  Systems out{};
  out.count = count;
  const size_t width = values().dim;
  for (uint32_t h = 0; h < count; h++) {
    const uint32_t unknowns = free_of(from + h);
    out.items[h] = {space.square.data() + size_t{h} * side() * side(),
                    space.inverse.data() + size_t{h} * side() * kStep,
                    space.diagonal.data() + size_t{h} * side(),
                    space.right.data() + h * side() * width,
                    unknowns == 0 ? 0 : std::min(unknowns, fitting()),
                    side(),
                    static_cast<uint32_t>(width)};
  }
  return out;
}

/// The smaller of the two systems of each head; the answer in `change`, and taken off what is missing.
kvfold_status LayerFit::solve_heads(uint32_t from, uint32_t count, kvfold_error *error) {
  const Systems all = systems(from, count);
  const uint32_t width = values().dim;
  Batch primal{}, dual{}, right{}, answer{}, missing{};
  for (Batch *batch : {&primal, &dual, &right, &answer, &missing}) batch->count = count;
  primal.lower = dual.lower = true;
  missing.finish = Finish::subtract;
  std::vector<uint32_t> unknowns;
  for (uint32_t h = 0; h < count; h++) {
    const System &s = all.items[h];
    const uint32_t f = free_of(from + h);
    const float *a = space.weights.data() + size_t{h} * rows * ld();
    float *e = space.targets.data() + size_t{h} * rows * width, *x = space.change.data() + size_t{h} * ld() * width;
    unknowns.push_back(f);
    if (f == 0) continue;
    if (fitting() < f) {
      dual.items[h] = {a, a, s.matrix, nullptr, ld(), ld(), s.ld, s.n, s.n, f};
      const cudaError_t code = cudaMemcpyAsync(s.right, e, size_t{s.n} * width * sizeof(float),
                                               cudaMemcpyDeviceToDevice, device()->stream());
      if (kvfold_status status = check(code, "copying a right side", error)) return status;
      answer.items[h] = {a, s.right, x, nullptr, ld(), width, width, f, width, fitting()};
    } else {
      primal.items[h] = {a, a, s.matrix, nullptr, ld(), ld(), s.ld, s.n, s.n, fitting()};
      right.items[h] = {a, e, s.right, nullptr, ld(), width, width, f, width, fitting()};
    }
    missing.items[h] = {a, fitting() < f ? x : s.right, e, nullptr, ld(), width, width, rows, width, f};
  }
  if (kvfold_status status = multiply(*device(), Stored::at_b_precise, primal, error)) return status;
  if (kvfold_status status = multiply(*device(), Stored::a_bt_precise, dual, error)) return status;
  if (kvfold_status status = multiply(*device(), Stored::at_b_precise, right, error)) return status;
  if (kvfold_status status =
          add_ridges(*device(), all, {fold.plan->fit->lambda, unknowns.data(), space.factors.data(), ld()},
                     space.ridges.data(), error))
    return status;
  if (kvfold_status status = factor(*device(), all, space.ridges.data(), error)) return status;
  if (kvfold_status status = solve(*device(), all, error)) return status;
  if (kvfold_status status = multiply(*device(), Stored::at_b_precise, answer, error)) return status;
  if (kvfold_status status = multiply(*device(), Stored::a_b, missing, error)) return status;
  for (uint32_t h = 0; h < count; h++) {  // primal answers join the dual ones
    const System &s = all.items[h];
    if (unknowns[h] == 0 || fitting() < unknowns[h]) continue;
    const cudaError_t code = cudaMemcpyAsync(space.change.data() + size_t{h} * ld() * width, s.right,
                                             size_t{s.n} * width * sizeof(float), cudaMemcpyDeviceToDevice,
                                             device()->stream());
    if (kvfold_status status = check(code, "copying an answer", error)) return status;
  }
  return square(space.targets.data(), count, 2, error);
}

}  // namespace cuda
}  // namespace kvfold
