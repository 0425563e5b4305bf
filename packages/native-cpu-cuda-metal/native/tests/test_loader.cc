// Where the CUDA backend is not: the loader says why, and the other backends are there all the same. The argument is
// what the sentence must hold; KVFOLD_CUDA_PATH names the library to try.
#include <cstring>

#include "check.h"
#include "kvfold/backend.h"

int main(int count, char **arguments) {
  const char *state = kvfold_cuda_state();
  std::printf("%s\n", state);
  CHECK_MESSAGE(count == 2 && std::strstr(state, arguments[1]) != nullptr, state);
  CHECK(kvfold_backend_named("cuda") == nullptr);
  CHECK(kvfold_backend_named("cpu") == kvfold_backend_at(0) && kvfold_backend_at(2) == nullptr);
  return check::verdict("loader");
}
