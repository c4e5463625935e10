"""The C++ engine. Everything here checks its arguments and releases the GIL.

Recurrent layers compute in float32, or in float64 where x and all weights are float64; all other arrays must then be, too. H is
the width of c and of h, except in an LSTM with a projection [H, P], whose h is P wide.
"""

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

_F32 = npt.NDArray[np.float32]
_I32 = npt.NDArray[np.int32]
_I64 = npt.NDArray[np.int64]
_Cell = Literal["lstm", "gru_reset_after", "gru_reset_before"]

class Tape:
    """What a forward pass saved for its backward pass, which may be done any number of times."""

    @property
    def nbytes(self) -> int:
        """Bytes of what the engine saved. The arrays that it was called with are kept alive, too, but not counted."""

def recurrent_forward(
    cell: _Cell,
    x: _F32 | tuple[_I32, _F32],  # [B, T, I], or (ids [B, T], table [V, I]): rows of a table, each different one projected once
    kernel: _F32,  # [I, G*H]; gates i f c o (LSTM), z r h (GRU)
    recurrent_kernel: _F32,  # [H, G*H]
    bias: _F32 | None,  # [G*H]; gru_reset_after: [2, 3*H], row 0 input, row 1 recurrent
    h0: _F32 | None = None,  # [B, H]; None is zeros
    c0: _F32 | None = None,  # [B, H]; LSTM only
    *,
    starts: _I64 | None = None,  # [B]; None is zeros
    lengths: _I64 | None = None,  # [B]; None is T - starts
    reverse: bool = False,
    update_gate_writes: bool = False,  # GRU: h = (1-z) h_prev + z h~ instead of z h_prev + (1-z) h~
    return_sequences: bool = False,
    keep_tape: bool = True,
    recurrent_mask: _F32 | None = None,  # [B, H], multiplies the h that the products read
    zoneout_h: _F32 | None = None,  # [B, T, H], share of the old h that stays in the step that reads a position
    zoneout_c: _F32 | None = None,  # [B, T, H]; LSTM only
    peephole: _F32 | None = None,  # [3, H]: i f o; LSTM only
    coupled: bool = False,  # f = 1 - i; LSTM only
    clip: float | None = None,  # bound of the pre-activations
    projection: _F32 | None = None,  # [H, P]; the recurrent kernel is [P, 4*H]; LSTM only
    kernel_norm: _F32 | None = None,  # [G*H], scales of the normalised products; all norms or none
    recurrent_norm: _F32 | None = None,  # [G*H]
    state_norm: _F32 | None = None,  # [2, H], scale and shift of c; LSTM only
    norm_epsilon: float = 1e-3,
) -> tuple[_F32, _F32, _F32 | None, Tape | None]:
    """Run a layer: (y, h_T, c_T, tape).

    y is [B, T, H] with return_sequences, else it is h_T [B, H]; c_T is None for a GRU; tape is None without keep_tape.
    """

class PackedCell:
    """A layer's weights as the engine reads them, made once for any number of calls of `recurrent_infer`."""

    def __init__(
        self,
        cell: _Cell,
        kernel: _F32,
        recurrent_kernel: _F32,
        bias: _F32 | None,
        vocabulary: _F32 | None = None,  # [V, I], projected too: x is then ids alone
        *,
        update_gate_writes: bool = False,
        peephole: _F32 | None = None,
        coupled: bool = False,
        clip: float | None = None,
        projection: _F32 | None = None,
        kernel_norm: _F32 | None = None,
        recurrent_norm: _F32 | None = None,
        state_norm: _F32 | None = None,
        norm_epsilon: float = 1e-3,
    ) -> None:
        """The weights of `recurrent_forward`."""

def recurrent_infer(
    packed: PackedCell,
    x: _F32 | _I32 | tuple[_I32, _F32],  # as for recurrent_forward; ids [B, T] where a vocabulary was packed
    h0: _F32 | None = None,
    c0: _F32 | None = None,
    *,
    starts: _I64 | None = None,
    lengths: _I64 | None = None,
    reverse: bool = False,
    return_sequences: bool = False,
    zoneout_h: _F32 | None = None,
    zoneout_c: _F32 | None = None,
) -> tuple[_F32, _F32, _F32 | None]:
    """Run a layer with packed weights: (y, h_T, c_T), bit for bit those of `recurrent_forward`."""

