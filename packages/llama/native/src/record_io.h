// llama.cpp's state stream without its data: a writer that records tensors, a reader that dictates metadata.
#pragma once

#include <cstring>
#include <vector>

#include "failure.h"
#include "ggml-backend.h"
#include "ggml.h"
#include "llama-io.h"

namespace kvfold {

// Records what `state_write` would copy. Moves no keys and no values.
class RecordingWriter : public llama_io_write_i {
 public:
  struct Piece {
    ggml_tensor *tensor;
    size_t offset, size;
  };

  void write(const void *source, size_t size) override {
    const auto *bytes = static_cast<const uint8_t *>(source);
    metadata.insert(metadata.end(), bytes, bytes + size);
  }
  void write_tensor(ggml_tensor *tensor, size_t offset, size_t size) override {
    pieces.push_back({tensor, offset, size});
  }
  size_t n_bytes() override { return metadata.size(); }

  std::vector<uint8_t> metadata;
  std::vector<Piece> pieces;
};

// Hands prepared metadata to `state_read` and lets the tensors be. `fail_at` is the read call that throws, for tests.
class MetadataReader : public llama_io_read_i {
 public:
  MetadataReader(const std::vector<uint8_t> &metadata, int64_t fail_at) : metadata_(metadata), fail_at_(fail_at) {}

  void read(void *target, size_t size) override {
    if (reads_++ == fail_at_) {
      failed_ = true;
      throw Failure("KVFOLD_FAULT", "fault injected into the metadata");
    }
    if (size > metadata_.size() - used_) throw Failure("KVFOLD_INTERNAL", "llama.cpp read more metadata than there is");
    std::memcpy(target, metadata_.data() + used_, size);
    used_ += size;
  }
  void read_tensor(ggml_tensor *, size_t, size_t) override {}
  size_t n_bytes() override { return used_; }

  bool finished() const { return used_ == metadata_.size(); }
  bool failed() const { return failed_; }
  int64_t reads() const { return reads_; }

 private:
  const std::vector<uint8_t> &metadata_;
  int64_t fail_at_;
  int64_t reads_ = 0;
  bool failed_ = false;
  size_t used_ = 0;
};

// Reads a saved state with its data.
class StateReader : public llama_io_read_i {
 public:
  StateReader(const uint8_t *bytes, size_t size) : bytes_(bytes), size_(size) {}

  void read(void *target, size_t size) override { std::memcpy(target, take(size), size); }
  void read_tensor(ggml_tensor *tensor, size_t offset, size_t size) override {
    const uint8_t *from = take(size);
    if (offset > ggml_nbytes(tensor) || size > ggml_nbytes(tensor) - offset)
      throw Failure("KVFOLD_STATE", "the state does not fit the cache");
    ggml_backend_tensor_set(tensor, from, offset, size);
  }
  size_t n_bytes() override { return used_; }

  bool finished() const { return used_ == size_; }

 private:
  const uint8_t *take(size_t size) {
    if (size > size_ - used_) throw Failure("KVFOLD_STATE", "the state ends too early");
    const uint8_t *from = bytes_ + used_;
    used_ += size;
    return from;
  }

  const uint8_t *bytes_;
  size_t size_;
  size_t used_ = 0;
};

}  // namespace kvfold
