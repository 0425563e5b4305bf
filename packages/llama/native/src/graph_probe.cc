// See graph_probe.h.
#include "graph_probe.h"

#include <cstring>

#include "ggml-backend.h"
#include "ggml.h"

namespace kvfold {

namespace {

constexpr int kSteps = 12;  // more nodes than any graph of this version has between projection, rotation and cache

float float_param(const ggml_tensor *node, int index) {
  float value;
  std::memcpy(&value, node->op_params + index, sizeof value);
  return value;
}

bool only_moves(const ggml_tensor *node) {
  switch (node->op) {
    case GGML_OP_VIEW:
    case GGML_OP_RESHAPE:
    case GGML_OP_PERMUTE:
    case GGML_OP_TRANSPOSE:
    case GGML_OP_CONT:
    case GGML_OP_CPY:
    case GGML_OP_DUP:
    case GGML_OP_PAD:
      return true;
    default:
      return false;
  }
}

// The matrix `attn_inp_k_rot` or `attn_inp_v_rot`, also as the scheduler's copy of it.
bool is_hadamard(const ggml_tensor *node, const char *name) {
  return node->op == GGML_OP_MUL_MAT && node->src[0] != nullptr && std::strstr(node->src[0]->name, name) != nullptr;
}

RopeFacts rope_of(const ggml_tensor *node) {
  RopeFacts rope;
  rope.dims = node->op_params[1];
  rope.mode = node->op_params[2];
  rope.original_context = node->op_params[4];
  rope.base = float_param(node, 5);
  rope.scale = float_param(node, 6);
  rope.ext_factor = float_param(node, 7);
  rope.attn_factor = float_param(node, 8);
  rope.beta_fast = float_param(node, 9);
  rope.beta_slow = float_param(node, 10);
  const ggml_tensor *factors = node->src[2];
  if (factors != nullptr && factors->type == GGML_TYPE_F32 && ggml_nelements(factors) >= rope.dims / 2) {
    rope.factors.resize(static_cast<size_t>(rope.dims / 2));
    ggml_backend_tensor_get(factors, rope.factors.data(), 0, rope.factors.size() * sizeof(float));
  }
  return rope;
}

}  // namespace

const ggml_tensor *root_of(const ggml_tensor *tensor) {
  while (tensor->view_src != nullptr) tensor = tensor->view_src;
  return tensor;
}

int layer_named(const ggml_tensor *tensor, const char *prefix) {
  const size_t length = std::strlen(prefix);
  if (std::strncmp(tensor->name, prefix, length) != 0) return -1;
  const char *digits = tensor->name + length;
  int layer = 0;
  if (*digits == '\0') return -1;
  for (; *digits != '\0'; digits++) {
    if (*digits < '0' || *digits > '9' || layer > 1 << 20) return -1;
    layer = layer * 10 + (*digits - '0');
  }
  return layer;
}

const ggml_tensor *cached_keys_below(const ggml_tensor *attention) {
  const ggml_tensor *below = attention->op == GGML_OP_FLASH_ATTN_EXT ? attention->src[1] : attention->src[0];
  for (int step = 0; below != nullptr && step < kSteps; step++) {
    if (layer_named(root_of(below), "cache_k_l") >= 0) return below;
    below = below->src[0];
  }
  return nullptr;
}

ggml_tensor *mask_of(const ggml_tensor *node) {
  if (node->op == GGML_OP_FLASH_ATTN_EXT) return node->src[3];
  if (node->op == GGML_OP_SOFT_MAX) return node->src[1];
  return nullptr;
}

void GraphProbe::see(const ggml_tensor *node) {
  if (node->op == GGML_OP_SET_ROWS) {
    const ggml_tensor *root = root_of(node);
    const int key = layer_named(root, "cache_k_l"), value = layer_named(root, "cache_v_l");
    if (key >= 0) see_key_store(node, key);
    if (value >= 0) see_value_store(node, value);
  } else if (node->op == GGML_OP_FLASH_ATTN_EXT || node->op == GGML_OP_SOFT_MAX) {
    see_attention(node);
  } else if (node->op == GGML_OP_MUL_MAT && node->src[0] != nullptr) {
    const int value = layer_named(root_of(node->src[0]), "cache_v_l");
    if (value >= 0) see_value_product(node, value);
  }
}

// From the cache back to the rotation. Only moves and the Hadamard matrix may lie between: anything else changes
// rotated keys in a way that a rotation by a difference of positions would not undo.
void GraphProbe::see_key_store(const ggml_tensor *node, int layer) {
  LayerFacts &facts = layers_[layer];
  facts.key = root_of(node);
  facts.stored = true;
  bool changed = false;
  const ggml_tensor *below = node->src[0];
  for (int step = 0; below != nullptr && step < kSteps; step++) {
    if (below->op == GGML_OP_ROPE) {
      facts.rotated = true;
      facts.rope = rope_of(below);
      if (changed) facts.problem = "keys are changed after their rotation";
      if (facts.rope.mode != GGML_ROPE_TYPE_NORMAL && facts.rope.mode != GGML_ROPE_TYPE_NEOX)
        facts.problem = "rotation with several positions a token (M-RoPE)";
      return;
    }
    if (is_hadamard(below, "attn_inp_k_rot")) {
      facts.hadamard_key = below->src[0]->ne[0];
      below = below->src[1];
      continue;
    }
    if (below->op == GGML_OP_MUL_MAT || below->op == GGML_OP_NONE) return;  // the projection: keys carry no rotation
    if (below->op == GGML_OP_CONCAT) {
      facts.problem = "keys are put together from several parts (MLA or partial rotation by concatenation)";
      return;
    }
    if (!only_moves(below)) changed = true;
    below = below->src[0];
  }
  facts.problem = "the way of the keys into the cache is not understood";
}

void GraphProbe::see_value_store(const ggml_tensor *node, int layer) {
  LayerFacts &facts = layers_[layer];
  facts.value = root_of(node);
  const ggml_tensor *below = node->src[0];
  for (int step = 0; below != nullptr && step < kSteps; step++) {
    if (is_hadamard(below, "attn_inp_v_rot")) {
      facts.hadamard_value = below->src[0]->ne[0];
      return;
    }
    if (!only_moves(below)) return;
    below = below->src[0];
  }
}

void GraphProbe::see_attention(const ggml_tensor *node) {
  const ggml_tensor *keys = cached_keys_below(node);
  if (keys == nullptr) return;
  const int layer = layer_named(root_of(keys), "cache_k_l");
  LayerFacts &facts = layers_[layer];
  const bool flash = node->op == GGML_OP_FLASH_ATTN_EXT;
  facts.attended = true;
  facts.scale = float_param(node, 0);
  facts.max_bias = float_param(node, 1);
  facts.sinks = node->src[flash ? 4 : 2] != nullptr;
  if (flash) {
    facts.soft_cap = float_param(node, 2);
    facts.key_dim = node->src[1]->ne[0];
    facts.kv_heads = node->src[1]->ne[2];
    facts.query_heads = node->src[0]->ne[2];
    facts.value_dim = node->src[2]->ne[0];
    see_queries(node->src[0], layer);
    return;
  }
  const ggml_tensor *product = node->src[0];
  for (int step = 0; product != nullptr && step < kSteps && product->op != GGML_OP_MUL_MAT; step++) {
    if (product->op == GGML_OP_ADD) facts.problem = "attention scores carry a learned position bias";
    if (product->op == GGML_OP_UNARY) facts.soft_cap = 1.0f;  // present; its size is of no matter here
    product = product->src[0];
  }
  if (product == nullptr || product->op != GGML_OP_MUL_MAT) return;
  facts.key_dim = product->src[0]->ne[0];
  facts.kv_heads = product->src[0]->ne[2];
  facts.query_heads = product->src[1]->ne[2];
  // anything between product and softmax changes the scores in a way that the scale of the softmax does not tell
  if (product == node->src[0]) see_queries(product->src[1], layer);
}

// From the attention back to the first node with a name of its own, `<what>-<layer>`: that one can be found again in
// every later graph. Moves, the Hadamard matrix and plain scales may lie between.
void GraphProbe::see_queries(const ggml_tensor *below, int layer) {
  LayerFacts &facts = layers_[layer];
  const std::string ending = "-" + std::to_string(layer);
  facts.query_node.clear();
  facts.query_scale = 1;
  for (int step = 0; below != nullptr && step < kSteps; step++) {
    const std::string name = below->name;
    if (name.size() > ending.size() && name.compare(name.size() - ending.size(), ending.size(), ending) == 0) {
      facts.query_node = name;
      facts.query_op = static_cast<int>(below->op);
      return;
    }
    if (is_hadamard(below, "attn_inp_k_rot")) {
      below = below->src[1];
      continue;
    }
    if (below->op == GGML_OP_SCALE && float_param(below, 1) == 0.0f)
      facts.query_scale *= float_param(below, 0);
    else if (!only_moves(below))
      return;
    below = below->src[0];
  }
}

// Without flash attention: values [cells, channels, heads] times weights.
void GraphProbe::see_value_product(const ggml_tensor *node, int layer) {
  layers_[layer].value_dim = node->src[0]->ne[1];
}

}  // namespace kvfold
