// Pinned cells stay at their level; called after all other rules hold.
#ifndef KVFOLD_CHECKS_PIN_CHECK_H
#define KVFOLD_CHECKS_PIN_CHECK_H

#include "kvfold/fold.h"

namespace kvfold {

kvfold_status check_pins(const kvfold_target &target, const kvfold_plan &plan, kvfold_error *error);

}  // namespace kvfold

#endif
