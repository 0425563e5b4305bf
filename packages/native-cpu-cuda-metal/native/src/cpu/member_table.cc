// What does not depend on a tensor, counted once; RowMaker looks it up for every row.
#include "cpu/member_table.h"

#include <algorithm>

#include "cpu/arch/kernels.h"

namespace kvfold {
namespace cpu {

bool MemberTable::fill(const kvfold_plan &plan, const uint32_t *place_of_cell) {
  const size_t members = static_cast<size_t>(plan.members.length);
  if (!place.allocate(members) || !run.allocate(members)) return false;
  for (size_t m = members; m-- > 0;) {
    place[m] = place_of_cell[plan.members.data[m]];
    run[m] = m + 1 < members && place[m + 1] == place[m] + 1 ? run[m + 1] + 1 : 1;
  }
  uint32_t least = UINT32_MAX, most = 0;  // members of a row
  for (size_t row = 0; row < plan.rows; row++) {
    const uint32_t count = plan.offsets.data[row + 1] - plan.offsets.data[row];
    least = std::min(least, count);
    most = std::max(most, count);
  }
  sums = least > 1 && most <= kMostTerms;
  for (uint32_t kind : {KVFOLD_KEYS, KVFOLD_VALUES}) {
    const kvfold_weights &weights = kind == KVFOLD_KEYS ? plan.key_weights : plan.value_weights;
    const float *begin = weights.data.data;
    if (weights.scope != KVFOLD_SCOPE_ALL) continue;
    plain[kind] = std::find(begin, begin + members, 0.0f) == begin + members;
    copies[kind] = least == 1 && most == 1 && std::count(begin, begin + members, 1.0f) == static_cast<ptrdiff_t>(members);
  }
  return true;
}

}  // namespace cpu
}  // namespace kvfold
