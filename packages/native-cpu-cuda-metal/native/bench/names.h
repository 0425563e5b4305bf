// Types by the names of ggml, and the instruction set that an operation of a backend runs on.
#ifndef KVFOLD_BENCH_NAMES_H
#define KVFOLD_BENCH_NAMES_H

#include <string>

#include "bench.h"

namespace kvfold {
namespace bench {

/// -1: no type of that name.
int32_t type_named(const std::string &name);
const char *name_of(int32_t type);

/// "" where nobody knows: not this processor's, or not this package's choice.
const char *isa_of(const Request &request);

}  // namespace bench
}  // namespace kvfold

#endif
