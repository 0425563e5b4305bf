// New rows of one head of a transposed tensor, one channel after another.
#ifndef KVFOLD_CPU_LANE_MAKER_H
#define KVFOLD_CPU_LANE_MAKER_H

#include <cstring>

#include "cpu/fold.h"

namespace kvfold {
namespace cpu {

/// All rows of a channel are made before one of them is written, so the cells can be read where they are. What a row
/// is made of is the same in every channel of a head, and is looked up once, into `space`.
class LaneMaker {
 public:
  LaneMaker(const Fold &fold, uint32_t index, size_t head, FoldSpace *space);
  /// out: [rows] elements. `j`: channel of the head.
  void make(size_t j, uint8_t *out) const;

 private:
  const Tensor tensor_;
  const size_t head_, rows_;
  FoldSpace &space_;
};

/// Elements are 2 or 4 bytes; a fixed size lets the compiler make it one load and store.
inline void copy_element(uint8_t *to, const uint8_t *from, size_t bytes) {
  if (bytes == 2) std::memcpy(to, from, 2);
  else std::memcpy(to, from, 4);
}

}  // namespace cpu
}  // namespace kvfold

#endif
