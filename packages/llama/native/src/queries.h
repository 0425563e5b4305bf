// Handles of query samples, and the time in which one listens.
#pragma once

#include <atomic>
#include <memory>
#include <utility>

#include "context.h"
#include "query_tap.h"

namespace kvfold {

// A sample that a sequence or a snapshot of it holds. Used by one call at a time. Copies share the numbers until one of
// them is fed again, which happens off the event loop.
struct QueriesHandle {
  explicit QueriesHandle(std::shared_ptr<QueryTap> made) : shared(std::move(made)) {}

  // Not once released.
  const QueryTap &tap() const { return *shared; }
  // To write to.
  QueryTap &own_tap() {
    if (shared.use_count() > 1) shared = std::make_shared<QueryTap>(*shared);
    std::atomic_thread_fence(std::memory_order_acquire);  // whoever shared it has done with it
    return *shared;
  }

  std::shared_ptr<QueryTap> shared;
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

// The same for a job, which takes the only reference with it.
struct OwnedQueries {
  explicit OwnedQueries(std::shared_ptr<QueriesHandle> of) : handle(std::move(of)), right(*handle) {}

  std::shared_ptr<QueriesHandle> handle;
  HeldQueries right;
};

// A tap listens to a context while this lives; a batch without a token to sample needs no callback at all.
class Listening {
 public:
  Listening(ContextHandle &context, QueriesHandle &queries, int32_t first_position, uint32_t tokens)
      : held_(queries), context_(context), tap_(queries.own_tap()) {
    if (tap_.begin(first_position, tokens)) context_.listen(&tap_);
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
