/* attention.h: the two heavy operations of a fold on one KV head, over plain floats: attend and fit.
 *
 *   attend   queries x all cells  ->  what each cell gets (maximum, mean, root mean square), and the outputs
 *   fit      the cells that stay  ->  values with which they answer as all cells did (ridge regression)
 *
 * Pure functions: they read the input, write the output, keep nothing. Every error is a status plus a sentence; no C++
 * exception leaves. Sizes and numbers are checked before anything is allocated or written.
 *
 * Rows are query rows: all query heads of the group stacked, rotated to where they ask from, times the attention scale.
 * Keys are rotated, any Hadamard rotation of keys undone. Values may stay in a Hadamard basis: both operations give the
 * same answer in every orthogonal basis of the channels.
 *
 * Results have the same bits for any number of threads, and with AVX2, AVX-512 and NEON; the portable build ("scalar")
 * rounds products and sums apart.
 */
#ifndef KVFOLD_ATTENTION_H
#define KVFOLD_ATTENTION_H

#include <stdint.h>

#include "kvfold/fold.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Limits, besides KVFOLD_MAX_HEAD_DIM and KVFOLD_MAX_CELLS. */
#define KVFOLD_ATTENTION_MAX_ROWS (1u << 22)
#define KVFOLD_ATTENTION_MAX_FREE (1u << 15)
/* Numbers must be smaller, and so must the longest query times the longest key: nothing overflows on the way. */
#define KVFOLD_ATTENTION_MAX_MAGNITUDE 7.9228162514264338e28f /* 2^96 */

typedef struct kvfold_f32_buffer { float *data; uint64_t length; } kvfold_f32_buffer;

/* Somebody's threads. `run` calls work(context, task, worker) once for every task in [0, tasks) and returns when all
 * are done; calls that run at the same time have different `worker` numbers below `threads`. */
typedef struct kvfold_workers {
  uint32_t threads; /* 1 .. KVFOLD_MAX_THREADS, the calling thread included */
  void (*run)(void *self, uint64_t tasks, void (*work)(void *context, uint64_t task, uint32_t worker), void *context);
  void *self;
} kvfold_workers;

typedef struct kvfold_attention_options {
  const kvfold_workers *workers; /* NULL: the calling thread */
  int (*cancelled)(void *data);  /* (optional) polled between blocks, from all threads */
  void *cancelled_data;
  /* NULL: the best of processor and environment (KVFOLD_ISA). Otherwise "scalar", "avx2", "avx512" or "neon": this
   * one, or KVFOLD_STATUS_UNSUPPORTED. */
  const char *isa;
} kvfold_attention_options;

/* ------------------------------------------------------------------------------------------------------- attend */

typedef struct kvfold_attend_input {
  uint32_t rows, cells, key_dim;
  uint32_t value_dim; /* 0: no values, no outputs */
  kvfold_f32_span queries; /* [rows, key_dim] */
  kvfold_f32_span keys;    /* [cells, key_dim] */
  kvfold_f32_span bias;    /* [cells], or length 0 */
  kvfold_f32_span values;  /* [cells, value_dim], or length 0 */
} kvfold_attend_input;

/* Over the rows, of the softmax weight over all cells (not causal). Any of the buffers may have length 0. Unspecified
 * after cancellation. */
typedef struct kvfold_attend_output {
  kvfold_f32_buffer maximum; /* [cells] */
  kvfold_f32_buffer mean;    /* [cells] */
  kvfold_f32_buffer rms;     /* [cells]; right down to weights of 2^-111 */
  kvfold_f32_buffer outputs; /* [rows, value_dim] */
} kvfold_attend_output;

/* Bytes that kvfold_attend will allocate with that many threads: 576 B a cell and thread, 192 B a cell, keys and values
 * once more, and small change. Pointers of the input are not looked at. */
kvfold_status kvfold_attend_memory(const kvfold_attend_input *input, uint32_t threads, uint64_t *bytes,
                                   kvfold_error *error);
kvfold_status kvfold_attend(const kvfold_attend_input *input, const kvfold_attention_options *options,
                            const kvfold_attend_output *output, kvfold_error *error);
