// Captures a bounded sample of the queries of every layer while tokens are read.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "query_reservoir.h"

struct ggml_tensor;

namespace kvfold {

// Where the queries of a layer are found in the graph: the last named node before the attention (graph_probe.h).
struct QuerySource {
  int layer = 0;  // in the model
  std::string node;
  int op = 0;
  uint32_t heads = 0;
  uint32_t head_dim = 0;
};

// One tap listens to one sequence. Around each evaluation:
//
//     begin -> [ wants, take ] for every node -> commit      or nothing: the next begin forgets what was taken
//
// so that the tokens of a failed batch leave no trace. Queries are taken as attention gets them, but before the
// Hadamard rotation of a quantised cache.
class QueryTap {
 public:
  QueryTap(std::vector<QuerySource> sources, uint32_t max_positions, uint32_t newest, uint64_t seed)
      : sources_(std::move(sources)), rows_(sources_.size()), reservoir_(max_positions, newest, seed) {}

  // Announces tokens at consecutive positions. False if none of them is to be sampled: then nothing need be taken.
  bool begin(int32_t first_position, uint32_t tokens);
  // True for the query node of a layer that is sampled.
  bool wants(const ggml_tensor *node) const { return find(node) >= 0; }
  // Copies the sampled columns of a computed node. @throws Failure when it has an unexpected form
  void take(const ggml_tensor *node);
  // The announced tokens were evaluated. @throws Failure when a layer was not seen whole
  void commit();
  // The last tokens are gone.
  void take_back(uint64_t tokens);

  // What a full sample occupies; UINT64_MAX if more than that.
  static uint64_t bytes_needed(const std::vector<QuerySource> &sources, uint64_t max_positions);

  const std::vector<QuerySource> &sources() const { return sources_; }
  const QueryReservoir &reservoir() const { return reservoir_; }
  // f16 bits. [slots, heads, head_dim]
  const std::vector<uint16_t> &rows(size_t source) const { return rows_[source]; }

 private:
  struct Pick {
    uint32_t column;  // in the batch
    uint32_t slot;
  };
  // What the evaluation in progress has brought so far.
  struct Pending {
    explicit Pending(const QueryReservoir &before) : reservoir(before) {}
    QueryReservoir reservoir;
    int32_t first_position = 0;
    uint32_t tokens = 0;
    std::vector<Pick> picks;
    std::vector<uint32_t> seen;               // columns so far, of each source
    std::vector<std::vector<uint16_t>> rows;  // [picks, heads, head_dim] of each source
  };

  static void drop_overwritten(std::vector<Pick> *picks);
  int find(const ggml_tensor *node) const;
  void check_form(const ggml_tensor *node, const QuerySource &source, uint32_t seen) const;

  std::vector<QuerySource> sources_;
  std::vector<std::vector<uint16_t>> rows_;
  QueryReservoir reservoir_;
  std::optional<Pending> pending_;
};

}  // namespace kvfold
