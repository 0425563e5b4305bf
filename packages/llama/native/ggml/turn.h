// Nodes that turn keys by a difference of positions, and the Hadamard transform around it.
#pragma once

#include <cstdint>
#include <vector>

#include "graph.h"

namespace kvfold {

// How the keys of a layer are rotated and stored (kvfold/memory.h has the meaning of each).
struct TurnSpec {
  uint32_t pairing = 0;
  int64_t dims = 0;
  std::vector<double> frequencies;  // [dims / 2]
  int64_t hadamard = 0;             // block of the stored keys, 0: none
};

// Cosines and sines for keys that turn by so many positions: angles in double, so that far positions lose nothing.
struct Angles {
  Angles(const TurnSpec &spec, const std::vector<int32_t> &deltas);
  std::vector<float> cosines, sines;  // [keys, dims / 2]
};

// x: [keys, dim] f32, contiguous. The caller keeps `angles` until the graph has run. @returns [keys, dim]
ggml_tensor *turned(Graph &graph, const TurnSpec &spec, ggml_tensor *x, const Angles &angles);

// Blocks of channels times H / sqrt(block), in butterflies as all executors do it.
ggml_tensor *hadamard(Graph &graph, ggml_tensor *x, int64_t block);

// Tensors that one call adds at most.
size_t turn_tensors(const TurnSpec &spec);

}  // namespace kvfold
