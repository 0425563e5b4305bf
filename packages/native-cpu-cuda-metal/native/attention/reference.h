// What the two reference operations share.
#ifndef KVFOLD_ATTENTION_REFERENCE_H
#define KVFOLD_ATTENTION_REFERENCE_H

#include <cstddef>
#include <vector>

namespace kvfold {
namespace attention {

/// Softmax weights of one query over weights.size() cells; `bias` may be NULL.
void reference_softmax(const float *query, const float *keys, const float *bias, size_t dim,
                       std::vector<double> &weights);

}  // namespace attention
}  // namespace kvfold

#endif
