// See cache.h. The only file that knows llama.cpp's cache classes (src/llama-kv-cache*.h of v0.5.0).
#include "cache.h"

#include <algorithm>

#include "device.h"
#include "failure.h"
#include "ggml-backend.h"
#include "ggml.h"
#include "llama-kv-cache-iswa.h"
#include "llama-kv-cache.h"
#include "record_io.h"

namespace kvfold {

namespace {

void append(std::vector<uint8_t> &bytes, const void *data, size_t size) {
  const auto *from = static_cast<const uint8_t *>(data);
  bytes.insert(bytes.end(), from, from + size);
}

constexpr size_t kCellBytes = 12;  // position, number of sequences (1), sequence

// [streams][count of stream 0 .. streams-1, each followed by cells and trailer when not 0]
size_t cell_list_offset(uint32_t stream) { return 4 + 4 * static_cast<size_t>(stream) + 4; }

RecordingWriter record(const CacheInfo &info, llama_seq_id sequence) {
  RecordingWriter writer;
  info.cache->state_write(writer, sequence, 0);
  return writer;
}

// The tensors of the state in the order in which they are written: all keys, then all values.
std::vector<const ggml_tensor *> roots_in(const RecordingWriter &writer) {
  std::vector<const ggml_tensor *> roots;
  for (const auto &piece : writer.pieces) {
    const ggml_tensor *root = root_of(piece.tensor);
    if (roots.empty() || roots.back() != root) roots.push_back(root);
  }
  return roots;
}

std::string check_layer(const CacheInfo &info, const CacheLayer &layer) {
  const LayerFacts &facts = layer.facts;
  if (!facts.problem.empty()) return facts.problem;
  if (facts.key == nullptr || facts.value == nullptr) return "keys without values (MLA)";
  if (!facts.stored || !facts.attended) return "the graph does not show how it is written and read";
  if (facts.kv_heads < 1 || facts.key_dim < 1 || facts.value_dim < 1 || facts.query_heads % facts.kv_heads != 0)
    return "its head sizes are not understood";
  if (facts.key->ne[0] != facts.key_dim * facts.kv_heads) return "its key rows are not heads side by side";
  const int64_t value_width = facts.value_dim * facts.kv_heads;
  if (info.values_transposed ? facts.value->ne[0] < value_width : facts.value->ne[0] != value_width)
    return "its value rows are not heads side by side";
  if (facts.key->ne[1] != info.cells || facts.value->ne[1] != info.cells || facts.key->ne[2] != info.streams ||
      facts.value->ne[2] != info.streams)
    return "its tensors do not have the size of the cache";
  if (facts.max_bias != 0.0f) return "attention is biased by distance (ALiBi)";
  for (const ggml_tensor *tensor : {facts.key, facts.value}) {
    const std::string problem = unreachable(tensor);
    if (!problem.empty()) return problem;
  }
  return "";
}

// Which device holds a layer that can be reached.
void note_device(CacheInfo &info, const CacheLayer &layer) {
  for (const ggml_tensor *tensor : {layer.facts.key, layer.facts.value})
    info.host_memory = info.host_memory && ggml_backend_buffer_is_host(tensor->buffer);
  info.devices.push_back(ggml_backend_dev_name(device_of(layer.facts.key)));
}

}  // namespace

CacheInfo find_cache(llama_context *context) {
  CacheInfo info;
  llama_memory_i *memory = llama_get_memory(context);
  if (memory == nullptr) {
    info.problem = "the model has no cache";
  } else if (auto *plain = dynamic_cast<llama_kv_cache *>(memory)) {
    info.cache = plain;
  } else if (auto *both = dynamic_cast<llama_kv_cache_iswa *>(memory)) {
    info.cache = both->get_base();
    info.windowed_part = true;
  } else {
    info.problem = "the model keeps recurrent, sparse or otherwise special state beside or instead of keys and values";
  }
  if (info.cache == nullptr) return info;
  info.streams = info.cache->get_n_stream();
  info.cells = info.cache->get_size();
  if (info.cache->has_cell_ext()) info.problem = "cells hold more than a position (M-RoPE or n-gram embeddings)";
  return info;
}

void describe_cache(CacheInfo &info, const GraphProbe &probe, llama_seq_id sequence) {
  if (info.cache == nullptr || !info.problem.empty()) return;
  const std::vector<uint32_t> ids = info.cache->get_layer_ids();
  if (ids.empty()) {
    info.problem = "every layer of the model is windowed";
    return;
  }
  const RecordingWriter writer = record(info, sequence);
  const size_t list = cell_list_offset(stream_of(info, sequence));
  const size_t cells = cell_map(info, sequence).slots.size();
  const size_t after = 4 * static_cast<size_t>(info.streams - 1 - stream_of(info, sequence));
  const size_t from = list + kCellBytes * cells;
  if (cells == 0 || from + 8 + after > writer.metadata.size())
    throw Failure("KVFOLD_LLAMA_SELF_TEST", "the state of a sequence has another form than expected");
  const auto begin = writer.metadata.begin(), end = writer.metadata.end();
  info.trailer.assign(begin + static_cast<ptrdiff_t>(from), end - static_cast<ptrdiff_t>(after));
  info.values_transposed = info.trailer[0] != 0;

  const std::vector<const ggml_tensor *> roots = roots_in(writer);
  for (size_t i = 0; i < ids.size(); i++) {
    CacheLayer layer;
    layer.index = static_cast<int>(ids[i]);
    const auto seen = probe.layers().find(layer.index);
    if (seen != probe.layers().end()) layer.facts = seen->second;
    layer.facts.key = info.cache->get_k_storage(layer.index);
    layer.facts.value = nullptr;
    for (const ggml_tensor *root : roots)
      if (layer_named(root, "cache_v_l") == layer.index) layer.facts.value = root;
    const std::string problem = check_layer(info, layer);
    if (problem.empty()) note_device(info, layer);
    else if (info.problem.empty()) info.problem = "layer " + std::to_string(layer.index) + ": " + problem;
    info.key_roots.insert(layer.facts.key);
    info.layers.push_back(std::move(layer));
  }
}

uint32_t stream_of(const CacheInfo &info, llama_seq_id sequence) {
  return info.streams > 1 ? static_cast<uint32_t>(sequence) : 0;
}

CellMap cell_map(const CacheInfo &info, llama_seq_id sequence) {
  const llama_kv_cells &cells = info.cache->get_cells(sequence);
  CellMap map;
  for (uint32_t i = 0; i < cells.size(); i++) {
    if (cells.is_empty(i) || !cells.seq_has(i, sequence)) continue;
    map.slots.push_back(i);
    map.positions.push_back(cells.pos_get(i));
    if (cells.seq_count(i) > 1) map.shared++;
  }
  return map;
}

CellMap recorded_cell_map(const CacheInfo &info, llama_seq_id sequence) {
  const RecordingWriter writer = record(info, sequence);
  const uint32_t stream = stream_of(info, sequence);
  const auto read32 = [&](size_t offset) {
    uint32_t value = 0;
    if (offset + 4 <= writer.metadata.size()) std::memcpy(&value, writer.metadata.data() + offset, 4);
    return value;
  };
  CellMap map;
  const size_t count = read32(cell_list_offset(stream) - 4);
  for (size_t i = 0; i < count; i++)
    map.positions.push_back(static_cast<int32_t>(read32(cell_list_offset(stream) + kCellBytes * i)));
  for (const auto &piece : writer.pieces) {
    const size_t row = piece.tensor->nb[1];
    for (size_t cell = 0; cell < piece.size / row && map.slots.size() < count; cell++)
      map.slots.push_back(static_cast<uint32_t>(piece.offset / row + cell));
    if (map.slots.size() == count) break;
  }
  return map;
}

std::vector<uint32_t> lowest_cells(const CacheInfo &info, llama_seq_id sequence, uint32_t count) {
  const llama_kv_cells &cells = info.cache->get_cells(sequence);
  std::vector<uint32_t> found;
  for (uint32_t i = 0; i < cells.size() && found.size() < count; i++)
    if (cells.is_empty(i) || (cells.seq_has(i, sequence) && cells.seq_count(i) == 1)) found.push_back(i);
  return found;
}

uint32_t attention_length(const CacheInfo &info, llama_seq_id sequence) {
  llama_kv_cache::slot_info where;
  where.s0 = where.s1 = stream_of(info, sequence);
  where.resize(1);
  where.strm[0] = static_cast<llama_seq_id>(where.s0);
  return info.cache->get_n_kv(where);
}

namespace {

// Cells that a sequence may be given: ascending, in range, empty or its own alone.
void check_destinations(const CacheInfo &info, llama_seq_id sequence, const std::vector<uint32_t> &destinations) {
  const llama_kv_cells &cells = info.cache->get_cells(sequence);
  for (size_t i = 0; i < destinations.size(); i++) {
    const uint32_t cell = destinations[i];
    if (cell >= cells.size() || (i > 0 && cell <= destinations[i - 1]))
      throw Failure("KVFOLD_ARGUMENT", "destinations must ascend within the cache");
    if (!cells.is_empty(cell) && !(cells.seq_has(cell, sequence) && cells.seq_count(cell) == 1))
      throw Failure("KVFOLD_UNSUPPORTED", "cell " + std::to_string(cell) + " belongs to another sequence as well");
  }
}

// The cells for llama.cpp, as entry `entry` of one a stream; it takes the stream itself from the sequence.
llama_kv_cache::slot_info_vec_t layout_of(const CacheInfo &info, uint32_t entry, llama_seq_id sequence,
                                          const std::vector<uint32_t> &destinations) {
  llama_kv_cache::slot_info_vec_t where(info.streams);
  where[entry].s0 = where[entry].s1 = stream_of(info, sequence);
  where[entry].resize(1);
  where[entry].strm[0] = static_cast<llama_seq_id>(stream_of(info, sequence));
  where[entry].idxs[0].assign(destinations.begin(), destinations.end());
  return where;
}

}  // namespace

int64_t commit_cells(const CacheInfo &info, llama_seq_id sequence, const std::vector<int32_t> &positions,
                     const std::vector<uint32_t> &destinations, int64_t fail_at) {
  if (positions.empty() || positions.size() != destinations.size())
    throw Failure("KVFOLD_ARGUMENT", "positions and destinations must have the same length of at least 1");
  for (const int32_t position : positions)
    if (position < 0) throw Failure("KVFOLD_ARGUMENT", "a position is negative");
  check_destinations(info, sequence, destinations);

  const uint32_t stream = stream_of(info, sequence);
  const auto count = static_cast<uint32_t>(positions.size());
  std::vector<uint8_t> metadata;
  metadata.reserve(4 + 4 * info.streams + kCellBytes * count + info.trailer.size());
  append(metadata, &info.streams, 4);
  for (uint32_t s = 0; s < info.streams; s++) {
    const uint32_t here = s == stream ? count : 0;
    append(metadata, &here, 4);
    if (here == 0) continue;
    for (uint32_t i = 0; i < count; i++) {
      const uint32_t one = 1;
      append(metadata, &positions[i], 4);
      append(metadata, &one, 4);
      append(metadata, &sequence, 4);
    }
    append(metadata, info.trailer.data(), info.trailer.size());
  }

  const auto where = layout_of(info, stream, sequence, destinations);
  MetadataReader reader(metadata, fail_at);
  try {
    info.cache->state_read_sinfo(reader, sequence, 0, nullptr, &where);
  } catch (const std::exception &error) {
    // llama.cpp hides what the reader threw behind an exception of its own
    if (reader.failed()) throw Failure("KVFOLD_FAULT", "fault injected into the metadata");
    throw Failure("KVFOLD_NATIVE", std::string("llama.cpp refused the cells: ") + error.what());
  }
  if (!reader.finished()) throw Failure("KVFOLD_INTERNAL", "llama.cpp left metadata unread");
  return reader.reads();
}

void restore_cells(const CacheInfo &info, llama_seq_id sequence, const uint8_t *state, size_t size,
                   const std::vector<uint32_t> &destinations) {
  check_destinations(info, sequence, destinations);
  // The state names the stream it was saved from, which may be another than the sequence's.
  uint32_t entry = info.streams;
  for (uint32_t s = 0; s < info.streams && entry == info.streams; s++) {
    uint32_t count = 0;
    if (size < cell_list_offset(s)) throw Failure("KVFOLD_STATE", "the state ends too early");
    std::memcpy(&count, state + cell_list_offset(s) - 4, 4);
    if (count == 0) continue;
    if (count != destinations.size()) throw Failure("KVFOLD_STATE", "the state has another number of cells");
    entry = s;
  }
  if (entry == info.streams) throw Failure("KVFOLD_STATE", "the state has no cells");
  const auto where = layout_of(info, entry, sequence, destinations);
  StateReader reader(state, size);
  info.cache->state_read_sinfo(reader, sequence, 0, nullptr, &where);
  if (!reader.finished()) throw Failure("KVFOLD_STATE", "the state is longer than the cache");
}

}  // namespace kvfold
