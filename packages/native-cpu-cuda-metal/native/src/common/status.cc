// The one place where a status of the C interface becomes a code of the error table in @kvfold/core.
#include "kvfold/fold.h"

extern "C" const char *kvfold_status_code(kvfold_status status) {
  switch (status) {
    case KVFOLD_OK: return "KVFOLD_OK";
    case KVFOLD_STATUS_ARGUMENT: return "KVFOLD_ARGUMENT";
    case KVFOLD_STATUS_DISPOSED: return "KVFOLD_DISPOSED";
    case KVFOLD_STATUS_UNSUPPORTED: return "KVFOLD_UNSUPPORTED";
    case KVFOLD_STATUS_PLAN_SHAPE: return "KVFOLD_PLAN_SHAPE";
    case KVFOLD_STATUS_PLAN_LIMIT: return "KVFOLD_PLAN_LIMIT";
    case KVFOLD_STATUS_PLAN_MEMBER_RANGE: return "KVFOLD_PLAN_MEMBER_RANGE";
    case KVFOLD_STATUS_PLAN_NOT_DISJOINT: return "KVFOLD_PLAN_NOT_DISJOINT";
    case KVFOLD_STATUS_PLAN_ORDER: return "KVFOLD_PLAN_ORDER";
    case KVFOLD_STATUS_PLAN_COUNTS: return "KVFOLD_PLAN_COUNTS";
    case KVFOLD_STATUS_PLAN_WEIGHT: return "KVFOLD_PLAN_WEIGHT";
    case KVFOLD_STATUS_PLAN_BIAS: return "KVFOLD_PLAN_BIAS";
    case KVFOLD_STATUS_PLAN_FIT: return "KVFOLD_PLAN_FIT";
    case KVFOLD_STATUS_PLAN_PIN: return "KVFOLD_PLAN_PIN";
    case KVFOLD_STATUS_FAULT: return "KVFOLD_FAULT";
    case KVFOLD_STATUS_ABORTED: return "KVFOLD_ABORTED";
    case KVFOLD_STATUS_NATIVE: return "KVFOLD_NATIVE";
  }
  return "KVFOLD_NATIVE";
}
