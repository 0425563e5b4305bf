// Rules on values that a plan has solved (fit) or gives itself (values); called after all rules on its rows hold.
#ifndef KVFOLD_CHECKS_VALUE_CHECK_H
#define KVFOLD_CHECKS_VALUE_CHECK_H

#include "kvfold/fold.h"

namespace kvfold {

kvfold_status check_fit_and_values(const kvfold_target &target, const kvfold_plan &plan, kvfold_error *error);
/// The value of an exactly pinned cell is nobody's to change; called after all rules on pins hold.
kvfold_status check_exact_values(const kvfold_target &target, const kvfold_plan &plan, kvfold_error *error);

}  // namespace kvfold

#endif
