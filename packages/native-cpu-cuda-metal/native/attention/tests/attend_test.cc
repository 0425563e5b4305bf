// attend against the reference: seeded shapes, every instruction set, threads, and everything that is refused.
#include <limits>

#include "bounds.h"
#include "check.h"
#include "fixture.h"

using namespace fixture;

namespace {

struct Result {
  Floats maximum, mean, rms, outputs;
  explicit Result(const Head &head)
      : maximum(head.cells, -1), mean(head.cells, -1), rms(head.cells, -1),
        outputs(size_t{head.rows} * head.value_dim, -1) {}
  kvfold_attend_output output() { return {buffer(maximum), buffer(mean), buffer(rms), buffer(outputs)}; }
  bool operator==(const Result &other) const {
    return same_bits(maximum, other.maximum) && same_bits(mean, other.mean) && same_bits(rms, other.rms) &&
           same_bits(outputs, other.outputs);
  }
};

Result attend(const Head &head, const char *isa, uint32_t threads) {
  Result result(head);
  const Threads pool(threads);
  const kvfold_attention_options how = options(isa, threads == 1 ? nullptr : &pool.workers);
  const kvfold_attend_input input = head.input();
  const kvfold_attend_output output = result.output();
  kvfold_error error = {};
  if (!CHECK(kvfold_attend(&input, &how, &output, &error) == KVFOLD_OK)) std::printf("  %s\n", error.message);
  return result;
}

Result reference(const Head &head) {
  Result result(head);
  const kvfold_attend_input input = head.input();
  const kvfold_attend_output output = result.output();
  CHECK(kvfold_attend_reference(&input, nullptr, &output, nullptr) == KVFOLD_OK);
  return result;
}

/// The largest share of the bound that was used.
double compare(const Floats &got, const Floats &want, double relative, double absolute) {
  double worst = 0;
  for (size_t i = 0; i < got.size(); i++) {
    // the reference is rounded to f32 as well
    const double bound = (relative + bounds::kRoundoff) * std::fabs(want[i]) + absolute;
    const double share = std::fabs(double{got[i]} - want[i]) / bound;
    worst = share <= worst ? worst : share;  // NaN stays
  }
  return worst;
}

/// Returns the share of the bounds that was used.
double compare(const Head &head, const Result &got, const Result &want) {
  const bounds::Attend bound(head.rows, head.cells, head.key_dim, head.largest_score());
  double worst = compare(got.maximum, want.maximum, bound.weight, bounds::kFlush);
  worst = std::fmax(worst, compare(got.mean, want.mean, bound.mean, bounds::kFlush));
  worst = std::fmax(worst, compare(got.rms, want.rms, bound.rms, bounds::kSquareFlush));
  return std::fmax(worst, compare(got.outputs, want.outputs, 0, bound.outputs * largest(head.values)));
}

Head random_head(Random &random, uint32_t rows, uint32_t cells) {
  const uint32_t dim = random.size(8, 256), value_dim = random.uniform() < 0.3 ? 0 : random.size(1, 256);
  return Head(random, rows, cells, dim, value_dim, random.uniform() < 0.5, random.uniform() < 0.3 ? 8 : 1);
}

}  // namespace

TEST(attend_equals_the_reference) {
  Random random(11);
  double worst = 0;
  for (int i = 0; i < 2000; i++) {
    // small shapes mostly, all magnitudes alike; some at the upper end
    const bool large = i % 100 == 0;
    const Head head = large ? random_head(random, random.size(300, 700), random.size(300, 3000))
                            : random_head(random, random.size(1, 200), random.size(1, 700));
    const Result want = reference(head);
    each_isa([&](const char *isa) {
      const double share = compare(head, attend(head, isa, 1), want);
      if (!CHECK_BOUND(share, 1)) std::printf("  %s, %u x %u, %u\n", isa, head.rows, head.cells, head.key_dim);
      worst = std::fmax(worst, share);
    });
  }
  std::printf("       attend uses %.1f %% of its bounds\n", 100 * worst);
}