def recurrent_backward(
    tape: Tape,
    dy: _F32 | None,  # of y's shape
    dh_T: _F32 | None = None,  # [B, H], added to dy's part
    dc_T: _F32 | None = None,  # [B, H]; LSTM only
    *,
    need_dx: bool = True,
) -> tuple[Any, ...]:
    """Gradients (dx, dkernel, drecurrent_kernel, dbias, dh0, dc0) for the weights of the forward call.

    Where there was a peephole, a projection or norms, a seventh is a dict of their gradients by argument name, in that order.

    Where x was (ids, table), dx is (rows, values): the table's rows that were used, ascending, and their gradients. dx is None
    without need_dx, dbias without a bias, dc0 for a GRU, dh0 and dc0 where there was no initial state.
    """

def sum_rows(ids: _I32, d: _F32, table_rows: int) -> tuple[_I64, _F32]:
    """The rows of a table that ids [B, T] name, ascending, and for each the sum of d [B, T, D] over its occurrences."""

def scale_steps(x: _F32, scale: _F32) -> _F32:
    """x [B, T, D] times scale [B, 1, D]."""

def draw_places(seed: int, rate: float, count: int, float64: bool = False) -> npt.NDArray[Any]:
    """Draw `count` numbers, 1 with probability rate, else 0: for a seed always the same, whatever the number of threads."""

class OptimizerRule:
    """An optimizer's constants; those that only other optimizers have are ignored."""

    def __init__(
        self,
        optimizer: Literal["sgd", "rmsprop", "adam"],
        *,
        momentum: float = 0.0,  # SGD, RMSprop
        nesterov: bool = False,  # SGD
        rho: float = 0.0,  # RMSprop
        centered: bool = False,
        beta_1: float = 0.0,  # Adam
        beta_2: float = 0.0,
        amsgrad: bool = False,
        epsilon: float = 0.0,  # RMSprop, Adam
    ) -> None: ...

class OptimizedParameter:
    """A parameter with an optimizer's slots for it, and the steps that rows without a gradient still have to make.

    The arrays are changed in place. Slots: SGD momentum; RMSprop velocity, momentum, average gradient; Adam momentum, velocity,
    largest velocity; None for those that the rule does not use.
    """

    def __init__(self, rule: OptimizerRule, name: str, p: _F32, slots: tuple[_F32 | None, ...], *, decays: bool) -> None: ...
    def settle(self) -> None:
        """Bring all rows up to the last step."""

    def settle_rows(self, rows: _I32 | _I64) -> None:
        """Bring the given rows up to the last step: any shape and order, repeated or not; ids not in the table are ignored."""

    def accept(self) -> None:
        """Take the present value for the result of the last step: somebody else has changed it."""

    def pending(self) -> dict[str, npt.NDArray[Any]] | None:
        """Settle, and return what `restore` needs besides value and slots; None if the last gradient was a whole array."""

    def check(self, pending: dict[str, npt.NDArray[Any]] | None) -> None:
        """TypeError or ValueError for what `restore` could not use."""

    def restore(self, pending: dict[str, npt.NDArray[Any]] | None) -> None:
        """Continue from what `pending` returned."""

def optimizer_step(
    rule: OptimizerRule,
    parameters: list[OptimizedParameter],  # different ones
    gradients: list[_F32 | tuple[_I64, _F32]],  # of the parameter's shape, or (rows [N] ascending, values [N, ...])
    *,
    rate: float,  # the learning rate; Adam: with both bias corrections
    decay: float,  # learning rate times weight decay
    clipnorm: float,  # 0 is no clipping
    global_clipnorm: float,
    clipvalue: float,
) -> None:
    """One step of these parameters."""

def matmul(a: _F32, b: _F32) -> _F32:
    """a [N, K] times b [K, M]. A row's bits depend neither on the other rows nor on the number of threads."""

def matmul_transposed(a: _F32, d: _F32) -> _F32:
    """aᵀ d [K, M] of a [N, K] and d [N, M], the sum of each element in the order of the rows."""

def sigmoid(x: _F32) -> _F32:
    """The logistic function, elementwise, as the engine computes it."""

def tanh(x: _F32) -> _F32:
    """tanh, elementwise, as the engine computes it."""

def set_num_threads(count: int) -> None: ...
def get_num_threads() -> int: ...
def isa() -> str:
    """The instruction set in use: what RNNEXT_ISA forced, else the best that the CPU has."""

def config() -> dict[str, str | int | bool | list[str]]:
    """compiler, isas_compiled, isas_available, isa, threads, openmp."""

def fma_rates(threads: int) -> list[float]:
    """Operations a second of nothing but fused multiply-adds, in each of 400 short turns now (for benchmarks)."""

def read_bandwidth(threads: int) -> float:
    """Bytes a second read from memory, measured now (for benchmarks)."""
