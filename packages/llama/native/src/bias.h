// The bias of folded cells: numbers that are added to the attention mask before every evaluation.
#pragma once

#include <cstdint>
#include <set>
#include <utility>
#include <vector>

struct ggml_tensor;

namespace kvfold {

// One number a physical cell, per stream. llama.cpp fills the mask anew before every evaluation, also when it reuses a
// graph, so the numbers are added each time and never pile up.
class CellBias {
 public:
  CellBias(uint32_t streams, uint32_t cells) : cells_(cells), biased_(streams) {}

  using Entries = std::vector<std::pair<uint32_t, float>>;  // (cell, bias != 0)

  // Replaces all entries of a stream; infallible, so that it can follow a commit.
  void replace(uint32_t stream, Entries &&entries) noexcept { biased_[stream].swap(entries); }
  bool any() const {
    for (const Entries &entries : biased_)
      if (!entries.empty()) return true;
    return false;
  }
  uint32_t cells() const { return cells_; }
  uint32_t streams() const { return static_cast<uint32_t>(biased_.size()); }

  // Call for every node in the ask phase. `folded` holds the key roots whose cells are ours.
  void see(const ggml_tensor *node, const std::set<const ggml_tensor *> &folded);

  // Evaluations whose mask was rewritten, for tests and diagnostics.
  uint64_t rewrites() const { return rewrites_; }

 private:
  void add_to(ggml_tensor *mask, uint32_t first_stream);

  uint32_t cells_;
  std::vector<Entries> biased_;  // [stream]
  std::set<const ggml_tensor *> done_;
  std::vector<uint8_t> bytes_;
  uint64_t rewrites_ = 0;
};

}  // namespace kvfold
