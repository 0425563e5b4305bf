// Captures a bounded sample of the rotated queries of every layer while a prompt is read.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "query_reservoir.h"

struct ggml_tensor;

namespace kvfold {

// What the attention node of a layer does besides softmax(scale * q.k) v; anything else forbids fitting values.
struct AttentionFacts {
  float scale = 0.0f;      // multiplies q.k
  float soft_cap = 0.0f;   // 0 = none
  float max_bias = 0.0f;   // ALiBi, 0 = none
  bool sinks = false;      // a learned sink logit in the denominator
};

struct QueryLayer {
  uint32_t heads = 0;
  uint32_t head_dim = 0;
  std::vector<uint16_t> rows;  // f16 bits [slots, heads, head_dim]
};

// One tap listens to one sequence during its prefill. Driven by the evaluation callback: `wants` in the ask call,
// `take` when the node is computed. Queries are those after RoPE, before any Hadamard rotation of a quantised cache.
class QueryTap {
 public:
  QueryTap(uint32_t max_positions, uint32_t stride, uint64_t seed) : reservoir_(max_positions, stride, seed) {}

  // True for the RoPE node of the queries of a layer. The name alone is shared by projection and reshape.
  static bool is_query(const ggml_tensor *node, int *layer);

  // Notes what the attention node says; call for every node that is asked about.
  void observe(const ggml_tensor *node);

  // Copies the sampled columns of a computed query node. False if the node has an unexpected form (see `problem`).
  bool take(const ggml_tensor *node, int layer);

  // Bytes that the sample may occupy when full.
  static uint64_t bytes_needed(uint64_t positions, uint64_t layers, uint64_t heads, uint64_t head_dim);

  const std::vector<int32_t> &positions() const { return reservoir_.positions(); }
  const std::map<int, QueryLayer> &layers() const { return layers_; }
  const std::map<int, AttentionFacts> &attention() const { return attention_; }
  const std::string &problem() const { return problem_; }

 private:
  bool fail(const std::string &what);

  QueryReservoir reservoir_;
  std::map<int, QueryLayer> layers_;
  std::map<int, AttentionFacts> attention_;
  // columns of the running ubatch that go to a slot, drawn once at its first layer
  std::vector<std::pair<uint32_t, uint32_t>> picks_;
  std::vector<int32_t> ubatch_positions_;
  int first_layer_ = -1;
  std::vector<float> columns_;
  std::string problem_;
};

}  // namespace kvfold
