/* fold.h: plain data that the executors take: plan, target, options, status codes and limits.
 *
 * Everything here is borrowed: the caller keeps the arrays alive until the call returns. Lengths travel with their
 * pointers and are checked before a pointer is followed (checks/).
 */
#ifndef KVFOLD_FOLD_H
#define KVFOLD_FOLD_H

#include <stdint.h>

#include "kvfold/memory.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Limits; all products of sizes below them fit 64 bits, and are checked all the same. */
#define KVFOLD_MAX_LAYERS 4096u
#define KVFOLD_MAX_HEADS 4096u
#define KVFOLD_MAX_HEAD_DIM 8192u
#define KVFOLD_MAX_CELLS (1u << 27)
#define KVFOLD_MAX_THREADS 256u
#define KVFOLD_MAX_BIAS 16.0f /* exclusive, in magnitude */
#define KVFOLD_MAX_QUERY_HEADS (1u << 16)
#define KVFOLD_MAX_LAMBDA 1e3
#define KVFOLD_MAX_FIT_ROWS (1u << 20) /* query rows a head, and positions ahead */

typedef enum kvfold_status {
  KVFOLD_OK = 0,
  KVFOLD_STATUS_ARGUMENT,
  KVFOLD_STATUS_DISPOSED,
  KVFOLD_STATUS_UNSUPPORTED,
  KVFOLD_STATUS_PLAN_SHAPE,
  KVFOLD_STATUS_PLAN_LIMIT,
  KVFOLD_STATUS_PLAN_MEMBER_RANGE,
  KVFOLD_STATUS_PLAN_NOT_DISJOINT,
  KVFOLD_STATUS_PLAN_ORDER,
  KVFOLD_STATUS_PLAN_COUNTS,
  KVFOLD_STATUS_PLAN_WEIGHT,
  KVFOLD_STATUS_PLAN_BIAS,
  KVFOLD_STATUS_PLAN_FIT,
  KVFOLD_STATUS_PLAN_PIN,
  KVFOLD_STATUS_FAULT,   /* injected by a test */
  KVFOLD_STATUS_ABORTED, /* the caller cancelled */
  KVFOLD_STATUS_NATIVE   /* out of memory, out of order, impossible */
} kvfold_status;

/* What went wrong, as a sentence with indices. */
typedef struct kvfold_error {
  kvfold_status status;
  char message[256];
} kvfold_error;

/* The stable code of a status as TypeScript knows it, for example "KVFOLD_PLAN_ORDER". */
const char *kvfold_status_code(kvfold_status status);

typedef struct kvfold_u8_span { const uint8_t *data; uint64_t length; } kvfold_u8_span;
typedef struct kvfold_u16_span { const uint16_t *data; uint64_t length; } kvfold_u16_span;
typedef struct kvfold_u32_span { const uint32_t *data; uint64_t length; } kvfold_u32_span;
typedef struct kvfold_i32_span { const int32_t *data; uint64_t length; } kvfold_i32_span;
typedef struct kvfold_f32_span { const float *data; uint64_t length; } kvfold_f32_span;

enum kvfold_kind { KVFOLD_KEYS = 0, KVFOLD_VALUES = 1 };
enum kvfold_layout { KVFOLD_SHARED = 0, KVFOLD_COMPOSITE = 1 };
enum kvfold_key_frame { KVFOLD_FRAME_STORED = 0, KVFOLD_FRAME_TARGET = 1 };
enum kvfold_scope { KVFOLD_SCOPE_ALL = 0, KVFOLD_SCOPE_LAYER = 1, KVFOLD_SCOPE_HEAD = 2 };
enum kvfold_pin { KVFOLD_PIN_NONE = 0, KVFOLD_PIN_ABSORB = 1, KVFOLD_PIN_KEY = 2, KVFOLD_PIN_EXACT = 3 };

