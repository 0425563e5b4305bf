/* backend.h: the table of functions that a backend fills in. See registry.cc for the ones that exist.
 *
 * A backend in a library of its own exports one symbol that returns this table. Readers look at `abi` first, then use
 * an entry only if it lies inside `struct_bytes` and is not NULL: entries are appended, never moved. No C++ types and
 * no exceptions cross the table; every error is a status plus a sentence.
 *
 * Callers check plan, target and memory (kvfold_check_*) before they call; a backend may rely on it.
 */
#ifndef KVFOLD_BACKEND_H
#define KVFOLD_BACKEND_H

#include <stddef.h>

#include "kvfold/fold.h"

#ifdef __cplusplus
extern "C" {
#endif

#define KVFOLD_BACKEND_ABI 1u

/* Devices whose memory a backend works on: what tests, benchmarks and whoever fills such memory need. */
enum kvfold_copy { KVFOLD_COPY_IN = 0, KVFOLD_COPY_OUT = 1, KVFOLD_COPY_WITHIN = 2 };

typedef struct kvfold_device_memory {
  uint32_t location; /* enum kvfold_location */
  /* Devices that can be used. None is no failure: KVFOLD_OK, 0, and the reason in `error`. */
  kvfold_status (*count)(uint32_t *devices, kvfold_error *error);
  /* Name, generation and memory as text. */
  kvfold_status (*describe)(uint32_t device, char *text, uint64_t bytes, kvfold_error *error);
  kvfold_status (*allocate)(uint32_t device, uint64_t bytes, void **out, kvfold_error *error);
  void (*release)(uint32_t device, void *memory);
  /* Returns when the bytes are there. */
  kvfold_status (*copy)(uint32_t device, void *to, const void *from, uint64_t bytes, uint32_t way,
                        kvfold_error *error);
} kvfold_device_memory;

/* A prepared change of the cache, a fold or a rope shift: new rows, undo log and where it stands. Owned by the backend
 * that made it. */
typedef struct kvfold_fold kvfold_fold;

typedef struct kvfold_backend {
  uint32_t abi;          /* KVFOLD_BACKEND_ABI */
  uint32_t struct_bytes; /* sizeof(kvfold_backend) of the library */
  const char *name;

  /* KVFOLD_OK, or KVFOLD_STATUS_UNSUPPORTED with the reason as a sentence. Pointers and location of the layer are
   * not looked at; operations refuse memory that lies elsewhere with the same status. */
  kvfold_status (*supports)(const kvfold_memory_layer *layer, kvfold_error *error);

  /* Does all that can fail or be cancelled: values that are solved for, room for the undo log. Reads the memory, never
   * writes it. The caller keeps target and plan, with all their arrays, until fold_free. On failure `*out` is NULL. */
  kvfold_status (*fold_prepare)(const kvfold_target *target, const kvfold_plan *plan, const kvfold_options *options,
                                kvfold_fold **out, kvfold_error *error);
  /* Saves the destination rows, then writes them. Allocates nothing. After a failure the memory is half written: roll
   * back. */
  kvfold_status (*fold_commit)(kvfold_fold *fold, const kvfold_options *options, kvfold_error *error);
  /* Puts back every byte that a commit wrote, whole or half; does nothing before a commit. */
  kvfold_status (*fold_rollback)(kvfold_fold *fold, const kvfold_options *options, kvfold_error *error);
  void (*fold_free)(kvfold_fold *fold);

  /* out: floats [heads, cells, dim]. */
  kvfold_status (*read_rows)(const kvfold_read *read, const kvfold_options *options, float *out, kvfold_error *error);

  /* (optional) norm and mean_cosine: [heads, cells] each. The norm of each key, and the cosine between each
   * de-rotated key and the mean of the head's de-rotated unit keys; 0 where one of them is zero. */
  kvfold_status (*key_stats)(const kvfold_read *read, const kvfold_options *options, float *norm, float *mean_cosine,
                             kvfold_error *error);

  /* (optional; without these two, plans with a fit are refused) out: [kv_heads, kvfold_turned_rows(turn), key_dim]. */
  kvfold_status (*turn_queries)(const kvfold_turn *turn, const kvfold_options *options, float *out,
                                kvfold_error *error);
  kvfold_status (*attend)(const kvfold_attention *attention, const kvfold_options *options,
                          kvfold_attention_result *result, kvfold_error *error);
  /* (optional) */
  kvfold_fold_report (*fold_report)(const kvfold_fold *fold);

  /* (optional) A rope shift as a change: fold_commit turns the stored keys, fold_rollback puts every byte back,
   * fold_free and fold_report are the same as for a fold. Reads the memory, never writes it; the caller keeps `rope`,
   * with all its arrays, until fold_free. On failure `*out` is NULL. */
  kvfold_status (*rope_prepare)(const kvfold_rope *rope, const kvfold_options *options, kvfold_fold **out,
                                kvfold_error *error);
  /* (optional) The first half of fold_commit alone: saves what it will overwrite, and writes nothing to the memory.
   * fold_commit goes on from there. So a benchmark can time a fold without its undo log. */
  kvfold_status (*fold_save)(kvfold_fold *fold, const kvfold_options *options, kvfold_error *error);
  /* NULL: the backend works in host memory. */
  const kvfold_device_memory *device;
} kvfold_backend;

/* Backends of this build and those that were found at run time, by name; NULL when there is none of that name. */
const kvfold_backend *kvfold_backend_named(const char *name);
/* The index-th backend, or NULL past the end. */
const kvfold_backend *kvfold_backend_at(size_t index);

/* What became of the CUDA backend, as a sentence: its devices, or why there is none. Never NULL. */
const char *kvfold_cuda_state(void);

/* The rules at the border, before any pointer is used (checks/). */
/* Shape, types and rope of one layer; its buffers are not looked at. */
kvfold_status kvfold_check_layer(const kvfold_memory_layer *layer, uint32_t index, kvfold_error *error);
kvfold_status kvfold_check_memory(const kvfold_memory *memory, kvfold_error *error);
kvfold_status kvfold_check_target(const kvfold_target *target, kvfold_error *error);
/* Fits and given values too, and the query sample of the target. */
kvfold_status kvfold_check_plan(const kvfold_target *target, const kvfold_plan *plan, kvfold_error *error);
kvfold_status kvfold_check_rope(const kvfold_rope *rope, kvfold_error *error);
kvfold_status kvfold_check_read(const kvfold_read *read, kvfold_error *error);
kvfold_status kvfold_check_turn(const kvfold_turn *turn, kvfold_error *error);
kvfold_status kvfold_check_attention(const kvfold_attention *attention, kvfold_error *error);
kvfold_status kvfold_check_options(const kvfold_options *options, kvfold_error *error);

/* Rows for each KV head that a checked request gives: samples x query heads of the group. */
uint32_t kvfold_turned_rows(const kvfold_turn *turn);

#ifdef __cplusplus
}
#endif
#endif
