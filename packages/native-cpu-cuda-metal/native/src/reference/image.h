// What a prepared change of the reference holds: new and old bytes of every tensor.
#ifndef KVFOLD_REFERENCE_IMAGE_H
#define KVFOLD_REFERENCE_IMAGE_H

#include <cstdint>
#include <vector>

#include "kvfold/backend.h"

namespace kvfold {
namespace reference {

/// New and old bytes of one tensor, [rows, heads] slices each; empty where the tensor stays as it is.
struct Image {
  std::vector<uint8_t> fresh;
  std::vector<uint8_t> saved;
  bool is_saved = false;
};

struct Fold {
  const kvfold_memory *memory;
  std::vector<uint32_t> destinations;
  std::vector<Image> images;  // [layers, keys then values]
  std::vector<kvfold_fit_outcome> fits;
};

}  // namespace reference
}  // namespace kvfold

#endif
