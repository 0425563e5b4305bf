// Rejections of the checks at the border: each case breaks one thing of a valid case and names the status.
#include <cmath>
#include <functional>
#include <limits>

#include "cases.h"
#include "check.h"
#include "common/tensor.h"

using cases::Case;

namespace {

kvfold_status check_all(const Case &one) {
  kvfold_error error{};
  if (kvfold_status status = kvfold_check_target(&one.target, &error)) return status;
  const kvfold_status status = kvfold_check_plan(&one.target, &one.plan, &error);
  CHECK((status == KVFOLD_OK) == (error.message[0] == 0));
  return status;
}

/// Applies a fault to the first cases of a layout, expects its status.
void reject(const char *name, uint32_t layout, kvfold_status expected, const std::function<void(Case *)> &spoil,
            const std::function<bool(const Case &)> &fits = [](const Case &) { return true; }) {
  uint32_t tried = 0;
  for (uint32_t seed = 2000; seed < 2400 && tried < 10; seed++) {
    const auto one = cases::random_case(seed);
    if (one->plan.layout != layout || !fits(*one)) continue;
    CHECK_MESSAGE(check_all(*one) == KVFOLD_OK, one->name.c_str());
    spoil(one.get());
    CHECK_MESSAGE(check_all(*one) == expected, name);
    tried++;
  }
  CHECK_MESSAGE(tried > 0, name);
}

bool has_rows(const Case &one) { return one.plan.rows >= 2; }

void plans() {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (uint32_t layout : {KVFOLD_SHARED, KVFOLD_COMPOSITE}) {
    reject("cells", layout, KVFOLD_STATUS_PLAN_SHAPE, [](Case *c) { c->plan.cells++; });
    reject("rows", layout, KVFOLD_STATUS_PLAN_SHAPE, [](Case *c) { c->plan.rows++; });
    reject("no rows", layout, KVFOLD_STATUS_PLAN_SHAPE, [](Case *c) { c->plan.rows = 0; });
    reject("layout", layout, KVFOLD_STATUS_PLAN_SHAPE, [](Case *c) { c->plan.layout = 2; });
    reject("positions", layout, KVFOLD_STATUS_PLAN_SHAPE, [](Case *c) { c->plan.positions.length--; });
    reject("counts", layout, KVFOLD_STATUS_PLAN_SHAPE, [](Case *c) { c->plan.counts.length++; });
    reject("bias", layout, KVFOLD_STATUS_PLAN_SHAPE, [](Case *c) { c->bias.resize(c->plan.rows + 1); c->bind(); });
    reject("pins", layout, KVFOLD_STATUS_PLAN_SHAPE, [](Case *c) { c->pins.resize(c->plan.cells + 1); c->bind(); });
    reject("members", layout, KVFOLD_STATUS_PLAN_SHAPE, [](Case *c) { c->plan.members.length--; });
    reject("range", layout, KVFOLD_STATUS_PLAN_MEMBER_RANGE, [](Case *c) { c->members[0] = c->plan.cells; });
    reject("range", layout, KVFOLD_STATUS_PLAN_MEMBER_RANGE, [](Case *c) { c->members.back() = UINT32_MAX; });
    reject("disjoint", layout, KVFOLD_STATUS_PLAN_NOT_DISJOINT, [](Case *c) { c->members[0] = c->members[1]; },
           has_rows);
    reject("order", layout, KVFOLD_STATUS_PLAN_ORDER, [](Case *c) { c->row_positions[0] = INT32_MAX - 1; }, has_rows);
    reject("order", layout, KVFOLD_STATUS_PLAN_ORDER, [](Case *c) { c->row_positions.back() = INT32_MAX; });
    reject("order", layout, KVFOLD_STATUS_PLAN_ORDER, [](Case *c) { c->row_positions[0] = -1; });
    reject("counts", layout, KVFOLD_STATUS_PLAN_COUNTS, [](Case *c) { c->counts[0] = 0; });
    reject("counts", layout, KVFOLD_STATUS_PLAN_COUNTS, [](Case *c) { c->plan.dropped--; },
           [](const Case &c) { return c.plan.dropped > 0; });
    reject("counts", layout, KVFOLD_STATUS_PLAN_COUNTS, [](Case *c) { c->plan.dropped = UINT64_MAX; });
    for (float bias : {16.0f, -16.0f, nan, std::numeric_limits<float>::infinity()}) {
      reject("bias", layout, KVFOLD_STATUS_PLAN_BIAS, [=](Case *c) {
        c->bias.assign(c->plan.rows, 0);
        c->bias.back() = bias;
        c->bind();
      });
    }
    reject("pin level", layout, KVFOLD_STATUS_PLAN_PIN, [](Case *c) { c->pins.assign(c->plan.cells, 4); c->bind(); });
  }
  reject("weights", KVFOLD_SHARED, KVFOLD_STATUS_PLAN_WEIGHT, [=](Case *c) { c->key_weights.back() = nan; });
  reject("weights", KVFOLD_SHARED, KVFOLD_STATUS_PLAN_WEIGHT, [=](Case *c) { c->value_weights[0] = -INFINITY; });
  reject("weights", KVFOLD_SHARED, KVFOLD_STATUS_PLAN_SHAPE, [](Case *c) { c->plan.key_weights.data.length--; });
  reject("scope", KVFOLD_SHARED, KVFOLD_STATUS_PLAN_SHAPE, [](Case *c) { c->plan.value_weights.scope = 3; });
  reject("frame", KVFOLD_SHARED, KVFOLD_STATUS_PLAN_SHAPE, [](Case *c) { c->plan.key_frame = 2; });
  reject("offsets", KVFOLD_SHARED, KVFOLD_STATUS_PLAN_SHAPE, [](Case *c) { c->plan.offsets.length--; });
  reject("offsets", KVFOLD_SHARED, KVFOLD_STATUS_PLAN_SHAPE, [](Case *c) { c->offsets[0] = 1; });
  reject("offsets", KVFOLD_SHARED, KVFOLD_STATUS_PLAN_SHAPE, [](Case *c) { c->offsets[1] = UINT32_MAX; }, has_rows);
  reject("layers", KVFOLD_COMPOSITE, KVFOLD_STATUS_PLAN_SHAPE, [](Case *c) { c->plan.layers = UINT32_MAX; });
  reject("heads", KVFOLD_COMPOSITE, KVFOLD_STATUS_PLAN_SHAPE, [](Case *c) { c->plan.kv_heads = 0; });
  for (uint32_t layout : {KVFOLD_SHARED, KVFOLD_COMPOSITE}) {
    reject("no address", layout, KVFOLD_STATUS_PLAN_SHAPE, [](Case *c) { c->plan.positions.data = nullptr; });
    reject("no address", layout, KVFOLD_STATUS_PLAN_SHAPE, [](Case *c) { c->plan.counts.data = nullptr; });
    reject("no address", layout, KVFOLD_STATUS_PLAN_SHAPE, [](Case *c) { c->plan.members.data = nullptr; });
    reject("no address", layout, KVFOLD_STATUS_PLAN_SHAPE, [](Case *c) { c->plan.bias = {nullptr, c->plan.rows}; });
    reject("no address", layout, KVFOLD_STATUS_PLAN_SHAPE, [](Case *c) { c->plan.pins = {nullptr, c->plan.cells}; });
  }
  reject("no address", KVFOLD_SHARED, KVFOLD_STATUS_PLAN_SHAPE, [](Case *c) { c->plan.offsets.data = nullptr; });
  reject("no address", KVFOLD_SHARED, KVFOLD_STATUS_PLAN_SHAPE,
         [](Case *c) { c->plan.key_weights.data.data = nullptr; });
  const auto dropped = [](const Case &c) { return c.members.size() < c.plan.cells; };
  reject("pin", KVFOLD_SHARED, KVFOLD_STATUS_PLAN_PIN, [](Case *c) { c->pins.assign(c->plan.cells, 1); c->bind(); },
         dropped);
}

void targets() {
  const uint32_t layout = KVFOLD_SHARED;
  const auto argument = [=](const char *name, const std::function<void(Case *)> &spoil,
                            const std::function<bool(const Case &)> &fits = [](const Case &) { return true; }) {
    reject(name, layout, KVFOLD_STATUS_ARGUMENT, spoil, fits);
  };
  argument("slot range", [](Case *c) { c->slots[0] = c->memory.capacity; });
  argument("slot twice", [](Case *c) { c->slots[0] = c->slots[1]; }, [](const Case &c) { return c.slots.size() > 1; });
  argument("slots", [](Case *c) { c->target.slots.length--; });
  argument("no address", [](Case *c) { c->target.slots.data = nullptr; });
  argument("no address", [](Case *c) { c->target.positions.data = nullptr; });
  argument("no address", [](Case *c) { c->target.destinations.data = nullptr; });
  argument("no address", [](Case *c) {
    c->source_spans[0] = {nullptr, uint64_t{c->layers[0].kv_heads} * c->plan.cells};
  });
  argument("no address", [](Case *c) { c->target.bias = {nullptr, c->plan.cells}; });
  argument("positions", [](Case *c) { c->target.positions.length++; });
  argument("cells", [](Case *c) { c->target.cells = UINT32_MAX; });
  argument("sources", [](Case *c) { c->source_spans[0].length = 1; },
           [](const Case &c) { return c.layers[0].kv_heads * c.plan.cells > 1; });
  argument("destinations", [](Case *c) { c->target.destinations.length--; });
  argument("destination range", [](Case *c) { c->destinations.back() = UINT32_MAX; });
  argument("destinations fall", [](Case *c) { std::swap(c->destinations[0], c->destinations[1]); }, has_rows);
  argument("key bytes", [](Case *c) { c->layers[0].key_bytes--; });
  argument("value bytes", [](Case *c) { c->layers.back().value_bytes = 0; });
  argument("no keys", [](Case *c) { c->layers[0].keys = nullptr; });
  argument("odd address", [](Case *c) {
    c->layers[0].keys = static_cast<uint8_t *>(c->layers[0].keys) + 1;
    c->layers[0].key_bytes += 64;
  });
  argument("overlap", [](Case *c) {
    c->layers[0].values = static_cast<uint8_t *>(c->layers[0].keys) + 4;
    c->layers[0].value_bytes = UINT64_MAX;
  });
  argument("heads", [](Case *c) { c->layers[0].kv_heads = 0; });
  argument("heads", [](Case *c) { c->layers[0].kv_heads = UINT32_MAX; });
  argument("channels", [](Case *c) { c->layers[0].value_dim = 0; });
  argument("rope pairing", [](Case *c) { c->layers[0].rope_pairing = 3; });
  argument("frequency", [](Case *c) { c->frequencies[0][0] = NAN; },
           [](const Case &c) { return !c.frequencies[0].empty(); });
  argument("no frequencies", [](Case *c) { c->layers[0].rope_frequencies = nullptr; },
           [](const Case &c) { return c.layers[0].rope_pairing != 0; });
  argument("Hadamard", [](Case *c) { c->layers[0].hadamard_key = 48; });
  argument("no memory", [](Case *c) { c->target.memory = nullptr; });
  argument("layers", [](Case *c) { c->memory.layer_count = 0; });
  argument("capacity", [](Case *c) { c->memory.capacity = 0; });
  reject("abi", layout, KVFOLD_STATUS_UNSUPPORTED, [](Case *c) { c->memory.abi = KVFOLD_MEMORY_ABI + 1; });
  reject("struct size", layout, KVFOLD_STATUS_UNSUPPORTED, [](Case *c) { c->memory.layer_bytes--; });
  reject("location", layout, KVFOLD_STATUS_UNSUPPORTED, [](Case *c) { c->layers[0].location = 2; });
  reject("type", layout, KVFOLD_STATUS_UNSUPPORTED, [](Case *c) { c->layers[0].key_type = 7777; });
  reject("dead", layout, KVFOLD_STATUS_DISPOSED, [](Case *c) { c->memory.alive = 0; });
}

/// Adds a fit in which layer 0 head 0 has a free row, then spoils it.
void reject_fit(const char *name, kvfold_status expected, const std::function<void(Case *)> &spoil) {
  for (uint32_t layout : {KVFOLD_SHARED, KVFOLD_COMPOSITE}) {
    reject(name, layout, expected, [&](Case *c) {
      cases::add_fit(c, 7);
      c->changed[0] = 1;
      CHECK_MESSAGE(check_all(*c) == KVFOLD_OK, c->name.c_str());
      spoil(c);
    });
  }
}

void reject_values(const char *name, kvfold_status expected, const std::function<void(Case *)> &spoil) {
  for (uint32_t layout : {KVFOLD_SHARED, KVFOLD_COMPOSITE}) {
    reject(name, layout, expected, [&](Case *c) {
      for (uint32_t seed = 0; c->given_values.empty(); seed++) cases::add_values(c, seed);
      CHECK_MESSAGE(check_all(*c) == KVFOLD_OK, c->name.c_str());
      spoil(c);
    });
  }
}

void fits() {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const auto request = [](const char *name, const std::function<void(kvfold_fit_request *)> &change) {
    reject_fit(name, KVFOLD_STATUS_PLAN_FIT, [&](Case *c) { change(&c->fit); });
  };
  for (double lambda : {0.0, -1.0, 1001.0, nan, HUGE_VAL})
    request("lambda", [lambda](kvfold_fit_request *fit) { fit->lambda = lambda; });
  for (uint32_t size : {0u, (1u << 20) + 1, UINT32_MAX}) {
    request("horizon", [size](kvfold_fit_request *fit) { fit->horizon = size; });
    request("rows", [size](kvfold_fit_request *fit) { fit->max_rows = size; });
  }
  for (uint32_t holdout : {0u, 1u, UINT32_MAX})
    request("holdout", [holdout](kvfold_fit_request *fit) { fit->holdout = holdout; });
  reject_fit("underdetermined", KVFOLD_STATUS_PLAN_FIT, [](Case *c) { c->fit.max_rows = 4; });
  reject_fit("mask", KVFOLD_STATUS_PLAN_SHAPE, [](Case *c) { c->fit.free.length--; });
  reject_fit("no sample", KVFOLD_STATUS_PLAN_FIT, [](Case *c) { c->target.queries = nullptr; });
  reject_fit("layers of the sample", KVFOLD_STATUS_PLAN_FIT, [](Case *c) { c->sample.layer_count++; });
  reject_fit("no queries", KVFOLD_STATUS_PLAN_FIT, [](Case *c) { c->query_layers[0].heads = 0; });
  reject_fit("queries", KVFOLD_STATUS_ARGUMENT, [](Case *c) { c->query_layers[0].rows.length--; });
  reject_fit("query heads", KVFOLD_STATUS_ARGUMENT, [](Case *c) { c->query_layers[0].heads = UINT32_MAX; });
  reject_fit("scale", KVFOLD_STATUS_ARGUMENT, [nan](Case *c) { c->query_layers[0].scale = nan; });
  reject_fit("samples", KVFOLD_STATUS_ARGUMENT, [](Case *c) { c->sample.positions.length = 0; });
  reject_fit("bias", KVFOLD_STATUS_ARGUMENT, [](Case *c) { c->cell_bias.resize(c->plan.cells + 1); c->bind(); });
  reject_fit("both", KVFOLD_STATUS_PLAN_FIT, [](Case *c) { c->plan.values = &c->values; });
  reject_fit("horizon behind the last position", KVFOLD_STATUS_PLAN_FIT,
             [](Case *c) { c->row_positions.back() = INT32_MAX - 1; });
}

void values() {
  reject_values("not finite", KVFOLD_STATUS_PLAN_FIT, [](Case *c) { c->given_values[0] = HUGE_VALF; });
  reject_values("numbers", KVFOLD_STATUS_PLAN_SHAPE, [](Case *c) { c->values.data.length--; });
  reject_values("mask", KVFOLD_STATUS_PLAN_SHAPE, [](Case *c) { c->values.given.length++; });
  reject_values("mark", KVFOLD_STATUS_PLAN_FIT, [](Case *c) { c->changed[0] = 255; });
}

/// Heads that a layer lacks have no values, and exactly pinned cells keep theirs.
void marks() {
  uint32_t padded = 0, pinned = 0;
  for (uint32_t seed = 2000; seed < 2200; seed++) {
    const auto one = cases::random_case(seed);
    cases::add_fit(one.get(), seed);
    const uint32_t heads = kvfold::most_heads(one->memory), rows = one->plan.rows;
    for (uint32_t l = 0; l < one->memory.layer_count; l++) {
      if (one->layers[l].kv_heads == heads) continue;
      uint8_t &mark = one->changed[(size_t{l} * heads + heads - 1) * rows];
      mark = 1;
      CHECK(check_all(*one) == KVFOLD_STATUS_PLAN_FIT);
      mark = 0;
      padded++;
    }
    for (uint32_t row = 0; row < rows && one->memory.layer_count == 1 && heads == 1; row++) {
      if (!one->is_changed(0, 0, row)) continue;
      one->pins.assign(one->plan.cells, 0);
      if (one->plan.layout == KVFOLD_SHARED && one->offsets[row + 1] != one->offsets[row] + 1) continue;
      one->pins[one->members[one->plan.layout == KVFOLD_SHARED ? one->offsets[row] : row]] = KVFOLD_PIN_EXACT;
      one->bind();
      CHECK(check_all(*one) == KVFOLD_STATUS_PLAN_PIN);
      pinned++;
    }
  }
  CHECK(padded > 10 && pinned > 10);
}

}  // namespace

int main() {
  kvfold_error none{};
  CHECK(kvfold_check_target(nullptr, &none) == KVFOLD_STATUS_ARGUMENT);
  CHECK(kvfold_check_plan(nullptr, nullptr, &none) == KVFOLD_STATUS_ARGUMENT);
  plans();
  targets();
  fits();
  values();
  marks();
  return check::verdict("plan check");
}
