// fit at its border: cancellation, bad input, memory.
#include <limits>

#include "fit_case.h"

using namespace fixture;

TEST(fit_can_be_cancelled_and_writes_nothing) {
  Random random(41);
  const Case c(random, 500, 300, 200, 150, 16, 16, false, 1);
  const kvfold_fit_input input = c.input();
  const Threads pool(3);
  Cancel never(1 << 30);
  const kvfold_attention_options patient = {nullptr, Cancel::ask, &never, nullptr};
  Floats values(c.head.values.size(), -7);
  kvfold_fit_report report = {};
  CHECK(kvfold_fit(&input, &patient, buffer(values), &report, nullptr) == KVFOLD_OK);
  const int polls = (1 << 30) - never.left;
  CHECK(polls > 20);
  for (int poll = 0; poll < polls; poll++) {
    for (const kvfold_workers *workers : {static_cast<const kvfold_workers *>(nullptr), &pool.workers}) {
      Cancel cancel(poll);
      const kvfold_attention_options how = {workers, Cancel::ask, &cancel, nullptr};
      values.assign(values.size(), -7);
      report.form = 99;
      CHECK(kvfold_fit(&input, &how, buffer(values), &report, nullptr) == KVFOLD_STATUS_ABORTED);
      CHECK(values == Floats(values.size(), -7) && report.form == 99);
    }
  }
}

TEST(fit_refuses_bad_input) {
  Random random(42);
  const Case good(random, 20, 14, 7, 3, 4, 3, true, 1);
  const float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
  auto status = [&](auto &&spoil) {
    Case c = good;
    kvfold_fit_input input = c.input();
    Floats values(c.head.values.size(), -7);
    kvfold_f32_buffer out = buffer(values);
    spoil(c, input, out);
    const kvfold_attention_options how = options(nullptr);
    kvfold_fit_report report = {};
    kvfold_error error = {};
    const kvfold_status got = kvfold_fit(&input, &how, out, &report, &error);
    CHECK(got == KVFOLD_OK || (error.message[0] != '\0' && values == Floats(values.size(), -7)));
    CHECK(kvfold_fit_reference(&input, nullptr, out, &report, nullptr) == got);
    return got;
  };
  using In = kvfold_fit_input;
  using Out = kvfold_f32_buffer;
  const kvfold_status bad = KVFOLD_STATUS_ARGUMENT;
  const uint32_t twice[] = {2, 2}, falling[] = {3, 1}, outside[] = {0, 7};
  CHECK(status([&](Case &, In &, Out &) {}) == KVFOLD_OK);
  CHECK(status([&](Case &, In &in, Out &) { in.rows = 0; }) == bad);
  const uint8_t factors[] = {1, 7, 255, 1}, none[] = {1, 0, 1};
  CHECK(status([&](Case &, In &in, Out &) { in.ridge_factors = {factors, 3}; }) == KVFOLD_OK);
  CHECK(status([&](Case &, In &in, Out &) { in.ridge_factors = {factors, 4}; }) == bad);
  CHECK(status([&](Case &, In &in, Out &) { in.ridge_factors = {none, 3}; }) == bad);
  CHECK(status([&](Case &, In &in, Out &) { in.ridge_factors = {nullptr, 3}; }) == bad);
  CHECK(status([&](Case &, In &in, Out &) {
          in.ridge_factors = {factors, 3};
          in.form = KVFOLD_FIT_DUAL;
        }) == bad);
  CHECK(status([&](Case &, In &in, Out &) { in.rows = UINT32_MAX; }) == bad);
  CHECK(status([&](Case &, In &in, Out &) { in.kept = 0; }) == bad);
  CHECK(status([&](Case &, In &in, Out &) { in.value_dim = 0; }) == bad);
  CHECK(status([&](Case &, In &in, Out &) { in.targets.length--; }) == bad);
  CHECK(status([&](Case &, In &in, Out &) { in.values.data = nullptr; }) == bad);
  CHECK(status([&](Case &, In &, Out &out) { out.length++; }) == bad);
  CHECK(status([&](Case &, In &in, Out &) { in.free = {twice, 2}; }) == bad);
  CHECK(status([&](Case &, In &in, Out &) { in.free = {falling, 2}; }) == bad);
  CHECK(status([&](Case &, In &in, Out &) { in.free = {outside, 2}; }) == bad);
  CHECK(status([&](Case &, In &in, Out &) { in.free = {nullptr, 2}; }) == bad);
  CHECK(status([&](Case &, In &in, Out &) { in.free.length = 8; }) == bad);
  CHECK(status([&](Case &, In &in, Out &) { in.free.length = UINT64_MAX; }) == bad);
  CHECK(status([&](Case &, In &in, Out &) { in.lambda = -0.1; }) == bad);
  CHECK(status([&](Case &, In &in, Out &) { in.lambda = nan; }) == bad);
  CHECK(status([&](Case &, In &in, Out &) { in.holdout = 1; }) == bad);
  CHECK(status([&](Case &, In &in, Out &) { in.form = 3; }) == bad);
  CHECK(status([&](Case &c, In &, Out &) { c.targets[5] = nan; }) == bad);
  CHECK(status([&](Case &c, In &, Out &) { c.head.values[5] = infinity; }) == bad);
  CHECK(status([&](Case &c, In &, Out &) { c.head.keys[5] = nan; }) == bad);
  CHECK(status([&](Case &c, In &, Out &) { c.head.queries[0] = c.head.keys[0] = 1e20f; }) == bad);
}

TEST(fit_reports_its_memory) {
  Random random(43);
  Case c(random, 20, 14, 7, 3, 4, 3, true, 1);
  kvfold_fit_input input = c.input();
  input.rows = 4096;
  input.kept = 2048;
  input.value_dim = input.key_dim = 64;
  input.free.length = 1024;
  input.holdout = 8;
  uint64_t one = 0, four = 0;
  CHECK(kvfold_fit_memory(&input, 1, &one, nullptr) == KVFOLD_OK);
  CHECK(kvfold_fit_memory(&input, 4, &four, nullptr) == KVFOLD_OK);
  // weights, missing, square system, powers, and keys and values in strips are what counts
  const uint64_t large = 4 * (4096 * 1056 + 4096 * 80 + 1056 * 1072 + 2048 * (144 + 64 + 96));
  CHECK(one >= large && one < large + large / 20);
  CHECK(four - one >= 3 * 2048 * 576 && four - one < 3 * (2048 * 576 + 262144));
  input.free.length = KVFOLD_ATTENTION_MAX_FREE + 1;
  input.kept = KVFOLD_MAX_CELLS;
  CHECK(kvfold_fit_memory(&input, 1, &one, nullptr) == KVFOLD_STATUS_ARGUMENT);
  CHECK(kvfold_fit_memory(&input, 1, nullptr, nullptr) == KVFOLD_STATUS_ARGUMENT);
}
