// Reading JavaScript arguments: every value is checked for its type, arrays are copied, so that a caller who changes or
// detaches them while a job runs changes nothing.
#ifndef KVFOLD_ADDON_ARGUMENTS_H
#define KVFOLD_ADDON_ARGUMENTS_H

#include <napi.h>

#include <string>
#include <vector>

#include "kvfold/fold.h"

namespace kvfold {
namespace addon {

Napi::Object object_argument(const Napi::Value &value, const char *name);
Napi::Array array_argument(const Napi::Value &value, const char *name);
/// An integer in [0, most].
uint64_t integer_argument(const Napi::Value &value, const char *name, uint64_t most);
double number_argument(const Napi::Value &value, const char *name);
/// Bytes, or 0 (no limit) for null and undefined.
uint64_t limit_argument(const Napi::Value &value);
bool flag_argument(const Napi::Value &value, const char *name);
std::string string_argument(const Napi::Value &value, const char *name);
/// -1 (none) or a fault point.
int64_t fault_argument(const Napi::Value &value);

/// The typed array of exactly that element type; null and undefined give an empty vector when `optional`.
template <typename T>
std::vector<T> copy_array(const Napi::Value &value, const char *name, bool optional = false);

}  // namespace addon
}  // namespace kvfold

#endif
