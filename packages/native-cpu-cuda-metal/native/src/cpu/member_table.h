// The members of a shared plan, looked at once for all tensors.
#ifndef KVFOLD_CPU_MEMBER_TABLE_H
#define KVFOLD_CPU_MEMBER_TABLE_H

#include <cstdint>

#include "common/scratch.h"
#include "kvfold/fold.h"

namespace kvfold {
namespace cpu {

struct MemberTable {
  Scratch<uint32_t> place;  // [members] of the cell, as in Fold::place
  Scratch<uint32_t> run;    // [members] how many, from this one on, have places that follow each other
  bool plain[2] = {false, false};   // keys, values: all layers and heads have the same weights, and none is 0
  bool copies[2] = {false, false};  // keys, values: and every row is one cell
  bool sums = false;                // every row has some members, not more than a kernel sums at once

  /// place_of_cell: [cells]. False if there is no memory.
  bool fill(const kvfold_plan &plan, const uint32_t *place_of_cell);
};

}  // namespace cpu
}  // namespace kvfold

#endif
