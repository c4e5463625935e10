"""An ONNX graph that is built node by node. Knows no layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rnnext.interop._onnx import PEEPHOLES
from rnnext.interop._weights import CellName, in_order, needed
from rnnext.ops import CellWeights
from rnnext.parameters import Array

_TO_ONNX = {"lstm": (0, 3, 1, 2), "gru": (0, 1, 2)}  # our gate blocks in the order of the node's
_OPSET, _IR_VERSION = 17, 8  # known to the runtimes of the last years


class Graph:
    """A graph that is built node by node. Methods that add a node or a constant return its name."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.inputs: list[Any] = []
        self.constants: dict[str, npt.NDArray[Any]] = {}

    def input(self, name: str, dtype: str, shape: Sequence[Any]) -> None:
        self.inputs.append(_value(name, dtype, shape))

    def constant(self, value: Any, dtype: Any = np.float32, name: str | None = None) -> str:
        name = name or f"constant_{len(self.constants)}"
        self.constants[name] = np.ascontiguousarray(np.array(value, dtype))
        return name

    def node(self, kind: str, inputs: Sequence[str], *, output: str | None = None, **attributes: Any) -> str:
        """Add a node. Returns the name of its output, of a TopK that of the second output."""
        helper = needed("onnx.helper")

        output = output or f"{kind.lower()}_{len(self.nodes)}"
        outputs = [f"{output}_values", output] if kind == "TopK" else [output]
        self.nodes.append(helper.make_node(kind, list(inputs), outputs, name=f"{output}_node", **attributes))
        return output

    def recurrent(
        self,
        name: str,
        cell: CellName,
        weights: Sequence[CellWeights],
        x: str,
        lengths: str | None,
        states: Sequence[str],
        direction: str,
        *,
        reset_after: bool,
        clip: float | None,
        coupled: bool,
    ) -> list[str]:
        """Add a node over x [T, B, I]. Returns the names of Y [T, D, B, H] and of the last states [D, B, H]."""
        helper = needed("onnx.helper")

        order, dtype = _TO_ONNX[cell], weights[0].kernel.dtype
        arrays: dict[str, list[Array]] = {"W": [], "R": [], "B": [], "P": []}
        for one in weights:
            zeros = np.zeros(one.kernel.shape[1], dtype)
            bias = zeros if one.bias is None else one.bias
            arrays["W"].append(in_order(one.kernel, order).T)
            arrays["R"].append(in_order(one.recurrent_kernel, order).T)
            arrays["B"].append(in_order(bias if bias.ndim == 2 else np.stack([bias, zeros]), order).ravel())
            if one.peephole is not None:
                arrays["P"].append(one.peephole[PEEPHOLES].ravel())
        if all(one.bias is None for one in weights):
            arrays["B"] = []
        w, r, b, p = (
            self.constant(np.stack(parts), dtype, name=f"{name}/{letter}") if parts else "" for letter, parts in arrays.items()
        )
        inputs = [x, w, r, b, lengths or "", *[*states, "", ""][:2], p]
        while not inputs[-1]:
            inputs.pop()
        outputs = [f"{name}/Y", f"{name}/Y_h", *([f"{name}/Y_c"] if cell == "lstm" else [])]
        form: dict[str, Any] = {"linear_before_reset": int(reset_after)} if cell == "gru" else {}
        form |= {"input_forget": 1} if coupled else {}
        form |= {} if clip is None else {"clip": float(clip)}
        self.nodes.append(
            helper.make_node(
                cell.upper(),
                inputs,
                outputs,
                name=name,
                hidden_size=weights[0].recurrent_kernel.shape[0],
                direction=direction,
                **form,
            )
        )
        return outputs

    # ------------------------------------------------------------ masks

    def wide(self, mask: str) -> str:
        """The mask as numbers, [B, T, 1]."""
        return self.number(self.node("Unsqueeze", [mask, self.constant([2], np.int64)]), "float32")

    def steps_of(self, x: str) -> tuple[str, str]:
        """T as [1], and the numbers 0 ... T-1 as [1, T], of x [B, T, ...]."""
        size = self.node("Slice", [self.node("Shape", [x]), *(self.constant([n], np.int64) for n in (1, 2))])
        last = self.node("Squeeze", [size])
        count = self.node("Range", [self.constant(0, np.int64), last, self.constant(1, np.int64)])
        return size, self.node("Unsqueeze", [count, self.constant([0], np.int64)])

    def before(self, x: str, lengths: str) -> str:
        """The mask [B, T] of rows with `lengths` tokens from the beginning on."""
        wide = self.number(self.node("Unsqueeze", [lengths, self.constant([1], np.int64)]), "int64")
        return self.node("Less", [self.steps_of(x)[1], wide])

    def turned(self, x: str) -> str:
        """x [B, T, ...] with its steps in reverse order."""
        least = np.iinfo(np.int64).min
        return self.node("Slice", [x, *(self.constant([n], np.int64) for n in (-1, least, 1, -1))])

    def number(self, x: str, dtype: str) -> str:
        """x in another dtype."""
        return self.node("Cast", [x], to=type_of(dtype))

    def model(self, name: str, outputs: dict[str, tuple[str, list[Any]]]) -> Any:
        helper, numpy_helper = needed("onnx.helper"), needed("onnx.numpy_helper")

        constants = [numpy_helper.from_array(array, label) for label, array in self.constants.items()]
        described = [_value(label, *what) for label, what in outputs.items()]
        graph = helper.make_graph(self.nodes, name, self.inputs, described, constants)
        return helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION, producer_name="rnnext"
        )


def type_of(dtype: str) -> int:
    helper = needed("onnx.helper")

    found: int = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return found


def _value(name: str, dtype: str, shape: Sequence[Any]) -> Any:
    helper = needed("onnx.helper")

    return helper.make_tensor_value_info(name, type_of(dtype), shape)
