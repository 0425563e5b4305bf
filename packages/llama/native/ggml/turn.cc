// See turn.h.
#include "turn.h"

#include <cmath>

#include "kvfold/memory.h"

namespace kvfold {

Angles::Angles(const TurnSpec &spec, const std::vector<int32_t> &deltas) {
  const size_t pairs = spec.frequencies.size();
  cosines.resize(deltas.size() * pairs);
  sines.resize(deltas.size() * pairs);
  for (size_t key = 0; key < deltas.size(); key++) {
    for (size_t i = 0; i < pairs; i++) {
      const double angle = static_cast<double>(deltas[key]) * spec.frequencies[i];
      cosines[key * pairs + i] = static_cast<float>(std::cos(angle));
      sines[key * pairs + i] = static_cast<float>(std::sin(angle));
    }
  }
}

// The allocator of ggml v0.5.0 gives an operation that may work in place the wrong memory when its source is a reshaped
// or plain view of the same layout. So nothing here adds, multiplies or scales such a view: tables have their final
// shape from the start, and results are made contiguous instead of being reshaped.

// The two channels of every pair as tensors of their own; a rotation is two products and a sum for each.
ggml_tensor *turned(Graph &graph, const TurnSpec &spec, ggml_tensor *x, const Angles &angles) {
  ggml_context *context = graph.context();
  const int64_t dim = x->ne[0], keys = x->ne[1], pairs = spec.dims / 2;
  const size_t single = sizeof(float);
  const bool interleaved = spec.pairing == KVFOLD_ROPE_INTERLEAVED;
  // interleaved: [keys, pairs, 1]; half: [keys, 1, pairs]
  const int64_t wide = interleaved ? 1 : pairs, many = interleaved ? pairs : 1;
  const auto channel = [&](size_t from) {
    return ggml_view_3d(context, x, wide, many, keys, (interleaved ? 2 : static_cast<size_t>(pairs)) * single, x->nb[1],
                        from * single);
  };
  const auto table = [&](const std::vector<float> &values) {
    return graph.input(GGML_TYPE_F32, wide, many, keys, values.data());
  };
  ggml_tensor *first = channel(0), *second = channel(interleaved ? 1 : static_cast<size_t>(pairs));
  ggml_tensor *cosines = table(angles.cosines), *sines = table(angles.sines);
  ggml_tensor *a = ggml_sub(context, ggml_mul(context, first, cosines), ggml_mul(context, second, sines));
  ggml_tensor *b = ggml_add(context, ggml_mul(context, first, sines), ggml_mul(context, second, cosines));
  ggml_tensor *both = ggml_cont_2d(context, ggml_concat(context, a, b, 0), spec.dims, keys);
  if (spec.dims == dim) return both;
  const size_t rest = static_cast<size_t>(spec.dims) * single;
  ggml_tensor *still = ggml_cont(context, ggml_view_2d(context, x, dim - spec.dims, keys, x->nb[1], rest));
  return ggml_concat(context, both, still, 0);
}

ggml_tensor *hadamard(Graph &graph, ggml_tensor *x, int64_t block) {
  if (block < 2) return x;
  ggml_context *context = graph.context();
  const int64_t dim = x->ne[0], keys = x->ne[1];
  const size_t single = sizeof(float);
  for (int64_t half = 1; half < block; half *= 2) {
    const auto side = [&](int64_t from) {
      return ggml_view_3d(context, x, half, dim / (2 * half), keys, static_cast<size_t>(2 * half) * single, x->nb[1],
                          static_cast<size_t>(from) * single);
    };
    ggml_tensor *a = side(0), *b = side(half);
    ggml_tensor *both = ggml_concat(context, ggml_add(context, a, b), ggml_sub(context, a, b), 0);
    x = ggml_cont_2d(context, both, dim, keys);
  }
  return ggml_scale(context, x, static_cast<float>(1.0 / std::sqrt(static_cast<double>(block))));
}

size_t turn_tensors(const TurnSpec &spec) {
  const size_t stages = spec.hadamard < 2 ? 0 : static_cast<size_t>(std::log2(spec.hadamard)) + 1;
  return 24 + 8 * stages;
}

}  // namespace kvfold
