// Everything that is compiled once per ISA, in order. Included inside the ISA file's anonymous namespace, after its V.
#include "../math.inl"
#include "../gemm.inl"
#include "../cells/cell.inl"
#include "../cells/gru_reset_after.inl"
#include "../cells/gru_reset_before.inl"
#include "../cells/lstm.inl"
#include "../optimizers.inl"
#include "table.inl"
