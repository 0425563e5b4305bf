// What the machine reaches with a number of threads.
#include "yardstick.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <vector>

#include "attention.h"
#include "cpu/pool.h"

#if defined(__linux__)
#include <unistd.h>
#endif
#if defined(__x86_64__) || defined(_M_X64)
#include <emmintrin.h>
#endif

namespace kvfold {
namespace bench {
namespace {

/// Of each buffer: two as large as the last-level cache do not fit into it.
constexpr size_t kLeastBytes = size_t{128} << 20, kMostBytes = size_t{512} << 20;
constexpr size_t kChunk = size_t{4} << 20;

size_t buffer_bytes() {
  long cache = 0;
#if defined(_SC_LEVEL3_CACHE_SIZE)
  cache = sysconf(_SC_LEVEL3_CACHE_SIZE);
#endif
  const size_t bytes = cache > 0 ? static_cast<size_t>(cache) : 0;
  return std::min(kMostBytes, std::max(kLeastBytes, (bytes + kChunk - 1) / kChunk * kChunk));
}

void copy_plain(uint8_t *to, const uint8_t *from, size_t bytes) { std::memcpy(to, from, bytes); }

#if defined(__x86_64__) || defined(_M_X64)
/// `to` and `from` are multiples of 16.
void copy_streaming(uint8_t *to, const uint8_t *from, size_t bytes) {
  for (size_t i = 0; i < bytes; i += 64) {
    const __m128i *in = reinterpret_cast<const __m128i *>(from + i);
    __m128i *out = reinterpret_cast<__m128i *>(to + i);
    const __m128i a = _mm_load_si128(in), b = _mm_load_si128(in + 1), c = _mm_load_si128(in + 2),
                  d = _mm_load_si128(in + 3);
    _mm_stream_si128(out, a);
    _mm_stream_si128(out + 1, b);
    _mm_stream_si128(out + 2, c);
    _mm_stream_si128(out + 3, d);
  }
  _mm_sfence();
}
#else
constexpr auto copy_streaming = copy_plain;
#endif

#if defined(__GNUC__)
typedef uint64_t Line __attribute__((vector_size(64)));
#else
struct Line {
  uint64_t words[8];
  Line &operator^=(const Line &other) {
    for (size_t i = 0; i < 8; i++) words[i] ^= other.words[i];
    return *this;
  }
};
#endif
static_assert(sizeof(Line) == 64, "one cache line");

/// A number that depends on all of `kChunk` bytes; from several places at once, as memory answers that fastest.
uint64_t look_at(const uint8_t *from) {
  constexpr size_t kPlaces = 4;
  Line all{};
  for (size_t i = 0; i < kChunk / kPlaces; i += sizeof all) {
    for (size_t place = 0; place < kPlaces; place++) {
      Line line;
      std::memcpy(&line, from + place * (kChunk / kPlaces) + i, sizeof line);
      all ^= line;
    }
  }
  uint64_t words[sizeof all / sizeof(uint64_t)];
  std::memcpy(words, &all, sizeof all);
  for (size_t i = 1; i < sizeof all / sizeof(uint64_t); i++) words[0] ^= words[i];
  return words[0];
}

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

uint8_t *aligned(Scratch<uint8_t> *buffer) {
  const auto address = reinterpret_cast<uintptr_t>(buffer->data());
  return buffer->data() + (64 - address % 64) % 64;
}

}  // namespace

bool MemoryYardstick::allocate() {
  bytes_ = buffer_bytes();
  if (!from_.allocate(bytes_ + 64) || !to_.allocate(bytes_ + 64)) return false;
  std::memset(from_.data(), 1, from_.size());  // pages that nobody wrote are all the same page
  std::memset(to_.data(), 2, to_.size());
  return true;
}

double MemoryYardstick::copy(uint32_t threads) {
  if (better_ == nullptr) {
    double best = 0;
    for (int round = 0; round < 2; round++) {
      for (Copier *one : {copy_plain, copy_streaming}) {
        const double reached = copy_by(one, threads);
        if (reached > best) better_ = one;
        best = std::max(best, reached);
      }
    }
  }
  return copy_by(better_, threads);
}

double MemoryYardstick::copy_by(Copier *copier, uint32_t threads) {
  const Clock::time_point start = Clock::now();
  cpu::parallel_for(threads, bytes_ / kChunk, [&](size_t task, uint32_t) {
    copier(aligned(&to_) + task * kChunk, aligned(&from_) + task * kChunk, kChunk);
  });
  return 2.0 * static_cast<double>(bytes_) / seconds_since(start);
}

double MemoryYardstick::read(uint32_t threads) {
  const Clock::time_point start = Clock::now();
  cpu::parallel_for(threads, bytes_ / kChunk, [&](size_t task, uint32_t) {
    seen_.fetch_xor(look_at(aligned(&from_) + task * kChunk), std::memory_order_relaxed);
  });
  return static_cast<double>(bytes_) / seconds_since(start);
}

double measure_peak(uint32_t threads) {
  std::vector<double> reached(threads, 0);
  const char *isa = kvfold_attention_isa(0);
  cpu::parallel_for(threads, threads, [&](size_t task, uint32_t) { reached[task] = kvfold_attention_peak(isa); });
  double sum = 0;
  for (double one : reached) sum += one;
  return sum;
}

}  // namespace bench
}  // namespace kvfold
