// Handles of query samples, and the time in which one listens.
#pragma once

#include <atomic>
#include <utility>

#include "context.h"
#include "query_tap.h"

namespace kvfold {

// A sample that a sequence or a snapshot of it holds. Used by one call at a time.
struct QueriesHandle {
  explicit QueriesHandle(QueryTap made) : tap(std::move(made)) {}

  QueryTap tap;
  bool released = false;
  std::atomic<bool> busy{false};
};

template <>
struct Tag<QueriesHandle> {
  static constexpr napi_type_tag value = {0x6b76666f6c647175ull, 0x6c6c616d61517279ull};
  static constexpr const char *name = "query sample";
};

// The right to touch a sample, until destroyed. @throws KVFOLD_CACHE_BUSY, KVFOLD_DISPOSED
class HeldQueries {
 public:
  explicit HeldQueries(QueriesHandle &handle) : handle_(handle) {
    if (handle_.busy.exchange(true)) throw Failure("KVFOLD_CACHE_BUSY", "the query sample is at work on another call");
    if (!handle_.released) return;
    handle_.busy = false;
    throw Failure("KVFOLD_DISPOSED", "the query sample was already freed");
  }
  ~HeldQueries() { handle_.busy = false; }
  HeldQueries(const HeldQueries &) = delete;
  HeldQueries &operator=(const HeldQueries &) = delete;

 private:
  QueriesHandle &handle_;
};

// A tap listens to a context while this lives; a batch without a token to sample needs no callback at all.
class Listening {
 public:
  Listening(ContextHandle &context, QueriesHandle &queries, int32_t first_position, uint32_t tokens)
      : held_(queries), context_(context), tap_(queries.tap) {
    if (queries.tap.begin(first_position, tokens)) context_.listen(&queries.tap);
  }
  ~Listening() { context_.listen(nullptr); }
  Listening(const Listening &) = delete;
  Listening &operator=(const Listening &) = delete;

  // The announced tokens were evaluated. @throws Failure
  void commit() { tap_.commit(); }

 private:
  HeldQueries held_;
  ContextHandle &context_;
  QueryTap &tap_;
};

}  // namespace kvfold
