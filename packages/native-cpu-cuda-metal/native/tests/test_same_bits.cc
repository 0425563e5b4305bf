// Folds of every backend that is not the reference give the bytes of the CPU backend. Turned keys may differ where the
// sines of two libraries of mathematics fall on different sides of a rounding: in one slice of a thousand.
#include <cstdlib>

#include "cases.h"
#include "check.h"
#include "common/tensor.h"
#include "compare.h"
#include "reference/rows.h"

using cases::Case;

namespace {

std::vector<uint8_t> slice_of(const Case &one, uint32_t tensor, uint32_t slot, uint32_t head) {
  const kvfold::Tensor geometry = kvfold::tensor_of(one.memory, tensor / 2, tensor % 2);
  std::vector<uint8_t> bytes(geometry.slice_bytes);
  kvfold::reference::load_slice(geometry, slot, head, bytes.data());
  return bytes;
}

struct Turned {
  long slices = 0, differ = 0;
};

void compare(const Case &got, const Case &want, Turned *turned) {
  for (uint32_t i = 0; i < got.buffers.size(); i++) {
    const bool may_turn = i % 2 == 0 && got.plan.layout == KVFOLD_SHARED &&
                          got.plan.key_frame == KVFOLD_FRAME_TARGET && got.layers[i / 2].rope_pairing != 0;
    if (!may_turn) {
      CHECK_MESSAGE(got.buffers[i].bytes == want.buffers[i].bytes, got.name.c_str());
      continue;
    }
    for (uint32_t slot : got.destinations) {
      for (uint32_t head = 0; head < got.layers[i / 2].kv_heads; head++) {
        turned->slices++;
        turned->differ += slice_of(got, i, slot, head) != slice_of(want, i, slot, head) ? 1 : 0;
      }
    }
  }
}

}  // namespace

int main(int count, char **arguments) {
  const uint32_t runs = count > 1 ? static_cast<uint32_t>(std::atoi(arguments[1])) : 40;
  const kvfold_backend *cpu = kvfold_backend_named("cpu"), *oracle = kvfold_backend_named("reference");
  Turned turned;
  const uint32_t first = 20000 + check::first_seed();
  for (uint32_t seed = first; seed < first + runs; seed++) {
    const auto want = cases::random_case(seed);
    if (seed % 3 == 1) cases::add_values(want.get(), seed);
    if (!cases::fold(*want, cpu, 2)) break;
    for (size_t b = 0; const kvfold_backend *backend = kvfold_backend_at(b); b++) {
      if (backend == oracle || backend == cpu) continue;
      const auto got = cases::random_case(seed);
      if (seed % 3 == 1) cases::add_values(got.get(), seed);
      if (cases::fold(*got, backend, 2)) compare(*got, *want, &turned);
    }
  }
  if (turned.slices > 0) std::printf("turned key slices: %ld, %ld of them differ\n", turned.slices, turned.differ);
  CHECK(turned.differ * 1000 <= turned.slices);
  return check::verdict("same bits");
}
