// See bias.h.
#include "bias.h"

#include <cmath>
#include <cstring>

#include "ggml-backend.h"
#include "ggml.h"
#include "graph_probe.h"

namespace kvfold {

namespace {

// True for the first nodes of an evaluation: those that read its tokens or embeddings.
bool starts_evaluation(const ggml_tensor *node) {
  for (int i = 0; i < GGML_MAX_SRC && node->src[i] != nullptr; i++) {
    const char *name = node->src[i]->name;
    if (std::strstr(name, "inp_tokens") != nullptr || std::strstr(name, "inp_embd") != nullptr) return true;
  }
  return false;
}

void add_half(ggml_fp16_t *row, const CellBias::Entries &entries, int64_t cells) {
  for (const auto &[cell, bias] : entries) {
    if (cell >= cells) continue;
    const float seen = ggml_fp16_to_fp32(row[cell]);
    if (std::isfinite(seen)) row[cell] = ggml_fp32_to_fp16(seen + bias);
  }
}

void add_single(float *row, const CellBias::Entries &entries, int64_t cells) {
  for (const auto &[cell, bias] : entries) {
    if (cell < cells && std::isfinite(row[cell])) row[cell] += bias;
  }
}

}  // namespace

void CellBias::see(const ggml_tensor *node, const std::set<const ggml_tensor *> &folded) {
  if (starts_evaluation(node)) done_.clear();
  ggml_tensor *mask = mask_of(node);
  if (mask == nullptr || std::strstr(mask->name, "attn_inp_kq_mask") == nullptr) return;
  const ggml_tensor *keys = cached_keys_below(node);
  if (keys == nullptr) return;
  const ggml_tensor *root = root_of(keys);
  if (folded.count(root) == 0 || !done_.insert(mask).second) return;
  add_to(mask, root->ne[2] > 1 ? static_cast<uint32_t>(keys->view_offs / root->nb[2]) : 0);
}

// The mask: [cells attended, tokens of a stream, 1, streams of the batch], f16 with flash attention, else f32.
void CellBias::add_to(ggml_tensor *mask, uint32_t first_stream) {
  const int64_t cells = mask->ne[0], rows = mask->ne[1];
  const auto streams = static_cast<size_t>(mask->ne[3]);
  bytes_.resize(ggml_nbytes(mask));
  ggml_backend_tensor_get(mask, bytes_.data(), 0, bytes_.size());
  for (size_t s = 0; s < streams; s++) {
    if (first_stream + s >= biased_.size()) break;
    const Entries &entries = biased_[first_stream + s];
    if (entries.empty()) continue;
    for (int64_t row = 0; row < rows; row++) {
      uint8_t *start = bytes_.data() + s * mask->nb[3] + row * mask->nb[1];
      if (mask->type == GGML_TYPE_F16)
        add_half(reinterpret_cast<ggml_fp16_t *>(start), entries, cells);
      else if (mask->type == GGML_TYPE_F32)
        add_single(reinterpret_cast<float *>(start), entries, cells);
    }
  }
  ggml_backend_tensor_set(mask, bytes_.data(), 0, bytes_.size());
  rewrites_++;
}

}  // namespace kvfold