/* The same in double, serial; `options` may be NULL. */
kvfold_status kvfold_attend_reference(const kvfold_attend_input *input, const kvfold_attention_options *options,
                                      const kvfold_attend_output *output, kvfold_error *error);

/* ---------------------------------------------------------------------------------------------------------- fit */

enum kvfold_fit_form { KVFOLD_FIT_SMALLER = 0, KVFOLD_FIT_PRIMAL = 1, KVFOLD_FIT_DUAL = 2 };

/* A = softmax(Q K^T + bias) over all kept cells. The fit changes the free cells only:
 *   V'_free = V_free + argmin_X |A_free X - (O - A V)|^2 + ridge sum_f n_f |X_f|^2
 *   ridge = lambda mean diag(A_free^T A_free), n_f = ridge_factors or 1 */
typedef struct kvfold_fit_input {
  uint32_t rows, kept, key_dim, value_dim;
  kvfold_f32_span queries; /* [rows, key_dim] */
  kvfold_f32_span targets; /* [rows, value_dim]: outputs over all cells, by kvfold_attend */
  kvfold_f32_span keys;    /* [kept, key_dim] */
  kvfold_f32_span bias;    /* [kept], or length 0 */
  kvfold_f32_span values;  /* [kept, value_dim] */
  kvfold_u32_span free;    /* cells whose values may change, ascending; the others are read-only */
  double lambda;           /* 0 .. 1e6; useful: 0.001 to 0.1 */
  /* Every holdout-th row judges and does not fit: 2 or more, with no common divisor with the query heads of the group.
   * 0: nobody judges, the fitted rows decide. */
  uint32_t holdout;
  uint32_t form; /* enum kvfold_fit_form; the smaller system, with ridge factors the primal one, unless a test asks */
  /* [free], 1 to 255: how many times the ridge holds each of them; length 0: 1 each. Only for the primal form, which is
   * taken where they are given. */
  kvfold_u8_span ridge_factors;
} kvfold_fit_input;

/* Sums of squares over some rows. */
typedef struct kvfold_fit_error {
  uint64_t rows;
  double target; /* |O|^2 */
  double before; /* |O - A V|^2 */
  double after;  /* |O - A V'|^2, accepted or not */
} kvfold_fit_error;

typedef struct kvfold_fit_report {
  uint32_t accepted; /* 1: the judges' error fell, and the values are the fitted ones */
  uint32_t form;     /* enum kvfold_fit_form; 0: there was nothing to solve */
  double ridge;
  uint64_t guarded;  /* pivots that were raised (cholesky.h) */
  /* `fitted.after` is NaN where others judge: nobody needs it, and it would cost a product with all weights. */
  kvfold_fit_error fitted, judged;
} kvfold_fit_report;

/* Bytes that kvfold_fit will allocate with that many threads. Pointers of the input are not looked at, but
 * `free.length` is. */
kvfold_status kvfold_fit_memory(const kvfold_fit_input *input, uint32_t threads, uint64_t *bytes, kvfold_error *error);
/* `values`: [kept, value_dim]; may be the memory of input->values. Written only with KVFOLD_OK: fitted rows if
 * accepted, all others bit for bit as they were. */
kvfold_status kvfold_fit(const kvfold_fit_input *input, const kvfold_attention_options *options,
                         kvfold_f32_buffer values, kvfold_fit_report *report, kvfold_error *error);
/* The same in double, serial; `options` may be NULL. */
kvfold_status kvfold_fit_reference(const kvfold_fit_input *input, const kvfold_attention_options *options,
                                   kvfold_f32_buffer values, kvfold_fit_report *report, kvfold_error *error);

/* ------------------------------------------------------------------------------------------- instruction sets */

/* The index-th instruction set that this processor has and KVFOLD_ISA allows, best first; NULL past the end. */
const char *kvfold_attention_isa(uint32_t index);
/* Floating-point operations a second that one thread reaches on registers alone; 0 for an unknown one. Takes 0.1 s. */
double kvfold_attention_peak(const char *isa);

#ifdef __cplusplus
}
#endif
#endif