TEST(attend_equals_the_reference_at_the_edges_of_blocks) {
  Random random(12);
  for (uint32_t rows : {1u, 47u, 48u, 49u, 97u}) {
    for (uint32_t cells : {1u, 2u, 11u, 13u, 25u, 143u, 144u, 145u, 289u}) {
      for (uint32_t dim : {1u, 3u, 8u}) {
        const Head head(random, rows, cells, dim, dim, cells % 2 == 0, 1);
        const Result want = reference(head);
        each_isa([&](const char *isa) { CHECK_BOUND(compare(head, attend(head, isa, 1), want), 1); });
      }
    }
  }
}

TEST(attend_joins_more_blocks_than_chunks) {
  Random random(21);
  for (uint32_t rows : {768u, 769u, 840u, 1900u}) {  // 16, 17, 18, 40 blocks in 16 chunks
    const Head head(random, rows, 50, 8, 4, false, 1);
    const Result want = reference(head);
    each_isa([&](const char *isa) { CHECK_BOUND(compare(head, attend(head, isa, 1), want), 1); });
  }
}

TEST(attend_has_the_same_bits_for_any_number_of_threads) {
  Random random(13);
  for (uint32_t rows : {50u, 300u, 700u, 1900u}) {
    const Head head = random_head(random, rows, random.size(1, 900));
    each_isa([&](const char *isa) {
      const Result one = attend(head, isa, 1);
      for (uint32_t threads = 2; threads <= 4; threads++) CHECK(attend(head, isa, threads) == one);
    });
  }
}

TEST(attend_has_the_same_bits_with_avx2_and_avx512) {
  if (std::strcmp(kvfold_attention_isa(0), "avx512") != 0) {
    std::printf("SKIPPED: no avx512 here\n");
    return;
  }
  Random random(14);
  for (int i = 0; i < 10; i++) {
    const Head head = random_head(random, random.size(1, 300), random.size(1, 900));
    CHECK(attend(head, "avx512", 1) == attend(head, "avx2", 1));
  }
}

/// FNV-1a over the bits.
uint64_t hash_of(const Result &result) {
  uint64_t hash = 14695981039346656037ull;
  for (const Floats *part : {&result.maximum, &result.mean, &result.rms, &result.outputs}) {
    for (float x : *part) {
      uint32_t bits;
      std::memcpy(&bits, &x, 4);
      for (int i = 0; i < 4; i++) hash = (hash ^ (bits >> (8 * i) & 255)) * 1099511628211ull;
    }
  }
  return hash;
}

TEST(attend_has_the_same_bits_on_other_processors) {
  Random random(22);
  const Head head(random, 150, 500, 40, 24, true, 1);
  each_isa([&](const char *isa) {
    const uint64_t hash = hash_of(attend(head, isa, 1));
    if (std::strcmp(isa, "scalar") == 0) return;  // rounds products and sums apart
    // as AVX2 gives them; AVX-512 and NEON must agree
    if (!CHECK(hash == 0xe1bbc5aee8a7e9d7ull)) std::printf("  %s: 0x%llx\n", isa, static_cast<unsigned long long>(hash));
  });
}

TEST(attend_survives_scores_that_leave_exp) {
  Random random(15);
  Head head(random, 70, 300, 8, 5, true, 1);
  for (float &b : head.bias) b *= 200;                            // hundreds of e-foldings between cells
  for (size_t i = 0; i < head.cells; i++) head.keys[i * 8] += i;  // and the top moves in every tile
  const Result want = reference(head);
  each_isa([&](const char *isa) {
    const Result got = attend(head, isa, 2);
    CHECK_BOUND(compare(head, got, want), 1);
    double sum = 0;
    for (float x : got.mean) sum += x;
    // 300 means of a few roundings each
    CHECK_BOUND(std::fabs(sum - 1), 400 * bounds::kRoundoff + 2 * bounds::kPower);
  });
}

