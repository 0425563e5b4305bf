// fit.metal: ridge regression of one head: normal equations, a blocked Cholesky factor with a guarded diagonal, and
// what the solution leaves. Right-hand sides hang below the matrix as more rows, so that factoring also solves forward.
//
//   matrix  [n + width, n]     G + ridge        ->  L           lower triangle
//                              (A^T E)^T        ->  Y^T, X^T    `width` rows

// out (+)= left^T right over `rows`, in chains of kChain. left: [rows, left_stride], right: [rows, right_stride]; out
// element (i, j) at i * out_stride + j, or turned. With p.lower only tiles that touch j <= i. One thread for each tile
kernel void multiply_columns(constant FitParameters &p [[buffer(0)]], device const float *left [[buffer(1)]],
                             device const float *right [[buffer(2)]], device float *out [[buffer(3)]],
                             uint id [[thread_position_in_grid]]) {
  if (id >= p.threads) return;
  const uint tiles = (p.right + kTile - 1u) / kTile, j = id % tiles * kTile, i = id / tiles * kTile;
  if (p.lower != 0u && j > i + kTile - 1u) return;
  const uint columns = p.right - j < kTile ? p.right - j : kTile, lines = p.left - i < kTile ? p.left - i : kTile;
  float sum[kTile][kTile];
  for (uint a = 0; a < kTile; a++) {
    for (uint b = 0; b < kTile; b++) sum[a][b] = 0.0f;
  }
  for (uint begin = 0; begin < p.rows; begin += kChain) {
    const uint end = p.rows - begin < kChain ? p.rows : begin + kChain;
    float part[kTile][kTile];
    for (uint a = 0; a < kTile; a++) {
      for (uint b = 0; b < kTile; b++) part[a][b] = 0.0f;
    }
    for (uint row = begin; row < end; row++) {
      device const float *x = left + (ulong)row * p.left_stride + i, *y = right + (ulong)row * p.right_stride + j;
      for (uint a = 0; a < kTile; a++) {
        const float factor = a < lines ? x[a] : 0.0f;
        for (uint b = 0; b < kTile; b++) part[a][b] = fma(factor, b < columns ? y[b] : 0.0f, part[a][b]);
      }
    }
    for (uint a = 0; a < kTile; a++) {
      for (uint b = 0; b < kTile; b++) sum[a][b] += part[a][b];
    }
  }
  for (uint a = 0; a < lines; a++) {
    for (uint b = 0; b < columns; b++) {
      const ulong row = p.out_transposed != 0u ? j + b : i + a, column = p.out_transposed != 0u ? i + a : j + b;
      out[row * p.out_stride + column] = sum[a][b];
    }
  }
}

// Factors the diagonal block [begin, end) of the step. A pivot below 2^-18 of its own diagonal entry, or below
// p.least, is raised (cholesky.h of the attention library says why). diagonal: as it was [n]; one thread
kernel void factor_diagonal(constant FitParameters &p [[buffer(0)]], device float *matrix [[buffer(1)]],
                            device const float *diagonal [[buffer(2)]], uint id [[thread_position_in_grid]]) {
  if (id >= p.threads) return;
  for (uint j = p.begin; j < p.end; j++) {
    device float *row = matrix + (ulong)j * p.out_stride;
    float pivot = row[j];
    for (uint k = p.begin; k < j; k++) pivot = fma(-row[k], row[k], pivot);
    const float share = diagonal[j] * 3.814697265625e-06f, floor_value = share > p.least ? share : p.least;
    if (!(pivot >= floor_value)) pivot = floor_value;
    const float root = sqrt(pivot);
    row[j] = root;
    for (uint i = j + 1u; i < p.end; i++) {
      device float *other = matrix + (ulong)i * p.out_stride;
      float value = other[j];
      for (uint k = p.begin; k < j; k++) value = fma(-other[k], row[k], value);
      other[j] = value / root;
    }
  }
}

// Rows below the diagonal block: x L^T = what is there. One thread for each row from p.end on
kernel void solve_rows(constant FitParameters &p [[buffer(0)]], device float *matrix [[buffer(1)]],
                       uint id [[thread_position_in_grid]]) {
  if (id >= p.threads) return;
  device float *row = matrix + (ulong)(p.end + id) * p.out_stride;
  for (uint j = p.begin; j < p.end; j++) {
    device const float *factor = matrix + (ulong)j * p.out_stride;
    float value = row[j];
    for (uint k = p.begin; k < j; k++) value = fma(-row[k], factor[k], value);
    row[j] = value / factor[j];
  }
}

