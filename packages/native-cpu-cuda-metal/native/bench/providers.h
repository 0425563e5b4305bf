// The providers, one file each.
#ifndef KVFOLD_BENCH_PROVIDERS_H
#define KVFOLD_BENCH_PROVIDERS_H

#include "case.h"

namespace kvfold {
namespace bench {

extern const Provider kFold;      // fold_cases.cc
extern const Provider kRope;      // rope_cases.cc
extern const Provider kKeyStats;  // key_stats_cases.cc
extern const Provider kAttend;    // attend_cases.cc
extern const Provider kFit;       // fit_cases.cc

}  // namespace bench
}  // namespace kvfold

#endif
