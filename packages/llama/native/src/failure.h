// The one exception of the bridge: a stable code, a sentence, and what to do next.
#pragma once

#include <stdexcept>
#include <string>

namespace kvfold {

struct Failure : std::runtime_error {
  Failure(std::string code_, const std::string &what, std::string hint_ = "")
      : std::runtime_error(what), code(std::move(code_)), hint(std::move(hint_)) {}
  std::string code;  // a KvfoldErrorCode of @kvfold/core
  std::string hint;
};

}  // namespace kvfold
