/* layout.h: what host and kernels agree on: numbers, and parameters of 32-bit scalars. Part of the kernel text. */
#ifndef KVFOLD_METAL_LAYOUT_H
#define KVFOLD_METAL_LAYOUT_H

#if defined(__METAL_VERSION__)
#define KVFOLD_METAL_NUMBER constexpr constant uint32_t
#else
#include <cstdint>
#define KVFOLD_METAL_NUMBER constexpr uint32_t
#endif

namespace kvfold {
namespace metal {

KVFOLD_METAL_NUMBER kChunk = 32;   /* channels that one thread decodes or makes: one block of a block type */
KVFOLD_METAL_NUMBER kLanes = 64;   /* query rows of a block of attention */
KVFOLD_METAL_NUMBER kTile = 4;     /* side of a product tile that one thread keeps in registers */
KVFOLD_METAL_NUMBER kSegment = 128; /* cells whose softmax one thread sums up */
KVFOLD_METAL_NUMBER kSumRows = 32; /* keys whose directions one thread adds */
KVFOLD_METAL_NUMBER kChain = 128;  /* products in one running sum; longer sums add up such sums */
KVFOLD_METAL_NUMBER kStep = 32;    /* unknowns of a step of the Cholesky factor */
KVFOLD_METAL_NUMBER kScan = 1024;  /* numbers that one thread looks through */
KVFOLD_METAL_NUMBER kNone = 0xffffffffu;     /* no slot, no row */
KVFOLD_METAL_NUMBER kComputed = 0x80000000u; /* bit of a slice table entry: SliceTable::kComputed */

/* Squares of weights are summed as (2^48 p)^2: no underflow above p = 2^-111. kSquareScale of the attention library. */
#define KVFOLD_METAL_SQUARE_SCALE 281474976710656.0f

/* Type numbers of enum kvfold_dtype. */
KVFOLD_METAL_NUMBER kF32 = 0, kF16 = 1, kBf16 = 30;
KVFOLD_METAL_NUMBER kQ4_0 = 2, kQ4_1 = 3, kQ5_0 = 6, kQ5_1 = 7, kQ8_0 = 8;

/* Sums of q8_0 in fixed point: common/q8_sums.h. */
KVFOLD_METAL_NUMBER kQ8Terms = 64;
#define KVFOLD_METAL_Q8_FULL 32640.0f
#define KVFOLD_METAL_Q8_LEAST 8.271806125530277e-25f
#define KVFOLD_METAL_Q8_SCALE (128.0f / 32640.0f / 127.0f)
#define KVFOLD_METAL_Q8_STEPS 532676608.0f

/* Keys or values of one layer: struct Tensor of common/tensor.h. */
struct TensorLayout {
  uint32_t base; /* byte of the bound buffer where the first cell begins */
  uint32_t type, heads, dim, transposed, capacity;
  uint32_t element_bytes, slice_bytes, row_bytes;
};

/* The rotated channels of a key. */
struct RopeLayout {
  uint32_t pairs;       /* 0: none */
  uint32_t interleaved; /* 1: (2i, 2i + 1), 0: (i, i + pairs) */
};

/* Computed slices (fold.metal). Weight of member m in head h: weights[(group + h * per_head) * members + m]. */
struct ComputeParameters {
  uint32_t threads;
  TensorLayout tensor;
  RopeLayout rope; /* pairs 0: nothing is turned */
  uint32_t chunks; /* of a slice */
  uint32_t slices; /* computed ones */
  uint32_t rows, cells, members;
  uint32_t weight_group, weight_per_head;
  uint32_t source_per_head; /* 1: sources are [heads, cells], 0: [cells] */
  uint32_t head;            /* turned out of a Hadamard basis: this one */
  uint32_t first_slice;     /* turned out of a Hadamard basis: number of the first slice of that head */
};

/* Saving old rows and writing new ones (copy.metal). Sizes and offsets in units of the kernel. */
struct CopyParameters {
  uint32_t threads;
  uint32_t base, row_units, slice_units; /* of slices that turn: row_units from one to the next in scratch */
  uint32_t heads, dim, rows, capacity; /* dim and capacity: transposed tensors */
  uint32_t first;                      /* first row; transposed: first channel */
};

/* Slices of one head to floats (rows.metal). Element j of row r goes to r * row_stride + j * channel_stride. */
struct DecodeParameters {
  uint32_t threads;
  TensorLayout tensor;
  uint32_t head, rows, chunks;
  uint32_t before, count; /* computed slices before the head, and in it: scratch of transposed tensors */
};

/* Floats of one head to slices in scratch (rows.metal). */
struct EncodeParameters {
  uint32_t threads;
  TensorLayout tensor;
  uint32_t rows, chunks;
  uint32_t before, count;
  uint32_t store; /* 0: only say whether the type can hold them */
};

/* Rows of floats, in place (rope.metal). */
struct RowsParameters {
  uint32_t threads;
  uint32_t rows, dim;
  RopeLayout rope;
  uint32_t block; /* of a Hadamard transform */
  float scale;    /* of a Hadamard transform, and of queries */
  uint32_t query_heads, group, head; /* of queries */
};

/* Key statistics of one head (score.metal). */
struct ScoreParameters {
  uint32_t threads;
  uint32_t rows, dim, blocks;
};

/* One block of query rows over the cells of one head (attend.metal). */
struct AttendParameters {
  uint32_t threads;
  uint32_t cells, key_dim, value_dim;
  uint32_t segments;
  uint32_t first, lanes; /* query rows of the block: first .. first + lanes - 1 */
  uint32_t biased;
  uint32_t free;      /* cells whose weights are gathered */
  uint32_t subtract;  /* 1: what is missing to the targets, 0: the outputs */
};

/* Products and steps of the factor (fit.metal). */
struct FitParameters {
  uint32_t threads;
  uint32_t rows;            /* of the sum, or of the result */
  uint32_t left, right;     /* columns of the two sides */
  uint32_t left_stride, right_stride, out_stride;
  uint32_t out_transposed;
  uint32_t lower;           /* 1: tiles above the diagonal are left out */
  uint32_t begin, end;      /* unknowns of the step */
  float least;              /* no pivot stays below this */
};

/* Numbers to look through (score.metal). */
struct ScanParameters {
  uint32_t threads;
  uint32_t count_low, count_high;
};

static_assert(sizeof(TensorLayout) == 36, "the same on both sides");
static_assert(sizeof(RopeLayout) == 8, "the same on both sides");
static_assert(sizeof(ComputeParameters) == 88, "the same on both sides");
static_assert(sizeof(CopyParameters) == 36, "the same on both sides");
static_assert(sizeof(DecodeParameters) == 60, "the same on both sides");
static_assert(sizeof(EncodeParameters) == 60, "the same on both sides");
static_assert(sizeof(RowsParameters) == 40, "the same on both sides");
static_assert(sizeof(ScoreParameters) == 16, "the same on both sides");
static_assert(sizeof(AttendParameters) == 40, "the same on both sides");
static_assert(sizeof(FitParameters) == 48, "the same on both sides");
static_assert(sizeof(ScanParameters) == 12, "the same on both sides");

} /* namespace metal */
} /* namespace kvfold */

#undef KVFOLD_METAL_NUMBER

#endif
