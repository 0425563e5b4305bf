// A fold of a cache on its devices: slices are written chunk by chunk, and every chunk can be taken back.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "member_sums.h"
#include "tensors.h"
#include "undo_log.h"

namespace kvfold {

enum TensorKind : uint32_t { kKeys = 0, kValues = 1 };

// What a chunk of one tensor becomes. Units count the heads of all cells: cell * heads + head, or cells where whole
// cells are meant. Every written unit stands in one of the lists.
struct Chunk {
  uint32_t layer = 0, kind = kKeys;
  SlicePlace place;
  std::vector<int32_t> copied_from, copied_to;  // bytes stay as they are
  std::vector<int32_t> given_to;                // bytes come from the host
  std::vector<uint8_t> given;                   // [given_to, slice bytes]
  SumList sums, turned;
};

// In two phases, so that no cell is overwritten before it was read, whatever the order of cells:
//
//     read    old bytes of the destinations -> undo log     copies, sums -> scratch
//     write   scratch -> destinations
class DeviceFold {
 public:
  // Reserves the undo log for so many rows of every tensor.
  DeviceFold(std::shared_ptr<Tensors> tensors, uint32_t rows, bool undo_on_host);

  const std::shared_ptr<Tensors> &tensors() const { return tensors_; }
  // Of the undo log.
  size_t held_bytes() const;
  // @param fail_at fault point that throws, for tests; -1: none  @returns fault points passed
  int64_t write(const Chunk &chunk, int64_t fail_at);
  void roll_back();

 private:
  void check(const Chunk &chunk, const CacheTensor &tensor) const;

  std::shared_ptr<Tensors> tensors_;
  Devices devices_;
  std::vector<UndoLog> undo_;  // [layers, keys and values]
};

}  // namespace kvfold