/* all: [members]; layer: [layers, members]; head: [layers, most heads, members]. */
typedef struct kvfold_weights {
  uint32_t scope; /* enum kvfold_scope */
  kvfold_f32_span data;
} kvfold_weights;

/* FitRequest of @kvfold/core: values that are solved for. */
typedef struct kvfold_fit_request {
  /* 0: the value of a row stays; 1 to 255: it is solved for, held by so many times the ridge. 0 for heads that a layer
   * lacks. [layers, most heads, rows] */
  kvfold_u8_span free;
  double lambda;
  uint32_t horizon;
  uint32_t max_rows; /* for each KV head */
  uint32_t holdout;
} kvfold_fit_request;

/* DenseValues of @kvfold/core: values that are given, Hadamard rotation undone. */
typedef struct kvfold_dense_values {
  kvfold_u8_span given; /* [layers, most heads, rows]; 0 for heads that a layer lacks */
  kvfold_f32_span data; /* the given rows in that order, value_dim of their layer each */
} kvfold_dense_values;

/* MergePlan of @kvfold/core. Row i of a shared plan is the weighted sum of members[offsets[i] .. offsets[i + 1]). */
typedef struct kvfold_plan {
  uint32_t layout; /* enum kvfold_layout */
  uint32_t cells;
  uint32_t rows;
  kvfold_i32_span positions; /* [rows], non-decreasing, >= 0 */
  kvfold_u32_span counts;    /* [rows], >= 1 */
  uint64_t dropped;
  kvfold_f32_span bias; /* [rows], or length 0 */
  kvfold_u8_span pins;  /* [cells], or length 0 */
  const kvfold_fit_request *fit;     /* or NULL; at most one of the two */
  const kvfold_dense_values *values; /* or NULL */
  kvfold_u32_span members; /* shared: distinct cells; composite: [layers, kv_heads, rows] */
  /* shared only */
  uint32_t key_frame;      /* enum kvfold_key_frame */
  kvfold_u32_span offsets; /* [rows + 1] */
  kvfold_weights key_weights;
  kvfold_weights value_weights;
  /* composite only */
  uint32_t layers;
  uint32_t kv_heads;
} kvfold_plan;

/* QueryLayer of @kvfold/core. */
typedef struct kvfold_query_layer {
  uint32_t heads;       /* a multiple of the layer's KV heads; 0: no queries of this layer */
  double scale;         /* of q.k before the softmax */
  kvfold_u16_span rows; /* f16 bits after RoPE, Hadamard rotation undone [samples, heads, key_dim] */
} kvfold_query_layer;

/* QuerySample of @kvfold/core. */
typedef struct kvfold_query_sample {
  kvfold_i32_span positions; /* [samples] with which each query was rotated */
  const kvfold_query_layer *layers;
  uint32_t layer_count;
} kvfold_query_sample;

/* One sequence in the memory of a stream. Cell c of a plan lies at physical index slots.data[c]. */
typedef struct kvfold_target {
  const kvfold_memory *memory;
  uint32_t cells;
  kvfold_u32_span slots;          /* [cells], distinct */
  kvfold_i32_span positions;      /* [cells] */
  const kvfold_i32_span *sources; /* [layer_count] of [heads, cells] (length 0: as positions), or NULL */
  kvfold_u32_span destinations;   /* [rows], ascending, distinct */
  /* For a fit only. */
  kvfold_f32_span bias;                /* of the cells as they are [cells], or length 0 */
  const kvfold_query_sample *queries;  /* or NULL */
  /* (optional) attention outputs over all cells by attend, of the queries that the fit asks for, turned to positions
   * after the last cell; [layer_count] of [kv_heads, rows, value_dim], length 0: they are computed. */
  const kvfold_f32_span *outputs;
} kvfold_target;

/* Stored keys turned in place by R(delta), as self-extend asks. Cell c, at physical index slots.data[c], turns by
 * deltas.data[c] positions in every layer and head; a layer with deltas of its own turns by those. Layers without a
 * rope stay. Only the channels that turn are written: all of a key under a Hadamard rotation, else the first
 * rope_dims, in whole blocks. */
