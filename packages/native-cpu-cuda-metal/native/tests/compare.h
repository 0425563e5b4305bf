// A case folded by a backend, and compared with what the double reference made of it.
#ifndef KVFOLD_TESTS_COMPARE_H
#define KVFOLD_TESTS_COMPARE_H

#include "cases.h"

namespace cases {

/// Checks target and plan, prepares and commits; false when something of it fails.
bool fold(const Case &one, const kvfold_backend *backend, uint32_t threads);

/// Every destination slice within the bound; composite rows and everything else byte for byte.
/// `before`: the case as it was.
void compare(const Case &got, const Case &want, const Case &before);

}  // namespace cases

#endif
