// New slices that several members make: decoded, turned, weighted and added on the device, in the order of the members.
#pragma once

#include <cstdint>
#include <vector>

#include "cache_tensor.h"
#include "turn.h"

namespace kvfold {

// Slice i is the sum of the members offsets[i] .. offsets[i + 1] - 1.
struct SumList {
  std::vector<int32_t> to;         // units
  std::vector<uint32_t> offsets;   // [to + 1]
  std::vector<int32_t> from;       // units
  std::vector<float> weights;
  std::vector<int32_t> turns;      // positions by which each member turns; empty: members are added as stored
};

// A part of a list, computed in one graph: the rows of the matrix that it goes to, and the sums as floats.
//
// Members are taken by rank, so that each node adds one member to all slices that have that many:
//
//     slices, most members first   a b c d        rank 0   a b c d
//     members                      3 3 2 1        rank 1   a b c
//                                                 rank 2   a b
class SumBlock {
 public:
  // Slices `first` to `last` of the list.
  SumBlock(const SumList &list, size_t first, size_t last, const SliceMatrix &matrix, const TurnSpec &turn);

  // Tensors that `build` adds at most.
  size_t tensors() const;
  // Adds the nodes; the sums stay until the allocator is used again. The block must live until the graph has run.
  void build(Graph &graph, const SliceMatrix &matrix);
  // In a later graph: the node that stores the sums, converted to the type of the cache.
  void store(Graph &graph, const SliceMatrix &matrix) const;

 private:
  struct Rank {
    std::vector<int32_t> from;
    std::vector<float> weights;
    Angles angles;
  };
  const TurnSpec &turn_;
  bool turned_;
  std::vector<int64_t> to_;
  std::vector<Rank> ranks_;
  ggml_tensor *sums_ = nullptr;
};

// Slices of one block: what every backend takes as the third dimension of a tensor.
constexpr size_t kSlicesOfBlock = 1 << 15;

}  // namespace kvfold
