// Where llama.cpp's log lines go: the last problems are kept for error messages, nothing is printed.
#pragma once

#include <string>

namespace kvfold {

// Installs the sink for the whole process.
void install_log_sink();

// The warnings and errors that this thread's last call caused, newest last, as one line; clears them.
std::string take_log_problems();

}  // namespace kvfold