TEST(attend_of_equal_cells_is_uniform) {
  Random random(16);
  Head head(random, 3, 640, 16, 4, false, 1);
  for (size_t i = 16; i < head.keys.size(); i++) head.keys[i] = head.keys[i - 16];
  each_isa([&](const char *isa) {
    const Result got = attend(head, isa, 1);
    // equal scores: every exponential is 1, the total is exact
    for (float x : got.maximum) CHECK_BOUND(std::fabs(x * 640.0 - 1), 2 * bounds::kRoundoff);
    for (float x : got.rms) CHECK_BOUND(std::fabs(x * 640.0 - 1), 8 * bounds::kRoundoff);
  });
}

TEST(attend_writes_only_what_is_asked_for) {
  Random random(17);
  const Head head(random, 90, 200, 16, 8, true, 1);
  const Result all = attend(head, nullptr, 1);
  const kvfold_attend_input input = head.input();
  const kvfold_attention_options how = options(nullptr);
  Result some(head);
  const kvfold_attend_output rms = {{nullptr, 0}, {nullptr, 0}, buffer(some.rms), {nullptr, 0}};
  CHECK(kvfold_attend(&input, &how, &rms, nullptr) == KVFOLD_OK);
  CHECK(same_bits(some.rms, all.rms) && some.outputs[0] == -1 && some.maximum[0] == -1);
  const kvfold_attend_output outputs = {{nullptr, 0}, {nullptr, 0}, {nullptr, 0}, buffer(some.outputs)};
  CHECK(kvfold_attend(&input, &how, &outputs, nullptr) == KVFOLD_OK);
  CHECK(same_bits(some.outputs, all.outputs));
}

TEST(attend_can_be_cancelled) {
  Random random(18);
  const Head head(random, 700, 3000, 16, 8, false, 1);
  const kvfold_attend_input input = head.input();
  Result result(head);
  const kvfold_attend_output output = result.output();
  const Threads pool(3);
  for (int polls : {0, 1, 5, 11}) {
    for (const kvfold_workers *workers : {static_cast<const kvfold_workers *>(nullptr), &pool.workers}) {
      Cancel cancel(polls);
      const kvfold_attention_options how = {workers, Cancel::ask, &cancel, nullptr};
      kvfold_error error = {};
      CHECK(kvfold_attend(&input, &how, &output, &error) == KVFOLD_STATUS_ABORTED);
      CHECK(error.status == KVFOLD_STATUS_ABORTED);
    }
  }
  CHECK(result.rms[0] == -1);  // statistics are joined last
}

