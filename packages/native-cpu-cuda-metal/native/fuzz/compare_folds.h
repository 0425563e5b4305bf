// Two backends' caches after the same fold.
#ifndef KVFOLD_FUZZ_COMPARE_FOLDS_H
#define KVFOLD_FUZZ_COMPARE_FOLDS_H

#include "cases.h"

namespace fuzz {

/// Ends the process where two results are further apart than their bounds (tests/bounds.h). Solved and given values are
/// left to the tests of those; numbers so large that f16 or a rotation overflows have no bound.
void compare_folds(const cases::Case &got, const cases::Case &want, const cases::Case &before);

}  // namespace fuzz

#endif
