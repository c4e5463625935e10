#include "matmul.h"

#include <algorithm>
#include <vector>

#include "buffer.h"
#include "dispatch.h"
#include "parallel.h"
#include "plan.h"

namespace rnnext {
namespace {

constexpr index_t near_rows = 64;  // rows of d that are summed together: they stay in L1, with a's columns beside them
constexpr index_t slice = 64;      // of a's columns, by which the kernels cut what stays in L1

int threads_of(index_t n, index_t k, index_t m) {
  return threads_for(2.0 * static_cast<double>(n) * static_cast<double>(k) * static_cast<double>(m), num_threads());
}

// A matrix's columns in runs, as the kernels take them, the last one narrower.
class Runs {
 public:
  explicit Runs(index_t columns) : lanes_(kernels().f32.lanes), run_(lanes_ * kernels().f32.flat_vectors), columns_(columns) {}

  index_t count() const { return (columns_ + run_ - 1) / run_; }
  index_t run() const { return run_; }
  index_t first(index_t r) const { return r * run_; }
  index_t width(index_t r) const { return std::min(run_, columns_ - first(r)); }
  index_t padded(index_t r) const { return (width(r) + lanes_ - 1) / lanes_ * lanes_; }
  std::size_t packed_size(index_t rows) const {
    return columns_ == 0 ? 0 : static_cast<std::size_t>(rows * (first(count() - 1) + padded(count() - 1)));
  }
  Columns columns() const {
    const index_t whole = columns_ / run_;
    return {0, whole, run_, run_, whole * run_, columns_ % run_};
  }

  // Rows [begin, end) of run r, each filled up with zeros to whole vectors.
  void pack(View<const float, 2> from, index_t r, index_t begin, index_t end, float* to) const {
    const index_t n = width(r);
    const float* source = from.data + first(r) * from.strides[1];
    for (index_t row = begin; row < end; ++row, to += padded(r)) {
      const float* p = source + row * from.strides[0];
      if (from.strides[1] == 1) {
        std::copy_n(p, n, to);
      } else {
        for (index_t j = 0; j < n; ++j) to[j] = p[j * from.strides[1]];
      }
      std::fill(to + n, to + padded(r), 0.0f);
    }
  }

 private:
  index_t lanes_, run_, columns_;
};

}  // namespace

void matmul(View<const float, 2> a, View<const float, 2> b, View<float, 2> c) {
  const index_t n = c.shape[0], depth = b.shape[0], m = c.shape[1];
  if (n == 0 || m == 0) return;
  const Runs runs(m);
  const Buffer<float> packed(runs.packed_size(depth));
  std::vector<const float*> from(static_cast<std::size_t>(n));
  std::vector<float*> to(static_cast<std::size_t>(n));
  for (index_t i = 0; i < n; ++i) {
    from[static_cast<std::size_t>(i)] = a.data + i * a.strides[0];
    to[static_cast<std::size_t>(i)] = c.data + i * c.strides[0];
  }
  parallel(threads_of(n, depth, m), [&](const Member& member) {
    const Range mine = share(runs.count(), member.id, member.size);
    for (index_t r = mine.begin; r < mine.end; ++r) runs.pack(b, r, 0, depth, packed.data() + runs.first(r) * depth);
    member.all.wait();
    const Range rows = share(n, member.id, member.size);
    Product<float> p{};
    p.a = from.data() + rows.begin;
    p.c = to.data() + rows.begin;
    p.rows = rows.size();
    p.k = {0, depth / slice, slice, slice, depth / slice * slice, depth % slice};
    p.n = runs.columns();
    p.b = packed.data();
    p.run_end = runs.count();
    kernels().f32.product(p);
  });
}

void matmul_transposed(View<const float, 2> a, View<const float, 2> d, View<float, 2> c) {
  const index_t n = a.shape[0], k = c.shape[0], m = c.shape[1];
  if (k == 0 || m == 0) return;
  const Runs runs(m);
  const int threads = threads_of(n, k, m);
  const auto room = static_cast<std::size_t>(runs.run());
  const Buffer<float> packed(static_cast<std::size_t>(threads) * room * static_cast<std::size_t>(std::min(n, near_rows)));
  const Buffer<float> sums(static_cast<std::size_t>(k) * room);
  parallel(threads, [&](const Member& member) {
    const Range mine = share(k, member.id, member.size);  // rows of c
    float* part = packed.data() + static_cast<std::size_t>(member.id) * (packed.size() / static_cast<std::size_t>(threads));
    for (index_t r = 0; r < runs.count(); ++r) {
      const index_t stride = runs.padded(r);
      std::fill(sums.data() + mine.begin * stride, sums.data() + mine.end * stride, 0.0f);
      for (index_t begin = 0; begin < n; begin += near_rows) {
        const index_t end = std::min(begin + near_rows, n);
        runs.pack(d, r, begin, end, part);
        OuterProduct<float> p{};
        p.a = a.data + begin * a.strides[0] + mine.begin;
        p.a_stride = a.strides[0];
        p.d = part;
        p.d_stride = stride;
        p.k = end - begin;
        p.m_begin = mine.begin;
        p.m_end = mine.end;
        p.width = runs.width(r);
        p.c = sums.data();
        kernels().f32.outer_product(p);
      }
      for (index_t row = mine.begin; row < mine.end; ++row) {
        std::copy_n(sums.data() + row * stride, runs.width(r), c.data + row * c.strides[0] + runs.first(r));
      }
      member.all.wait();  // the next run's rows have another width, and may lie where another thread still reads
    }
  });
}

}  // namespace rnnext