TEST(attend_refuses_bad_input) {
  Random random(19);
  const Head good(random, 5, 7, 4, 3, true, 1);
  const float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
  auto status = [&](auto &&spoil) {
    Head head = good;
    Result result(head);
    kvfold_attend_input input = head.input();
    kvfold_attend_output output = result.output();
    kvfold_attention_options how = options(nullptr);
    spoil(head, input, output, how);
    kvfold_error error = {};
    const kvfold_status got = kvfold_attend(&input, &how, &output, &error);
    CHECK(got == KVFOLD_OK || error.message[0] != '\0');
    CHECK(got == KVFOLD_OK || (result.rms[0] == -1 && result.outputs[0] == -1));
    return got;
  };
  using In = kvfold_attend_input;
  using Out = kvfold_attend_output;
  using How = kvfold_attention_options;
  const kvfold_status bad = KVFOLD_STATUS_ARGUMENT;
  CHECK(status([&](Head &, In &, Out &, How &) {}) == KVFOLD_OK);
  CHECK(status([&](Head &, In &in, Out &, How &) { in.rows = 0; }) == bad);
  CHECK(status([&](Head &, In &in, Out &, How &) { in.cells = 0; }) == bad);
  CHECK(status([&](Head &, In &in, Out &, How &) { in.cells = UINT32_MAX; }) == bad);
  CHECK(status([&](Head &, In &in, Out &, How &) { in.key_dim = 0; }) == bad);
  CHECK(status([&](Head &, In &in, Out &, How &) { in.value_dim = UINT32_MAX; }) == bad);
  CHECK(status([&](Head &, In &in, Out &, How &) { in.value_dim = 0; }) == bad);
  CHECK(status([&](Head &, In &in, Out &, How &) { in.queries.length--; }) == bad);
  CHECK(status([&](Head &, In &in, Out &, How &) { in.keys.data = nullptr; }) == bad);
  CHECK(status([&](Head &, In &in, Out &, How &) { in.bias.length--; }) == bad);
  CHECK(status([&](Head &, In &, Out &out, How &) { out.mean.length--; }) == bad);
  CHECK(status([&](Head &, In &, Out &out, How &) { out.outputs.data = nullptr; }) == bad);
  CHECK(status([&](Head &head, In &, Out &, How &) { head.queries[19] = nan; }) == bad);
  CHECK(status([&](Head &head, In &, Out &, How &) { head.keys[3] = infinity; }) == bad);
  CHECK(status([&](Head &head, In &, Out &, How &) { head.bias[6] = nan; }) == bad);
  CHECK(status([&](Head &head, In &, Out &, How &) { head.values[20] = -infinity; }) == bad);
  CHECK(status([&](Head &head, In &, Out &, How &) { head.values[0] = 1e30f; }) == bad);
  CHECK(status([&](Head &head, In &, Out &, How &) { head.queries[0] = head.keys[0] = 1e20f; }) == bad);
  CHECK(status([&](Head &, In &, Out &, How &how) { how.isa = "nothing"; }) == KVFOLD_STATUS_UNSUPPORTED);
  const kvfold_workers none = {4, nullptr, nullptr};
  CHECK(status([&](Head &, In &, Out &, How &how) { how.workers = &none; }) == bad);
  const kvfold_workers crowd = {100000, Threads::run, nullptr};
  CHECK(status([&](Head &, In &, Out &, How &how) { how.workers = &crowd; }) == bad);
  CHECK(kvfold_attend(nullptr, nullptr, nullptr, nullptr) == bad);
}

TEST(attend_reports_its_memory) {
  Random random(20);
  const Head head(random, 1024, 4096, 8, 8, false, 1);
  kvfold_attend_input input = head.input();
  uint64_t one = 0, four = 0;
  CHECK(kvfold_attend_memory(&input, 1, &one, nullptr) == KVFOLD_OK);
  CHECK(kvfold_attend_memory(&input, 4, &four, nullptr) == KVFOLD_OK);
  // 576 B a cell and thread, 192 B a cell, keys (8 channels) and values (8, in a strip of 48), and less than 128 KiB
  const uint64_t shared = 4096 * (192 + 4 * (8 + 48)), own = 4096 * 576, besides = 131072;
  CHECK(one >= shared + own && one < shared + own + besides);
  CHECK(four - one >= 3 * own && four - one < 3 * (own + besides));
  input.cells = KVFOLD_MAX_CELLS;
  input.key_dim = input.value_dim = KVFOLD_MAX_HEAD_DIM;
  CHECK(kvfold_attend_memory(&input, KVFOLD_MAX_THREADS, &one, nullptr) == KVFOLD_OK);
  CHECK(one > uint64_t{KVFOLD_MAX_CELLS} * 576 * KVFOLD_MAX_THREADS);
  CHECK(kvfold_attend_memory(&input, 0, &one, nullptr) == KVFOLD_STATUS_ARGUMENT);
  CHECK(kvfold_attend_memory(&input, 1, nullptr, nullptr) == KVFOLD_STATUS_ARGUMENT);
  CHECK(kvfold_attend_memory(nullptr, 1, &one, nullptr) == KVFOLD_STATUS_ARGUMENT);
}
