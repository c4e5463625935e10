// What is compiled once per ISA and type of elements, in order. Included inside a namespace of its own in the ISA file, after
// its V.

using Real = V::Real;
using Product = rnnext::Product<Real>;
using OuterProduct = rnnext::OuterProduct<Real>;
using ColumnSums = rnnext::ColumnSums<Real>;
using RowSums = rnnext::RowSums<Real>;
using CellStep = rnnext::CellStep<Real>;
using CellKernels = rnnext::CellKernels<Real>;

#include "../unroll.inl"

#include "../in_step.inl"
#include "../math.inl"
#include "../gemm.inl"
#include "../between.inl"
#include "../cells/cell.inl"
#include "../cells/gru_reset_after.inl"
#include "../cells/gru_reset_before.inl"
#include "../cells/lstm.inl"
#include "../cells/terms.inl"
#include "../cells/gru_terms.inl"
#include "../cells/lstm_terms.inl"

constexpr RecurrentKernels<Real> recurrent_kernels{
    V::lanes,
    V::flat_vectors,
    product,
    outer_product,
    column_sums,
    row_sums,
    multiply,
    add,
    keep_share,
    divide,
    {Lstm::kernels, GruResetAfter::kernels, GruResetBefore::kernels, LstmTerms<false>::kernels,
     GruResetAfterTerms<false>::kernels, GruResetBeforeTerms<false>::kernels, LstmTerms<true>::kernels,
     GruResetAfterTerms<true>::kernels, GruResetBeforeTerms<true>::kernels}};
