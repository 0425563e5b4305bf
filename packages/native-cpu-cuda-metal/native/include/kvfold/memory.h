/* kvfold_memory: the memory of one stream of a KV cache, as one add-on hands it to another.
 *
 * Whoever owns a cache (packages/llama, or typed arrays in tests) fills this struct and wraps it in a napi External
 * that carries KVFOLD_MEMORY_TAG; the executor checks tag and `abi` before it looks at anything else. Plain C, no
 * ownership: the External's finalizer frees what the owner allocated.
 */
#ifndef KVFOLD_MEMORY_H
#define KVFOLD_MEMORY_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define KVFOLD_MEMORY_ABI 2u

/* napi_type_tag { lower, upper } */
#define KVFOLD_MEMORY_TAG_LOWER 0x6b76666f6c643031ull
#define KVFOLD_MEMORY_TAG_UPPER 0x6d656d6f72790001ull

/* Numbers are ggml's type ids, so that no table is needed between the two. */
enum kvfold_dtype {
  KVFOLD_F32 = 0,
  KVFOLD_F16 = 1,
  KVFOLD_Q4_0 = 2,
  KVFOLD_Q4_1 = 3,
  KVFOLD_Q5_0 = 6,
  KVFOLD_Q5_1 = 7,
  KVFOLD_Q8_0 = 8,
  KVFOLD_BF16 = 30
};

enum kvfold_rope_pairing { KVFOLD_ROPE_NONE = 0, KVFOLD_ROPE_INTERLEAVED = 1, KVFOLD_ROPE_HALF = 2 };

/* What kind of pointers `keys` and `values` are. */
enum kvfold_location { KVFOLD_LOCATION_HOST = 0, KVFOLD_LOCATION_CUDA = 1 };

typedef struct kvfold_memory_layer {
  uint32_t kv_heads;
  uint32_t key_dim;   /* channels of a key head */
  uint32_t value_dim; /* channels of a value head */
  int32_t key_type;   /* enum kvfold_dtype */
  int32_t value_type;
  uint32_t value_transposed; /* 1: element j of cell c lies at j * capacity + c */
  uint32_t rope_pairing;     /* enum kvfold_rope_pairing */
  uint32_t rope_dims;        /* rotated channels at the start of each head */
  const double *rope_frequencies; /* radians per position [rope_dims / 2], or NULL */
  uint32_t hadamard_key;     /* block size in channels, 0 = none */
  uint32_t hadamard_value;
  void *keys;          /* capacity rows, heads of a cell together; a pointer of `location` */
  uint64_t key_bytes;  /* bytes behind `keys` that may be touched */
  void *values;
  uint64_t value_bytes;
  uint32_t location; /* enum kvfold_location */
  uint32_t device;   /* number of the device; 0 for host memory */
} kvfold_memory_layer;

typedef struct kvfold_memory {
  uint32_t abi;          /* KVFOLD_MEMORY_ABI */
  uint32_t struct_bytes; /* sizeof(kvfold_memory) */
  uint32_t layer_bytes;  /* sizeof(kvfold_memory_layer) */
  uint32_t layer_count;
  uint32_t capacity;     /* cells of the stream, used or not */
  uint32_t alive;        /* 0 once the owner has freed the cache: refuse */
  const kvfold_memory_layer *layers; /* [layer_count] */
} kvfold_memory;

#ifdef __cplusplus
}
#endif
#endif
