// What does not depend on a tensor, counted once; RowMaker looks it up for every row.
#include "cpu/member_table.h"

#include <algorithm>

#include "cpu/arch/kernels.h"

namespace kvfold {
namespace cpu {

bool MemberTable::fill(const kvfold_plan &plan, const uint32_t *place_of_cell) {
  const size_t members = static_cast<size_t>(plan.members.length);
  if (!place.allocate(members) || !run.allocate(members)) return false;
  const uint32_t *cells = plan.members.data, *offsets = plan.offsets.data;
  uint32_t *places = place.data(), *runs = run.data();
  for (size_t m = members, next = 0, length = 0; m-- > 0;) {
    const uint32_t here = place_of_cell[cells[m]];
    length = here + size_t{1} == next ? length + 1 : 1;
    places[m] = here;
    runs[m] = static_cast<uint32_t>(length);
    next = here;
  }
  uint32_t least = UINT32_MAX, most = 0;  // members of a row
  for (size_t row = 0; row < plan.rows; row++) {
    const uint32_t count = offsets[row + 1] - offsets[row];
    least = std::min(least, count);
    most = std::max(most, count);
  }
  sums = least > 1 && most <= kMostTerms;
  for (uint32_t kind : {KVFOLD_KEYS, KVFOLD_VALUES}) {
    const kvfold_weights &weights = kind == KVFOLD_KEYS ? plan.key_weights : plan.value_weights;
    if (weights.scope != KVFOLD_SCOPE_ALL) continue;
    // counting takes vectors of numbers, searching takes one after another
    const float *begin = weights.data.data, *end = begin + members;
    plain[kind] = std::count(begin, end, 0.0f) == 0;
    copies[kind] = least == 1 && most == 1 && std::count(begin, end, 1.0f) == static_cast<ptrdiff_t>(members);
  }
  return true;
}

}  // namespace cpu
}  // namespace kvfold
