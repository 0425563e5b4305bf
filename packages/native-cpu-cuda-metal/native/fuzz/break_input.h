// Breaks a valid case as the rest of the bytes says: array lengths, array elements, numbers, pointers.
#ifndef KVFOLD_FUZZ_BREAK_INPUT_H
#define KVFOLD_FUZZ_BREAK_INPUT_H

#include "bytes.h"
#include "cases.h"

namespace fuzz {

/// Takes all bytes that are left; none: the case stays valid.
void break_input(cases::Case *one, Bytes *bytes);

}  // namespace fuzz

#endif
