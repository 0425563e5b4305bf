// A case folded by a backend, and compared with what the double reference made of it.
#include "compare.h"

#include <algorithm>
#include <cmath>

#include "bounds.h"
#include "check.h"
#include "common/tensor.h"
#include "placed.h"
#include "reference/convert.h"
#include "reference/rows.h"

namespace cases {
namespace {

constexpr double kMembers = 6, kMagnitude = 6 * 2 * 4;  // members * weight * |x| with room for a Hadamard basis

std::vector<double> decoded(const kvfold::Tensor &tensor, size_t slot, size_t head) {
  std::vector<uint8_t> bytes(tensor.slice_bytes);
  kvfold::reference::load_slice(tensor, slot, head, bytes.data());
  return kvfold::reference::decode(tensor, bytes.data());
}

}  // namespace

bool fold(const Case &one, const kvfold_backend *backend, uint32_t threads) {
  const kvfold_options options{threads, nullptr, nullptr, nullptr, 0};
  kvfold_error error{};
  kvfold_fold *prepared = nullptr;
  Placed placed(one, backend);
  bool ok = CHECK_MESSAGE(kvfold_check_target(&one.target, &error) == KVFOLD_OK, error.message) &&
            CHECK_MESSAGE(kvfold_check_plan(&one.target, &one.plan, &error) == KVFOLD_OK, error.message) &&
            CHECK_MESSAGE(backend->fold_prepare(&one.target, &one.plan, &options, &prepared, &error) == KVFOLD_OK,
                          error.message);
  if (!ok) return false;
  ok = CHECK_MESSAGE(backend->fold_commit(prepared, &options, &error) == KVFOLD_OK, error.message);
  backend->fold_free(prepared);
  placed.fetch();
  return ok;
}

void compare(const Case &got, const Case &want, const Case &before) {
  const bool composite = got.plan.layout == KVFOLD_COMPOSITE;
  if (composite) CHECK_MESSAGE(got.same_bytes(want.buffers), got.name.c_str());
  for (uint32_t i = 0; i < got.buffers.size(); i++) {
    const kvfold::Tensor a = kvfold::tensor_of(got.memory, i / 2, i % 2), b = kvfold::tensor_of(want.memory, i / 2, i % 2);
    const bool turned = i % 2 == 0 && got.plan.key_frame == KVFOLD_FRAME_TARGET;
    const double slack = bounds::arithmetic(kMembers, kMagnitude, turned, a.hadamard);
    for (uint32_t slot = 0; slot < got.memory.capacity; slot++) {
      const auto place = std::lower_bound(got.destinations.begin(), got.destinations.end(), slot);
      const bool written = place != got.destinations.end() && *place == slot;
      const auto row = static_cast<uint32_t>(place - got.destinations.begin());
      for (uint32_t head = 0; head < a.heads; head++) {
        std::vector<uint8_t> raw_a(a.slice_bytes), raw_b(b.slice_bytes);
        kvfold::reference::load_slice(a, slot, head, raw_a.data());
        kvfold::reference::load_slice(b, slot, head, raw_b.data());
        if (!written) {
          CHECK_MESSAGE(raw_a == raw_b, got.name.c_str());
          continue;
        }
        if (raw_a == raw_b) continue;
        const std::vector<double> x = decoded(a, slot, head), y = decoded(b, slot, head);
        bool within = true;
        double largest = 0, fixed = 0;
        for (size_t j = 0; j < x.size(); j++) {
          if (j % 32 == 0) {
            largest = 0;
            for (size_t k = j; k < std::min(x.size(), j + 32); k++) largest = std::max(largest, std::fabs(y[k]));
            fixed = fixed_point_slack(before, i, row, head, j, largest);
          }
          within = within && std::fabs(x[j] - y[j]) <= 2 * (bounds::store(a.type, y[j], largest) + slack) + fixed;
        }
        CHECK_MESSAGE(within, got.name.c_str());
      }
    }
  }
}

}  // namespace cases
