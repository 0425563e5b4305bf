// rope.metal: rotation of keys and queries, and the Hadamard transform around it.
//
// An angle is a fraction of a turn in 64-bit fixed point: positions times turns, modulo 1, is exact in integers. The upper 32 bits leave an error of 2^-32 turns; a quadrant and two polynomials (own minimax fits on
// |x| <= pi / 4: sine 2^-28 relative, cosine 2^-33) make it a sine and a cosine good to about one f32 roundoff.

inline void sine_cosine(ulong phase, thread float &sine, thread float &cosine) {
  const uint turn = (uint)(phase >> 32), quadrant = (turn + 0x20000000u) >> 30;
  const int rest = (int)(turn - (quadrant << 30));   // [-2^29, 2^29): an eighth of a turn either way
  const float x = (float)rest * 1.46291807927e-9f;   // pi / 2 / 2^30
  const float z = x * x;
  float s = -0.000195172353f * z + 0.008332178f;
  s = s * z - 0.166666552f;
  s = s * z * x + x;
  float c = 2.44383791e-05f * z - 0.00138873665f;
  c = c * z + 0.0416666456f;
  c = c * z * z - 0.5f * z + 1.0f;
  const bool swap = (quadrant & 1u) != 0u;
  const float first = swap ? c : s, second = swap ? s : c;
  sine = (quadrant & 2u) != 0u ? -first : first;
  cosine = quadrant == 1u || quadrant == 2u ? -second : second;
}

// Of a rotated channel: its pair, the other channel of it, and whether it is the second one.
struct Rotated {
  uint pair, partner;
  bool second;
};

inline void rotated_channel(constant RopeLayout &rope, uint channel, thread Rotated &found) {
  if (rope.interleaved != 0u) {
    found.pair = channel / 2u;
    found.second = channel % 2u != 0u;
    found.partner = found.second ? channel - 1u : channel + 1u;
  } else {
    found.second = channel >= rope.pairs;
    found.pair = found.second ? channel - rope.pairs : channel;
    found.partner = found.second ? channel - rope.pairs : channel + rope.pairs;
  }
}

// A channel of a key turned by `delta` positions, from what it and its partner were.
inline float turned_channel(float value, float partner, bool second, long delta, ulong turns) {
  float sine, cosine;
  sine_cosine((ulong)delta * turns, sine, cosine);
  const float straight = value * cosine, across = partner * sine;
  return second ? across + straight : straight - across;
}

// Turns rows of floats in place by `deltas` positions. rows: [rows, dim]; one thread for each row and pair
kernel void rotate_rows(constant RowsParameters &p [[buffer(0)]], device float *rows [[buffer(1)]],
                        device const long *deltas [[buffer(2)]], device const ulong *turns [[buffer(3)]],
                        uint id [[thread_position_in_grid]]) {
  if (id >= p.threads) return;
  const uint pair = id % p.rope.pairs, row = id / p.rope.pairs;
  const uint first = p.rope.interleaved != 0u ? 2u * pair : pair;
  const uint second = p.rope.interleaved != 0u ? first + 1u : first + p.rope.pairs;
  float sine, cosine;
  sine_cosine((ulong)deltas[row] * turns[pair], sine, cosine);
  device float *at = rows + (ulong)row * p.dim;
  const float x = at[first], y = at[second];
  const float xc = x * cosine, ys = y * sine, xs = x * sine, yc = y * cosine;
  at[first] = xc - ys;
  at[second] = xs + yc;
}

// Normalised Walsh-Hadamard transform (natural order) of rows in place. One thread for each block of `block` channels
kernel void hadamard_rows(constant RowsParameters &p [[buffer(0)]], device float *rows [[buffer(1)]],
                          uint id [[thread_position_in_grid]]) {
  if (id >= p.threads) return;
  const uint blocks = p.dim / p.block;
  device float *base = rows + (ulong)(id / blocks) * p.dim + (ulong)(id % blocks) * p.block;
  for (uint apart = 1u; apart < p.block; apart *= 2u) {
    for (uint i = 0; i < p.block; i += 2u * apart) {
      for (uint j = i; j < i + apart; j++) {
        const float x = base[j], y = base[j + apart];
        base[j] = x + y;
        base[j + apart] = x - y;
      }
    }
  }
  for (uint i = 0; i < p.block; i++) base[i] *= p.scale;
}

// Sampled queries of one KV head as rows of floats, scaled. queries: f16 bits [samples, query heads, dim];
// order: the row of each slot, or identity; out: [rows, dim]; one thread for each element
kernel void load_queries(constant RowsParameters &p [[buffer(0)]], device const ushort *queries [[buffer(1)]],
                         device const uint *order [[buffer(2)]], device float *out [[buffer(3)]],
                         uint id [[thread_position_in_grid]]) {
  if (id >= p.threads) return;
  const uint slot = id / p.dim, j = id % p.dim, row = order[slot];
  const uint sample = row / p.group, query_head = p.head * p.group + row % p.group;
  out[id] = f16_to_f32(queries[((ulong)sample * p.query_heads + query_head) * p.dim + j]) * p.scale;
}
