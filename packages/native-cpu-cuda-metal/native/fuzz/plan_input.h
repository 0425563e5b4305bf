// Bytes of a fuzzer as a memory, a target and a plan: first a valid one, then whatever the rest of the bytes breaks.
#ifndef KVFOLD_FUZZ_PLAN_INPUT_H
#define KVFOLD_FUZZ_PLAN_INPUT_H

#include <cstddef>
#include <cstdint>
#include <memory>

#include "cases.h"

namespace fuzz {

/// Every span holds as many elements as it says: a length that lies about its pointer cannot be found out by anybody.
/// All other numbers may be anything: counts, offsets, weights, types, pointers that are NULL or not aligned.
std::unique_ptr<cases::Case> plan_input(const uint8_t *data, size_t size);

}  // namespace fuzz

#endif