typedef struct kvfold_rope {
  const kvfold_memory *memory;
  kvfold_u32_span slots;               /* [cells], in range, distinct */
  kvfold_i32_span deltas;              /* [cells], or length 0 when every layer with a rope has its own */
  const kvfold_i32_span *layer_deltas; /* [layer_count] of [heads, cells] (length 0: as deltas), or NULL */
} kvfold_rope;

/* The fault walk of the tests: the `fail_at`-th point (from 0) stops the work; -1: none. */
typedef struct kvfold_faults {
  int64_t fail_at;
  uint64_t points; /* out: points passed */
} kvfold_faults;

typedef struct kvfold_options {
  uint32_t threads;              /* 1 .. KVFOLD_MAX_THREADS, the calling thread included */
  int (*cancelled)(void *data);  /* (optional) polled from all threads */
  void *cancelled_data;
  kvfold_faults *faults;         /* (optional) */
  /* Bytes that attention and fits may work in, besides what they return; 0: no limit. Fewer threads are used before
   * work is refused: the bits are the same. */
  uint64_t memory_limit;
} kvfold_options;

/* Which rows to read, and in which frame. */
typedef struct kvfold_read {
  const kvfold_memory *memory;
  uint32_t layer;
  uint32_t kind;         /* enum kvfold_kind */
  kvfold_u32_span slots; /* [cells], in range, need not be distinct */
  uint32_t unrotate;     /* keys only: undo RoPE by the position each key was rotated with */
  uint32_t undo_hadamard;
  kvfold_i32_span positions; /* [cells]; with `unrotate` and no sources */
  kvfold_i32_span sources;   /* [heads, cells], or length 0 */
} kvfold_read;

/* Queries of one layer as if asked after the context: sample i is turned from its own position to
 * last + 1 + (i * 7919) mod horizon, times the scale. */
typedef struct kvfold_turn {
  const kvfold_memory_layer *layer; /* buffers are not looked at */
  kvfold_query_layer queries;
  kvfold_i32_span positions; /* [samples] */
  int32_t last;
  uint32_t horizon;
  uint32_t max_rows; /* for each KV head: the first floor(max_rows / group) samples are used */
} kvfold_turn;

/* What queries pay to the cells of a layer. */
typedef struct kvfold_attention {
  const kvfold_memory *memory;
  uint32_t layer;
  kvfold_u32_span slots; /* [cells], in range, need not be distinct */
  uint32_t rows;
  kvfold_f32_span queries; /* [kv_heads, rows, key_dim], rotated and scaled */
  kvfold_f32_span bias;    /* [cells], or length 0 */
} kvfold_attention;

/* Softmax weights over the rows, by cell, and attention outputs, Hadamard rotation undone. */
typedef struct kvfold_attention_result {
  float *maximum; /* [kv_heads, cells] */
  float *mean;
  float *rms;
  float *outputs;         /* (optional) [kv_heads, rows, value_dim] */
  uint64_t working_bytes; /* out: what was needed besides */
} kvfold_attention_result;

/* FitOutcome of @kvfold/core: |A V - O| / |O| over the rows that judge. */
typedef struct kvfold_fit_outcome {
  uint32_t layer, head;
  double before, after;
  uint32_t accepted;
  uint32_t free; /* rows to solve for; 0: nothing was computed for this head, both errors are NaN */
} kvfold_fit_outcome;

/* What a prepared fold says of itself; owned by the fold. */
typedef struct kvfold_fold_report {
  const kvfold_fit_outcome *fits; /* by layer and head, or NULL without a fit */
  uint64_t fit_count;
  uint64_t held_bytes;    /* new rows and undo log, held until fold_free */
  uint64_t working_bytes; /* the most that a fit worked in */
} kvfold_fold_report;

#ifdef __cplusplus
}
#endif
#endif
