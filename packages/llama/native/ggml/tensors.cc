// See tensors.h.
#include "tensors.h"

#include <algorithm>
#include <cstring>

namespace kvfold {

namespace {

constexpr size_t kReadBytes = 16 << 20;  // of scratch on the device, for one step of a read

TensorLayer layer_of(const CacheInfo &cache, const CacheLayer &layer, uint32_t stream,
                     std::vector<double> frequencies) {
  const LayerFacts &facts = layer.facts;
  const auto tensor = [&](const ggml_tensor *root, int64_t dim, bool transposed) {
    CacheTensor out;
    out.root = const_cast<ggml_tensor *>(root);
    out.offset = stream * root->nb[2];
    out.heads = facts.kv_heads;
    out.dim = dim;
    out.capacity = cache.cells;
    out.transposed = transposed;
    return out;
  };
  TensorLayer out;
  out.keys = tensor(facts.key, facts.key_dim, false);
  out.values = tensor(facts.value, facts.value_dim, cache.values_transposed);
  out.turn.hadamard = facts.hadamard_key;
  if (!facts.rotated) return out;
  out.turn.pairing = facts.rope.mode == GGML_ROPE_TYPE_NEOX ? KVFOLD_ROPE_HALF : KVFOLD_ROPE_INTERLEAVED;
  out.turn.dims = facts.rope.dims;
  out.turn.frequencies = std::move(frequencies);
  return out;
}

}  // namespace

Tensors::Tensors(std::shared_ptr<ContextHandle> context, uint32_t stream,
                 std::vector<std::vector<double>> frequencies)
    : context_(std::move(context)), threads_(context_->threads()) {
  const CacheInfo &cache = context_->foldable_cache();
  for (size_t i = 0; i < cache.layers.size(); i++)
    layers_.push_back(layer_of(cache, cache.layers[i], stream, std::move(frequencies[i])));
}

Tensors::Tensors(ggml_backend_dev_t device, int threads, const std::vector<LayerPlan> &layers, int64_t capacity)
    : threads_(threads) {
  ggml_init_params params{};
  params.mem_size = ggml_tensor_overhead() * (2 * layers.size() + 1);
  params.no_alloc = true;
  own_.reset(ggml_init(params));
  if (own_ == nullptr) throw Failure("KVFOLD_NATIVE", "out of memory for tensors");
  const auto tensor = [&](ggml_type type, int64_t heads, int64_t dim, bool transposed) {
    CacheTensor out;
    out.root = ggml_new_tensor_3d(own_.get(), type, heads * dim, capacity, 1);
    out.heads = heads;
    out.dim = dim;
    out.capacity = capacity;
    out.transposed = transposed;
    return out;
  };
  for (const LayerPlan &plan : layers)
    layers_.push_back({tensor(plan.key_type, plan.heads, plan.key_dim, false),
                       tensor(plan.value_type, plan.heads, plan.value_dim, plan.transposed), plan.turn});
  buffer_.reset(ggml_backend_alloc_ctx_tensors_from_buft(own_.get(), ggml_backend_dev_buffer_type(device)));
  if (buffer_ == nullptr)
    throw Failure("KVFOLD_NATIVE", std::string(ggml_backend_dev_name(device)) + " has no memory for a cache");
}

const CacheTensor &Tensors::tensor(uint32_t layer, uint32_t kind) const {
  if (layer >= layers_.size() || kind > 1) throw Failure("KVFOLD_ARGUMENT", "there is no such tensor in the cache");
  return kind == 0 ? layers_[layer].keys : layers_[layer].values;
}

std::vector<uint8_t> Tensors::read(uint32_t layer, uint32_t kind, int64_t first_head, int64_t heads,
                                   const std::vector<int32_t> &cells) {
  const CacheTensor &tensor = this->tensor(layer, kind);
  for (const int32_t cell : cells)
    if (cell < 0 || cell >= tensor.capacity) throw Failure("KVFOLD_ARGUMENT", "a cell lies outside of the cache");
  if (first_head < 0 || heads < 1 || heads > tensor.heads - first_head)
    throw Failure("KVFOLD_ARGUMENT", "heads lie outside of the cache");
  if (cells.empty()) return {};
  Device device(device_of(tensor.root), threads_);
  const size_t slice = tensor.slice_bytes();
  SlicePlace place{first_head, heads, false, *std::max_element(cells.begin(), cells.end()) + 1};
  std::vector<uint8_t> out(cells.size() * static_cast<size_t>(heads) * slice);
  const size_t step = std::max<size_t>(1, kReadBytes / (static_cast<size_t>(heads) * slice));
  for (size_t first = 0; first < cells.size(); first += step) {
    const size_t last = std::min(cells.size(), first + step);
    Graph graph(device, 32);
    const SliceMatrix matrix(graph, tensor, place);
    std::vector<int32_t> rows;
    for (size_t i = first; i < last; i++)
      for (int64_t head = first_head; head < first_head + heads; head++)
        rows.push_back(matrix.row_of(static_cast<int32_t>(cells[i] * tensor.heads + head)));
    ggml_tensor *from = graph.input(GGML_TYPE_I32, static_cast<int64_t>(rows.size()), 1, rows.data());
    ggml_tensor *taken = graph.keep(ggml_get_rows(graph.context(), matrix.raw(graph), from));
    graph.run(device.reading());
    ggml_backend_tensor_get(taken, out.data() + first * static_cast<size_t>(heads) * slice, 0, ggml_nbytes(taken));
  }
  return out;
}

void Tensors::need_own() const {
  if (context_ != nullptr) throw Failure("KVFOLD_ARGUMENT", "only tensors of our own are written as a whole");
}

std::vector<uint8_t> Tensors::download(uint32_t layer, uint32_t kind) const {
  need_own();
  const CacheTensor &tensor = this->tensor(layer, kind);
  std::vector<uint8_t> bytes(ggml_nbytes(tensor.root));
  ggml_backend_tensor_get(tensor.root, bytes.data(), 0, bytes.size());
  return bytes;
}

void Tensors::upload(uint32_t layer, uint32_t kind, const std::vector<uint8_t> &bytes) {
  need_own();
  const CacheTensor &tensor = this->tensor(layer, kind);
  if (bytes.size() != ggml_nbytes(tensor.root)) throw Failure("KVFOLD_ARGUMENT", "the bytes do not fit the tensor");
  ggml_backend_tensor_set(tensor.root, bytes.data(), 0, bytes.size());
}

TensorsUse::TensorsUse(std::shared_ptr<Tensors> tensors) : tensors_(std::move(tensors)) {
  if (tensors_->context_ != nullptr) {
    exclusive_ = std::make_unique<Exclusive>(tensors_->context_);
    llama_synchronize((*exclusive_)->context());
  } else if (tensors_->busy_.exchange(true)) {
    throw Failure("KVFOLD_CACHE_BUSY", "the tensors are at work on another call");
  }
}

TensorsUse::~TensorsUse() {
  if (exclusive_ == nullptr) tensors_->busy_ = false;
}

}  // namespace kvfold
