// Products of whole matrices, for dense layers. Each element of a result is one chain of fused multiply-adds in a fixed order:
// its bits depend neither on the rows beside it nor on the number of threads, as those of a BLAS do.
#pragma once

#include "view.h"

namespace rnnext {

// c [N, M] = a [N, K] · b [K, M]. Rows of a and c are contiguous; b may be a transposed matrix.
void matmul(View<const float, 2> a, View<const float, 2> b, View<float, 2> c);

// c [K, M] = aᵀ · d for a [N, K] and d [N, M]: the gradient of b, where d is that of a · b. Rows of a and c are contiguous.
void matmul_transposed(View<const float, 2> a, View<const float, 2> d, View<float, 2> c);

}  // namespace rnnext
