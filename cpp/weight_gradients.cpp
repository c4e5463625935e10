#include "weight_gradients.h"

#include <algorithm>

#include "dispatch.h"

namespace rnnext {
namespace {

std::size_t elements(index_t rows, index_t stride) { return static_cast<std::size_t>(rows * stride); }

template <class Real>
void clear_part(const Buffer<Real>& buffer, int part, int parts) {
  const Range mine = share(static_cast<std::ptrdiff_t>(buffer.size()), part, parts);
  std::fill(buffer.data() + mine.begin, buffer.data() + mine.end, Real{0});
}

template <class Real>
void add_part(const Buffer<Real>& from, const Buffer<Real>& to, int part, int parts) {
  const Range mine = share(static_cast<std::ptrdiff_t>(to.size()), part, parts);
  for (index_t i = mine.begin; i < mine.end; ++i) to.data()[i] += from.data()[i];
}

constexpr Operand projection_operand{0, 1, {0}};

constexpr index_t tile = 12;  // rows of a gradient that stay together

// body(product, first token) for blocks of at most 128 tokens and 72 columns of their rows; `product` has a, its stride, k and
// the columns. Rows lie where the caller's array or the tape has them, often a multiple of 4 KB apart, and would push each
// other out of L1 in every tile of a panel: so their columns are copied together first.
template <class Real, class Body>
void for_each_block(const Real* const* rows, index_t tokens, index_t columns, Body&& body) {
  constexpr index_t most_tokens = 128;  // rows of d that stay in L1 while the rows of c pass by
  constexpr index_t most_columns = 6 * tile;
  constexpr index_t stride = row_stride<Real>(most_columns);
  alignas(64) Real together[most_tokens * stride];
  for (index_t token = 0; token < tokens; token += most_tokens) {
    const index_t k = std::min(most_tokens, tokens - token);
    for (index_t m = 0; m < columns; m += most_columns) {
      const index_t end = std::min(m + most_columns, columns);
      for (index_t i = 0; i < k; ++i) std::copy(rows[token + i] + m, rows[token + i] + end, together + i * stride);
      OuterProduct<Real> product{};
      product.a = together;
      product.a_stride = stride;
      product.k = k;
      product.m_begin = m;
      product.m_end = end;
      body(product, token);
    }
  }
}

}  // namespace

template <class Real>
WeightGradients<Real>::WeightGradients(const Tape<Real>& tape, const RecurrentKernels<Real>& kernels)
    : k_(kernels), cell_(traits(tape.cell)), layout_{tape.units, kernels.lanes}, d_stride_(d_stride(cell_, kernels.lanes)) {
  const auto weight = [&](const Operand& op, index_t rows) {
    const bool used = count_ == 0 || tape.recurs();
    weights_[count_++] = {op, rows, Buffer<Real>(used ? elements(layout_.packed_size(op, rows), 1) : 0)};
  };
  weight(cell_.input, tape.inputs);
  for (int i = 0; i < cell_.recurrent_count; ++i)
    weight(cell_.recurrent[static_cast<std::size_t>(i)], i == 0 ? tape.outputs : tape.units);
  bias_ = Buffer<Real>(elements(layout_.panels(), cell_.record_slots * k_.lanes));
  outputs_ = tape.outputs;
  if (cell_.has_terms) terms_ = Buffer<Real>(elements(3 + 2 * cell_.gates + 2, tape.units));
  if (tape.projects()) {
    projection_ = Buffer<Real>(elements(PanelLayout{outputs_, k_.lanes}.packed_size(projection_operand, tape.units), 1));
  }
  if (tape.from_table()) {
    table_count_ = static_cast<index_t>(tape.table_rows.size());
    table_panel_ = (table_count_ + 1) * d_stride_;
    table_ = Buffer<Real>(elements(layout_.panels(), table_panel_) + 64);
    used_.resize(static_cast<std::size_t>(table_count_));
  }
}

template <class Real>
void WeightGradients<Real>::make_room(std::size_t tokens) {
  sources.h.reserve(tokens);
  if (count_ > 2 || projection_.size() > 0) sources.rh.reserve(tokens);
  if (table_.size() > 0) {
    sources.row_of_token.reserve(tokens);
  } else {
    sources.x.reserve(tokens);
  }
}

template <class Real>
void WeightGradients<Real>::clear(int part, int parts) {
  for (std::size_t w = 0; w < count_; ++w) clear_part(weights_[w].packed, part, parts);
  clear_part(bias_, part, parts);
  clear_part(terms_, part, parts);
  clear_part(projection_, part, parts);
}

template <class Real>
void WeightGradients<Real>::add(const GateGradients<Real>& d, index_t first, int part, int parts) {
  const bool from_table = table_.size() > 0;
  const auto from_first = [&](const std::vector<const Real*>& rows) { return rows.empty() ? nullptr : rows.data() + first; };
  const std::array<const Real* const*, 3> from{from_first(sources.x), from_first(sources.h), from_first(sources.rh)};
  const index_t zero_state_tokens = std::clamp<index_t>(sources.zero_state_tokens - first, 0, d.tokens);
  outer(d, from.data(), zero_state_tokens, from_table ? 1 : 0, count_, part, parts);
  if (projection_.size() > 0) {
    const PanelLayout layout{outputs_, k_.lanes};
    for_each_block(sources.rh.data() + first, d.tokens, layout_.units, [&](OuterProduct<Real> product, index_t token) {
      product.d_stride = d.projected_stride;
      for (index_t p = 0; p < layout.panels(); ++p) {
        product.d = d.projected + token * d.projected_stride + p * k_.lanes;
        product.width = layout.width(p);
        product.c = projection_.data() + layout.panel_offset(projection_operand, p, layout_.units);
        k_.outer_product(product);
      }
    });
  }
  const Range panels = share(layout_.panels(), part, parts);
  for (index_t p = panels.begin; p < panels.end; ++p) {
    const Real* rows = d.d + p * d.panel;
    k_.column_sums({.d = rows,
                    .d_stride = d_stride_,
                    .k = d.tokens,
                    .width = cell_.record_slots * layout_.width(p),
                    .sums = bias_.data() + p * cell_.record_slots * k_.lanes});
    if (!from_table) continue;
    k_.row_sums({.d = rows,
                 .stride = d_stride_,
                 .k = d.tokens,
                 .index = sources.row_of_token.data() + first,
                 .width = cell_.input.slots * layout_.width(p),
                 .sums = table_.data() + p * table_panel_});
  }
}

template <class Real>
void WeightGradients<Real>::add(const WeightGradients<Real>& other, int part, int parts) {
  for (std::size_t w = 0; w < count_; ++w) add_part(other.weights_[w].packed, weights_[w].packed, part, parts);
  add_part(other.bias_, bias_, part, parts);
  add_part(other.terms_, terms_, part, parts);
  add_part(other.projection_, projection_, part, parts);
  add_table_rows(other, part, parts);
}

template <class Real>
void WeightGradients<Real>::add_table_rows(const WeightGradients<Real>& other, int part, int parts) {
  const Range rows = share(table_count_, part, parts);
  for (index_t p = 0; p < layout_.panels(); ++p) {
    const index_t width = cell_.input.slots * layout_.width(p);
    for (index_t row = rows.begin; row < rows.end; ++row) {
      const auto r = static_cast<std::size_t>(row);
      if (other.used_[r] == 0) continue;
      const Real* from = other.table_.data() + p * table_panel_ + row * d_stride_;
      Real* to = table_.data() + p * table_panel_ + row * d_stride_;
      if (used_[r] == 0) std::fill_n(to, width, Real{0});
      for (index_t j = 0; j < width; ++j) to[j] += from[j];
    }
  }
  for (index_t row = rows.begin; row < rows.end; ++row) {
    const auto r = static_cast<std::size_t>(row);
    used_[r] = static_cast<char>(used_[r] | other.used_[r]);
  }
}

template <class Real>
void WeightGradients<Real>::add_table(const Real* const* table_rows, int part, int parts) {
  outer({table_.data(), table_count_, table_panel_}, &table_rows, 0, 0, 1, part, parts);
}

// Adds from[w][token] times the token's gradients, for the weights [first, last). To recurrent ones the first
// `zero_state_tokens` tokens add nothing.
template <class Real>
void WeightGradients<Real>::outer(const GateGradients<Real>& d, const Real* const* const* from, index_t zero_state_tokens,
                                  std::size_t first, std::size_t last, int part, int parts) {
  if (zero_state_tokens == d.tokens) last = std::min<std::size_t>(last, 1);
  index_t total = 0;
  for (std::size_t w = first; w < last; ++w) total += weights_[w].rows * weights_[w].op.slots * layout_.units;
  const Range mine = share(total, part, parts);
  index_t done = 0;
  for (std::size_t w = first; w < last; ++w) {
    const Weight& weight = weights_[w];
    const index_t before = done;
    const index_t panel = weight.rows * weight.op.slots * layout_.lanes;
    done += weight.rows * weight.op.slots * layout_.units;
    // This part's rows of a panel.
    const auto rows_of = [&](index_t p) {
      const auto row_at = [&](index_t position) {
        const index_t in_panel = position - before - p * panel;
        const index_t row = std::clamp<index_t>(in_panel / (weight.op.slots * layout_.width(p)), 0, weight.rows);
        return row == weight.rows ? row : row / tile * tile;
      };
      return Range{row_at(mine.begin), row_at(mine.end)};
    };
    if (mine.end <= before || mine.begin >= done) continue;
    const index_t skipped = w == 0 ? 0 : zero_state_tokens;
    for_each_block(from[w] + skipped, d.tokens - skipped, weight.rows, [&](OuterProduct<Real> product, index_t token) {
      const Range block{product.m_begin, product.m_end};
      const Real* const a = product.a;
      product.d_stride = d_stride_;
      for (index_t p = 0; p < layout_.panels(); ++p) {
        const Range mine_of_panel = rows_of(p);
        product.m_begin = std::max<index_t>(block.begin, mine_of_panel.begin);
        product.m_end = std::min<index_t>(block.end, mine_of_panel.end);
        if (product.m_begin >= product.m_end) continue;
        product.a = a + (product.m_begin - block.begin);
        product.d = d.d + p * d.panel + (skipped + token) * d_stride_ + weight.op.first_slot * layout_.width(p);
        product.width = weight.op.slots * layout_.width(p);
        product.c = weight.packed.data() + layout_.panel_offset(weight.op, p, weight.rows);
        k_.outer_product(product);
      }
    });
  }
}

template <class Real>
void WeightGradients<Real>::store(const BlockSigns& signs, View<Real, 2> dkernel, View<Real, 2> drecurrent, int part,
                                  int parts) const {
  for (std::size_t w = 0; w < count_; ++w) {
    const Range rows = share(weights_[w].rows, part, parts);
    const View<Real, 2>& to = w == 0 ? dkernel : drecurrent;
    if (weights_[w].packed.size() > 0) {
      unpack_gates(weights_[w].packed.data(), weights_[w].op, signs, layout_, rows.begin, rows.end, to);
    } else {
      for (index_t r = rows.begin; r < rows.end; ++r) std::fill_n(&to(r, index_t{0}), to.shape[1], Real{0});
    }
  }
}

template <class Real>
TermGradients<Real> WeightGradients<Real>::term_gradients() const {
  if (terms_.size() == 0) return {};
  const index_t units = layout_.units;
  Real* const kernel = terms_.data() + 3 * units;
  Real* const recurrent = kernel + cell_.gates * units;
  return {terms_.data(), kernel, recurrent, recurrent + cell_.gates * units};
}

template <class Real>
void WeightGradients<Real>::store_terms(const BlockSigns& signs, const Backward<Real>& args) const {
  const index_t units = layout_.units;
  const TermGradients<Real> from = term_gradients();
  const auto copy_rows = [&](const Real* rows, View<Real, 2> to) {
    for (index_t r = 0; to && r < to.shape[0]; ++r) std::copy_n(rows + r * units, units, &to(r, index_t{0}));
  };
  copy_rows(from.peephole, args.dpeephole);
  copy_rows(from.state_norm, args.dstate_norm);
  const auto by_block = [&](const Real* vectors, const std::array<int, 4>& blocks, View<Real, 2> to) {
    for (int slot = 0; to && slot < cell_.gates; ++slot) {
      const auto block = static_cast<std::size_t>(blocks[static_cast<std::size_t>(slot)]);
      for (index_t u = 0; u < units; ++u) {
        to(0, static_cast<index_t>(block) * units + u) = signs.of[block] * vectors[slot * units + u];
      }
    }
  };
  by_block(from.kernel_norm, cell_.input.blocks, args.dkernel_norm);
  by_block(from.recurrent_norm, cell_.norm_blocks, args.drecurrent_norm);
  if (!args.dprojection) return;
  constexpr BlockSigns as_it_is{{1.0f, 1.0f, 1.0f, 1.0f}};
  unpack_gates(static_cast<const Real*>(projection_.data()), projection_operand, as_it_is, PanelLayout{outputs_, k_.lanes}, 0,
               units, args.dprojection);
}

template <class Real>
void WeightGradients<Real>::store_bias(const BlockSigns& signs, View<Real, 2> dbias) const {
  const auto store = [&](const Operand& op, int first_slot, index_t row) {
    for (index_t u = 0; u < layout_.units; ++u) {
      const index_t panel = u / k_.lanes;
      const Real* sums = bias_.data() + panel * cell_.record_slots * k_.lanes;
      for (int slot = 0; slot < op.slots; ++slot) {
        const auto block = static_cast<std::size_t>(op.blocks[static_cast<std::size_t>(slot)]);
        dbias(row, static_cast<index_t>(block) * layout_.units + u) =
            signs.of[block] * sums[(first_slot + slot) * layout_.width(panel) + u % k_.lanes];
      }
    }
  };
  store(cell_.input, cell_.bias_slot, 0);
  if (cell_.has_recurrent_bias) store(cell_.recurrent[0], cell_.recurrent_bias_slot, 1);
}

template class WeightGradients<float>;
template class WeightGradients<double>;

}  // namespace rnnext
