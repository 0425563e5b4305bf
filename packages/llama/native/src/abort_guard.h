// Turns llama.cpp's assertions into errors while a call of ours is on the thread.
#pragma once

namespace kvfold {

// GGML_ASSERT ends the process. Inside the scope of a guard it throws a Failure instead, which unwinds llama.cpp's
// frames up to our call; on all other threads (its compute threads, other users of the library) it ends the process
// as before. What the assertion interrupted is not to be used again: see `stopped_here`.
class AbortGuard {
 public:
  AbortGuard();
  ~AbortGuard();
  AbortGuard(const AbortGuard &) = delete;
  AbortGuard &operator=(const AbortGuard &) = delete;
};

// For the whole process, once.
void install_abort_guard();

// True if an assertion was turned into an error on this thread since the last call.
bool stopped_here();

}  // namespace kvfold
