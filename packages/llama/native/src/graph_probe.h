// What the model's own graph says about every cached layer: head sizes, rotation, Hadamard blocks, attention extras.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

struct ggml_tensor;

namespace kvfold {

// The parameters of a RoPE node, as llama.cpp computes with them after all overrides.
struct RopeFacts {
  int32_t dims = 0;
  int32_t mode = 0;  // 0: pairs (2i, 2i+1); 2: pairs (i, i + dims/2)
  int32_t original_context = 0;
  float base = 0, scale = 0, ext_factor = 0, attn_factor = 0, beta_fast = 0, beta_slow = 0;
  std::vector<float> factors;  // divisors of the angles [dims / 2], or empty
};

struct LayerFacts {
  const ggml_tensor *key = nullptr;    // root tensors of the cache
  const ggml_tensor *value = nullptr;
  int64_t key_dim = 0, value_dim = 0, kv_heads = 0, query_heads = 0;
  bool stored = false;                 // the node that writes the keys was seen
  bool rotated = false;
  RopeFacts rope;
  int64_t hadamard_key = 0, hadamard_value = 0;
  bool attended = false;               // the attention node was seen
  float scale = 0, soft_cap = 0, max_bias = 0;
  bool sinks = false;
  // The last named node that queries pass before the attention, or "" if what follows it is not understood; and what
  // the scale nodes after it multiply.
  std::string query_node;
  int query_op = 0;
  float query_scale = 1;
  std::string problem;                 // why this layer cannot be folded, or empty
};

// Walks the nodes of one evaluation. Driven by the evaluation callback; asks for no node, changes nothing.
class GraphProbe {
 public:
  void see(const ggml_tensor *node);
  const std::map<int, LayerFacts> &layers() const { return layers_; }

 private:
  void see_key_store(const ggml_tensor *node, int layer);
  void see_value_store(const ggml_tensor *node, int layer);
  void see_attention(const ggml_tensor *node);
  void see_queries(const ggml_tensor *below, int layer);
  void see_value_product(const ggml_tensor *node, int layer);

  std::map<int, LayerFacts> layers_;
};

// The tensor that a chain of views ends in.
const ggml_tensor *root_of(const ggml_tensor *tensor);
// Layer of a tensor named `<prefix><layer>`, or -1.
int layer_named(const ggml_tensor *tensor, const char *prefix);
// The view of cached keys below an attention node, or null if the node attends over no cache.
const ggml_tensor *cached_keys_below(const ggml_tensor *attention);
// The mask of an attention node (flash attention or softmax), or null.
ggml_tensor *mask_of(const ggml_tensor *node);

}  // namespace kvfold
