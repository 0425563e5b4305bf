// A prepared change of the cache, a fold or a rope shift: what is behind a kvfold_fold of this backend.
#ifndef KVFOLD_CPU_CHANGE_H
#define KVFOLD_CPU_CHANGE_H

#include <atomic>

#include "common/error.h"
#include "kvfold/backend.h"

namespace kvfold {
namespace cpu {

struct Change {
  virtual ~Change() = default;
  /// Puts what a commit overwrites into the undo log; writes nothing to the cache.
  virtual kvfold_status save(const kvfold_options *options, kvfold_error *error) = 0;
  virtual kvfold_status commit(const kvfold_options *options, kvfold_error *error) = 0;
  virtual void rollback(const kvfold_options *options) = 0;
  virtual kvfold_fold_report report() const = 0;

  kvfold_fold *handle() { return reinterpret_cast<kvfold_fold *>(this); }
  static Change *of(kvfold_fold *fold) { return reinterpret_cast<Change *>(fold); }
  static const Change *of(const kvfold_fold *fold) { return reinterpret_cast<const Change *>(fold); }
};

/// The fault walk of a step whose parts run on several threads: after the point that fails, no part begins.
class FaultGate {
 public:
  explicit FaultGate(const kvfold_options *options) : faults_(options->faults) {
    if (faults_ != nullptr) points_ = faults_->points;
  }
  FaultGate(const FaultGate &) = delete;
  FaultGate &operator=(const FaultGate &) = delete;
  ~FaultGate() {
    if (faults_ != nullptr) faults_->points = points_;
  }

  /// Passes a point; false when the step has to stop.
  bool pass() {
    if (faults_ == nullptr) return true;
    if (stopped_) return false;
    if (static_cast<int64_t>(points_.fetch_add(1)) == faults_->fail_at) stopped_ = true;
    return !stopped_;
  }
  bool stopped() const { return stopped_; }
  kvfold_status fail_at(const char *where, kvfold_error *error) const {
    return fail(error, KVFOLD_STATUS_FAULT, "fault %lld injected %s", static_cast<long long>(faults_->fail_at), where);
  }

 private:
  kvfold_faults *faults_;
  std::atomic<uint64_t> points_{0};
  std::atomic<bool> stopped_{false};
};

}  // namespace cpu
}  // namespace kvfold

#endif
