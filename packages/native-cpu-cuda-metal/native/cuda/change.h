// A prepared change of caches on devices, a fold or a rope shift: what is behind a kvfold_fold of this backend.
#ifndef KVFOLD_CUDA_CHANGE_H
#define KVFOLD_CUDA_CHANGE_H

#include "kvfold/backend.h"

namespace kvfold {
namespace cuda {

/// Every entry waits for the devices before it returns, also after an error.
struct Change {
  virtual ~Change() = default;
  /// Puts what a commit overwrites into the undo log; writes nothing to the cache.
  virtual kvfold_status save(kvfold_error *error) = 0;
  /// Goes on from `save`, or does its work first.
  virtual kvfold_status commit(const kvfold_options *options, kvfold_error *error) = 0;
  virtual kvfold_status rollback(kvfold_error *error) = 0;
  virtual kvfold_fold_report report() const = 0;

  kvfold_fold *handle() { return reinterpret_cast<kvfold_fold *>(this); }
  static Change *of(kvfold_fold *fold) { return reinterpret_cast<Change *>(fold); }
  static const Change *of(const kvfold_fold *fold) { return reinterpret_cast<const Change *>(fold); }
};

}  // namespace cuda
}  // namespace kvfold

#endif
