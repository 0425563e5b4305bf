// See query_tap.h.
#include "query_tap.h"

#include <cstdio>
#include <cstring>

#include "ggml-backend.h"
#include "ggml.h"

namespace kvfold {

namespace {

const ggml_tensor *root_of(const ggml_tensor *tensor) {
  while (tensor->view_src != nullptr) tensor = tensor->view_src;
  return tensor;
}

// The layer whose cached keys an attention node reads, or -1. Without flash attention the keys lie below scale, mask
// and cap nodes, all of which keep them at src[0]; eight steps are more than any graph of this version has.
int cache_layer(const ggml_tensor *node) {
  const ggml_tensor *below = node->op == GGML_OP_FLASH_ATTN_EXT ? node->src[1] : node->src[0];
  for (int step = 0; below != nullptr && step < 8; step++) {
    int layer = -1;
    if (std::sscanf(root_of(below)->name, "cache_k_l%d", &layer) == 1) return layer;
    below = below->src[0];
  }
  return -1;
}

float param(const ggml_tensor *node, int index) {
  float value;
  std::memcpy(&value, node->op_params + index, sizeof value);
  return value;
}

}  // namespace

bool QueryTap::is_query(const ggml_tensor *node, int *layer) {
  return node->op == GGML_OP_ROPE && std::sscanf(node->name, "Qcur-%d", layer) == 1;
}

void QueryTap::observe(const ggml_tensor *node) {
  const bool flash = node->op == GGML_OP_FLASH_ATTN_EXT;
  if (!flash && node->op != GGML_OP_SOFT_MAX) return;
  const int layer = cache_layer(node);
  if (layer < 0) return;
  AttentionFacts facts;
  facts.scale = param(node, 0);
  facts.max_bias = param(node, 1);
  facts.sinks = node->src[flash ? 4 : 2] != nullptr;
  if (flash) {
    facts.soft_cap = param(node, 2);
  } else if (node->src[0]->op == GGML_OP_SCALE || node->src[0]->op == GGML_OP_UNARY) {
    facts.soft_cap = 1.0f;  // scale-tanh-scale before the softmax: present, its size does not matter to us
  }
  attention_[layer] = facts;
}

bool QueryTap::fail(const std::string &what) {
  if (problem_.empty()) problem_ = what;
  return false;
}

bool QueryTap::take(const ggml_tensor *node, int layer) {
  const int64_t head_dim = node->ne[0], heads = node->ne[1], tokens = node->ne[2];
  const ggml_tensor *where = node->src[1];
  if (node->type != GGML_TYPE_F32 || !ggml_is_contiguous(node) || node->ne[3] != 1)
    return fail("the query node is not a contiguous f32 [head_dim, heads, tokens]");
  if (where == nullptr || where->type != GGML_TYPE_I32 || ggml_nelements(where) != tokens)
    return fail("the query node has no one position a token");

  if (first_layer_ < 0) first_layer_ = layer;
  if (layer == first_layer_) {
    ubatch_positions_.resize(static_cast<size_t>(tokens));
    ggml_backend_tensor_get(where, ubatch_positions_.data(), 0, ubatch_positions_.size() * sizeof(int32_t));
    picks_.clear();
    for (int64_t column = 0; column < tokens; column++) {
      const uint32_t slot = reservoir_.offer(ubatch_positions_[column]);
      if (slot != QueryReservoir::kSkip) picks_.emplace_back(static_cast<uint32_t>(column), slot);
    }
  }

  const size_t width = static_cast<size_t>(head_dim) * static_cast<size_t>(heads);
  QueryLayer &kept = layers_[layer];
  kept.heads = static_cast<uint32_t>(heads);
  kept.head_dim = static_cast<uint32_t>(head_dim);
  if (kept.rows.size() < reservoir_.positions().size() * width) kept.rows.resize(reservoir_.positions().size() * width);
  if (picks_.empty()) return true;

  const float *source = nullptr;
  if (ggml_backend_buffer_is_host(node->buffer)) {
    source = static_cast<const float *>(node->data);
  } else {
    columns_.resize(width * static_cast<size_t>(tokens));
    ggml_backend_tensor_get(node, columns_.data(), 0, columns_.size() * sizeof(float));
    source = columns_.data();
  }
  for (const auto &[column, slot] : picks_) {
    if (column >= static_cast<uint64_t>(tokens)) return fail("layers of one ubatch differ in tokens");
    ggml_fp32_to_fp16_row(source + column * width, reinterpret_cast<ggml_fp16_t *>(&kept.rows[slot * width]),
                          static_cast<int64_t>(width));
  }
  return true;
}

uint64_t QueryTap::bytes_needed(uint64_t positions, uint64_t layers, uint64_t heads, uint64_t head_dim) {
  const unsigned __int128 bytes = static_cast<unsigned __int128>(positions) * layers * heads * head_dim * 2;
  return bytes > UINT64_MAX ? UINT64_MAX : static_cast<uint64_t>(bytes);
}

}  // namespace kvfold