// Takes the step off all that is below and right of it. p.rows: of the matrix, p.left: unknowns. One thread for each
// tile of the rows and columns from p.end on
kernel void update_tiles(constant FitParameters &p [[buffer(0)]], device float *matrix [[buffer(1)]],
                         uint id [[thread_position_in_grid]]) {
  if (id >= p.threads) return;
  const uint tiles = (p.left - p.end + kTile - 1u) / kTile;
  const uint j = p.end + id % tiles * kTile, i = p.end + id / tiles * kTile;
  if (j > i + kTile - 1u) return;
  const uint columns = p.left - j < kTile ? p.left - j : kTile, lines = p.rows - i < kTile ? p.rows - i : kTile;
  float sum[kTile][kTile];
  for (uint a = 0; a < kTile; a++) {
    for (uint b = 0; b < kTile; b++)
      sum[a][b] = a < lines && b < columns ? matrix[(ulong)(i + a) * p.out_stride + j + b] : 0.0f;
  }
  for (uint k = p.begin; k < p.end; k++) {
    float right[kTile];
    for (uint b = 0; b < kTile; b++) right[b] = b < columns ? matrix[(ulong)(j + b) * p.out_stride + k] : 0.0f;
    for (uint a = 0; a < kTile; a++) {
      const float left = a < lines ? -matrix[(ulong)(i + a) * p.out_stride + k] : 0.0f;
      for (uint b = 0; b < kTile; b++) sum[a][b] = fma(left, right[b], sum[a][b]);
    }
  }
  for (uint a = 0; a < lines; a++) {
    for (uint b = 0; b < columns; b++) matrix[(ulong)(i + a) * p.out_stride + j + b] = sum[a][b];
  }
}

// Backward: unknowns [begin, end) of every right-hand side, from those above it. One thread for each of them
kernel void solve_back(constant FitParameters &p [[buffer(0)]], device float *matrix [[buffer(1)]],
                       uint id [[thread_position_in_grid]]) {
  if (id >= p.threads) return;
  device float *x = matrix + (ulong)(p.left + id) * p.out_stride;
  for (uint k = p.end; k > p.begin; k--) {
    const uint j = k - 1u;
    float value = x[j];
    for (uint i = k; i < p.end; i++) value = fma(-matrix[(ulong)i * p.out_stride + j], x[i], value);
    x[j] = value / matrix[(ulong)j * p.out_stride + j];
  }
}

// Takes the unknowns [begin, end) off those before them. One thread for each right-hand side and unknown before begin
kernel void update_back(constant FitParameters &p [[buffer(0)]], device float *matrix [[buffer(1)]],
                        uint id [[thread_position_in_grid]]) {
  if (id >= p.threads) return;
  const uint j = id % p.begin;
  device float *x = matrix + (ulong)(p.left + id / p.begin) * p.out_stride;
  float value = x[j];
  for (uint i = p.begin; i < p.end; i++) value = fma(-matrix[(ulong)i * p.out_stride + j], x[i], value);
  x[j] = value;
}

// Takes the answer A X off what is missing, in chains of kChain. weights: [rows, left]; solution: X^T [right,
// out_stride]; missing: [rows, right]; one thread for each element
kernel void subtract_answer(constant FitParameters &p [[buffer(0)]], device const float *weights [[buffer(1)]],
                            device const float *solution [[buffer(2)]], device float *missing [[buffer(3)]],
                            uint id [[thread_position_in_grid]]) {
  if (id >= p.threads) return;
  device const float *weight = weights + (ulong)(id / p.right) * p.left;
  device const float *x = solution + (ulong)(id % p.right) * p.out_stride;
  float answer = 0.0f;
  for (uint begin = 0; begin < p.left; begin += kChain) {
    const uint end = p.left - begin < kChain ? p.left : begin + kChain;
    float part = 0.0f;
    for (uint f = begin; f < end; f++) part = fma(weight[f], x[f], part);
    answer += part;
  }
  missing[id] -= answer;
}
