"""Several stacks of layers that read the same input."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

from rnnext import _core
from rnnext.layers._dropout import Dropout
from rnnext.layers._layer import Backprop, Gather, Layer, Mask, RowShape, Shape, turned
from rnnext.layers._wrapper import Wrapper, description_of, layer_of, own_name
from rnnext.parameters import Array, Gradients, Parameter, RowGradient, sum_of

_Branches = TypeVar("_Branches", bound="Branches")


class Branches(Wrapper):
    """The same x through several stacks of layers, their outputs side by side: [B, D1], [B, D2], ... -> [B, D1 + D2 + ...].

    `Branches([[LSTM(64, return_sequences=True), GlobalMaxPooling1D()], [GlobalAveragePooling1D()]])` joins the greatest states
    and the mean of what the LSTM reads. Outputs may have more axes; all but the last must agree.
    Weights: those of the branches' layers, in their order.
    """

    def __init__(
        self,
        branches: Sequence[Sequence[Layer] | Layer],
        *,
        name: str | None = None,
        trainable: bool = True,
        input_shape: RowShape | None = None,
    ) -> None:
        if isinstance(branches, Layer) or not isinstance(branches, Sequence) or not branches:
            raise TypeError(f"Branches: branches is {branches!r}, expected a list of lists of layers")
        stacks = [[branch] if isinstance(branch, Layer) else list(branch) for branch in branches]
        parts = [part for stack in stacks for part in stack]
        for part in parts:
            if not isinstance(part, Layer):
                raise TypeError(f"Branches: a branch has a {type(part).__name__}, expected a layer")
            if part.several_outputs is not None:
                raise ValueError(f"Branches: {part.name} has {part.several_outputs}, expected layers with one output")
        if not all(stacks) or len({id(part) for part in parts}) != len(parts):
            raise ValueError("Branches: a branch is empty or a layer is there twice")
        taken: set[str] = set()
        for part in parts:
            own = own_name(part)
            part.rename(next(free for n in range(len(parts) + 1) if (free := f"{own}_{n}" if n else own) not in taken))
            taken.add(part.name)
        super().__init__(parts, name=name, trainable=trainable, input_shape=input_shape)
        self.branches = tuple(tuple(stack) for stack in stacks)
        self.takes_gather = any(stack[0].takes_gather for stack in stacks)
        vocabularies = [stack[0].vocabulary for stack in stacks if stack[0].vocabulary is not None]
        self.vocabulary = min(vocabularies) if len(vocabularies) == len(stacks) else None

    def make_weights(self, input_shape: Shape) -> list[Parameter]:
        for branch in self.branches:
            shape = input_shape
            for layer in branch:
                layer.build(shape)
                shape = layer.compute_output_shape(shape)
        return [weight for part in self.parts for weight in part.weights]

    def forward(self, x: Any, *, training: bool = False, mask: Mask | None = None) -> tuple[Any, Backprop]:
        self.build(x.shape)
        outputs: list[Array] = []
        undos: list[list[Backprop]] = []
        inputs = list(self._inputs(x))
        for branch, y in zip(self.branches, inputs, strict=True):
            shown = mask
            undos.append([])
            for layer in branch:
                before = y
                y, undo_layer = layer.forward(before, training=training, mask=shown)
                shown = layer.compute_mask(before, shown)
                undos[-1].append(undo_layer)
            outputs.append(y)

        def backprop(dy: Any, *, need_dx: bool = True) -> Gradients:
            ends = np.cumsum([y.shape[-1] for y in outputs])[:-1]
            weights: list[Any] = []
            dx: Any = None
            for part, undo, read in zip(np.split(np.asarray(dy), ends, axis=-1), undos, inputs, strict=True):
                d: Any = np.ascontiguousarray(part)
                found: list[Any] = []
                for n in range(len(undo) - 1, -1, -1):
                    gradients = undo[n](d, need_dx=need_dx or n > 0)
                    found = [*gradients.weights, *found]
                    d = gradients.inputs
                weights += found
                if isinstance(x, Gather) and read is not x and d is not None:
                    d = RowGradient(*_core.sum_rows(x.ids, np.asarray(d, np.float32), x.table.shape[0]), x.table.shape)
                dx = d if dx is None or d is None else sum_of(dx, d)
            return Gradients(dx if need_dx else None, weights if self.trainable else [])

        return np.concatenate(outputs, axis=-1), backprop

    def __call__(self, x: Any, *, training: bool = False, mask: Mask | None = None) -> Any:
        """y alone. Outside training Dropout is skipped, so that a Gather reaches the layer behind it."""
        self.build(x.shape)
        outputs = []
        for branch, y in zip(self._running(training), self._inputs(x), strict=True):
            shown = mask
            for layer in branch:
                before = y
                y = layer(before, training=training, mask=shown)
                shown = layer.compute_mask(before, shown)
            outputs.append(y)
        return np.concatenate(outputs, axis=-1)

    def _running(self, training: bool) -> Iterator[Sequence[Layer]]:
        for branch in self.branches:
            yield branch if training else [layer for layer in branch if not isinstance(layer, Dropout)]

    def _inputs(self, x: Any) -> Iterator[Any]:
        """What each branch reads: a Gather as it is, or the array that it stands for, copied once for all that need it."""
        copied: Any = None
        for branch in self.branches:
            if not isinstance(x, Gather) or branch[0].takes_gather:
                yield x
            else:
                copied = x.table.current_rows(x.ids)[x.ids] if copied is None else copied
                yield copied

    def compute_mask(self, x: Any, mask: Mask | None = None) -> Mask | None:
        for layer in self.branches[0]:
            mask = layer.compute_mask(x, mask)
        if mask is not None and any(turned(branch) != self.turns for branch in self.branches):
            raise ValueError(f"{self.name}: go_backwards turns the steps of some branches, expected all or none with a mask")
        return mask

    @property
    def turns(self) -> bool:
        return turned(self.branches[0])

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        shapes = []
        for branch in self.branches:
            shape = tuple(input_shape)
            for layer in branch:
                shape = layer.compute_output_shape(shape)
            shapes.append(shape)
        if len({shape[:-1] for shape in shapes}) > 1 or None in {shape[-1] for shape in shapes}:
            raise ValueError(
                f"{self.name}: outputs of the branches have shapes {shapes}, expected others in the last axis alone"
            )
        return (*shapes[0][:-1], sum(size for shape in shapes if (size := shape[-1]) is not None))

    def get_config(self) -> dict[str, Any]:
        described = [[description_of(layer) for layer in branch] for branch in self.branches]
        return {**super().get_config(), "branches": described}

    @classmethod
    def from_config(cls: type[_Branches], config: dict[str, Any]) -> _Branches:
        branches = [[layer_of(layer) for layer in branch] for branch in config["branches"]]
        return cls(**{**config, "branches": branches})
