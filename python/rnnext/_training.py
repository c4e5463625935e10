"""What `compile` was told, and what becomes of it: a training step, an epoch of them, a measurement.

Knows losses, metrics and optimizers; of the model, that it has a forward pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from rnnext import _random, losses, metrics
from rnnext._inputs import Examples, Values, Weights
from rnnext._progress import Progress, Verbose
from rnnext._stack import Stack
from rnnext.callbacks import CallbackList
from rnnext.layers._layer import Mask, Shape
from rnnext.losses import Loss
from rnnext.metrics import Mean, Metric
from rnnext.optimizers import Optimizer

Index: TypeAlias = npt.NDArray[np.int64]

_OPEN_LOSSES = ("crossentropy", "ce")  # names whose meaning the labels' shape decides
_OPEN_METRICS = ("accuracy", "acc", *_OPEN_LOSSES)
_CHECKED_AT_ONCE = 1 << 18  # numbers of made-up predictions


class Compiled:
    """An optimizer, a loss and metrics. Those whose name leaves their form open get it from the first labels.

    `weighted_metrics` look at the weights of the examples, `metrics` do not, as in Keras.
    """

    def __init__(
        self, optimizer: Optimizer, loss: Any, metrics: Sequence[Any] | None, weighted_metrics: Sequence[Any] | None
    ) -> None:
        self.optimizer = optimizer
        self.given_loss: str | Loss = loss if isinstance(loss, str) and loss in _OPEN_LOSSES else losses.get(loss)
        self.given_metrics = _given_metrics("metrics", metrics)
        self.given_weighted_metrics = _given_metrics("weighted_metrics", weighted_metrics)
        self.loss: Loss | None = None if isinstance(self.given_loss, str) else self.given_loss
        self.mean_loss = Mean("loss")
        self.metrics: dict[str, Metric] | None = None  # by the name that history and logs give them
        self._weighted: set[str] = set()

    def loss_for(self, y_shape: Shape, y_pred_shape: Shape) -> Loss:
        """The loss that is meant for labels and predictions of those shapes."""
        return self.loss or losses.resolve(self.given_loss, _known(y_shape), _known(y_pred_shape))

    def settle(self, y_shape: Shape, y_pred_shape: Shape) -> None:
        """From now on loss and metrics have the form that those shapes ask for. Does nothing the second time."""
        self.loss = loss = self.loss_for(y_shape, y_pred_shape)
        if self.metrics is not None:
            return
        named: dict[str, Metric] = {}
        for given in [*self.given_metrics, *self.given_weighted_metrics]:
            metric = metrics.resolve(given, loss, _known(y_shape), _known(y_pred_shape))
            weighted = len(named) >= len(self.given_metrics)
            name = _free_name(f"weighted_{metric.name}" if weighted and metric.name in named else metric.name, named)
            named[name] = metric
            if weighted:
                self._weighted.add(name)
        self.metrics = named

    # ------------------------------------------------------------ results of several batches

    def reset(self) -> None:
        """Forget all batches."""
        self.mean_loss.reset_state()
        for metric in (self.metrics or {}).values():
            metric.reset_state()

    def update(self, loss: float, y: Values, y_pred: Values, mask: Mask | None, weights: Weights | None) -> None:
        """Take in a batch and its loss."""
        self.mean_loss.update_state(loss, sample_weight=len(y_pred))
        for name, metric in (self.metrics or {}).items():
            metric.update_state(y, y_pred, _of_steps(mask, weights if name in self._weighted else None))

    def results(self) -> dict[str, float]:
        """The loss and the metrics since the last `reset`."""
        return {"loss": self.mean_loss.result(), **{name: m.result() for name, m in (self.metrics or {}).items()}}


def _given_metrics(argument: str, given: Sequence[Any] | None) -> list[str | Metric]:
    """Names as they are, everything else as a metric. TypeError or ValueError for what is none."""
    if given is not None and not isinstance(given, list | tuple):
        raise TypeError(f"compile: {argument} is {given!r}, expected a list, as ['accuracy']")
    found: list[str | Metric] = []
    for metric in given or ():
        is_open = isinstance(metric, str) and metric.lower() in _OPEN_METRICS
        known = None if is_open else metrics.get(metric)
        found.append(metric if known is None or isinstance(metric, str) else known)
    return found


def _known(shape: Shape) -> list[int]:
    return [0 if size is None else size for size in shape]


def _free_name(name: str, taken: dict[str, Metric]) -> str:
    """Keras's way with equal names: auc, auc_1, auc_2."""
    if name not in taken and name != "loss":
        return name
    n = 1
    while f"{name}_{n}" in taken:
        n += 1
    return f"{name}_{n}"


def _of_steps(mask: Mask | None, weights: Weights | None) -> Weights | None:
    """What each row, or with a mask each step, counts."""
    if mask is None:
        return weights
    if weights is None:
        return mask.astype(np.float32)
    return np.where(mask, weights if weights.ndim == 2 else weights[:, None], np.float32(0))


def _of_loss(loss: Loss, mask: Mask | None, weights: Weights | None) -> Weights | None:
    """The same for a loss: where it divides by the number of steps, only those that count are meant."""
    found = _of_steps(mask, weights)
    if mask is None or found is None or loss.reduction == "sum":
        return found
    share = mask.size / max(int(np.count_nonzero(mask)), 1)
    return (found * share).astype(np.float32)


# ---------------------------------------------------------------- checks, before anything is changed


def check_examples(
    stack: Stack, compiled: Compiled, examples: Examples, names: tuple[str, str] = ("x", "y"), *, who: str
) -> Examples:
    """The examples as the model takes them. ValueError or TypeError if rows, labels or weights do not fit the model or loss."""
    rows = stack.as_input(examples.x)
    stack.check_rows(rows, name=names[0])
    output = stack.compute_output_shape((None, *rows.row_shape))
    of_steps = rows.offsets is not None and len(output) > 2
    if of_steps:
        _check_steps(examples, names, who=who)
    elif examples.y.offsets is not None:
        raise ValueError(f"{who}: {names[1]} has rows of different length, expected the same number of labels for each row")
    shapes = (len(rows), *examples.y.row_shape), (len(rows), *output[1:])
    loss = compiled.loss_for(*shapes)
    labels, weights = examples.y.flat, None if of_steps else examples.weights
    outputs = output[2:] if of_steps else tuple(size or 1 for size in output[1:])
    made_up = np.float32(1 / max(outputs[-1] or 1, 2))
    at_once = max(1, _CHECKED_AT_ONCE // int(np.prod([size or 1 for size in outputs])))
    for begin in range(0, len(labels), at_once):
        part = slice(begin, begin + at_once)
        some = labels[part]
        predictions = np.broadcast_to(made_up, (len(some), *(size or 1 for size in outputs)))
        try:
            loss(some, predictions, None if weights is None else weights[part])
        except (TypeError, ValueError) as error:
            raise type(error)(f"{who}: {names[1]} does not fit the model's output {output}: {error}") from error
    compiled.settle(*shapes)
    return Examples(rows, examples.y, examples.weights)


def _check_steps(examples: Examples, names: tuple[str, str], *, who: str) -> None:
    """Labels of steps: as many for each row as it has steps."""
    x, y = examples.x.offsets, examples.y.offsets
    assert x is not None
    steps = np.diff(x)
    given = np.diff(y) if y is not None else np.full(len(steps), examples.y.flat.shape[1] if examples.y.flat.ndim > 1 else 1)
    for row in np.flatnonzero(given != steps)[:1]:
        raise ValueError(
            f"{who}: {names[1]}[{row}] has {given[row]} labels, expected {steps[row]}, one for each step of {names[0]}[{row}]"
        )
    if examples.weights is not None and examples.weights.ndim > 1:
        raise ValueError(f"{who}: sample_weight has shape {examples.weights.shape}, expected one for each row of a list")


# ---------------------------------------------------------------- steps, epochs, measurements


def train_step(
    stack: Stack, compiled: Compiled, examples: Examples, chosen: Index | slice
) -> tuple[float, Values, Values, Mask | None, Weights | None]:
    """Change the weights by one batch; what `Compiled.update` wants to know of it."""
    y = examples.y.batch(chosen).x
    weights = None if examples.weights is None else examples.weights[chosen]
    y_pred, mask, backward = stack.forward(examples.x.batch(chosen), training=True)
    loss = compiled.loss_for(y.shape, y_pred.shape)
    value, dloss = loss.forward(y, y_pred, _of_loss(loss, mask, weights))
    value += stack.penalty()
    compiled.optimizer.apply(stack.with_penalty(backward(dloss())), stack.trainable_weights)
    stack.constrain()
    return value, y, y_pred, mask, weights


@dataclass(frozen=True)
class Plan:
    """Which epochs, and in what pieces."""

    first: int
    last: int  # not included
    size: int  # of a training batch
    validation_size: int
    shuffle: bool
    verbose: Verbose


def train(
    stack: Stack, compiled: Compiled, training: Examples, validation: Examples | None, plan: Plan, watchers: CallbackList
) -> None:
    """All epochs, each with its validation. A callback that sets the model's `stop_training` ends them."""
    rows = len(training.x)
    steps = steps_of(rows, plan.size)
    watchers.set_params({"epochs": plan.last, "steps": steps, "verbose": plan.verbose, "validation": validation is not None})
    watchers.on_train_begin()
    generator = _random.generator()
    logs: dict[str, float] = {}
    for epoch in range(plan.first, plan.last):
        watchers.on_epoch_begin(epoch)
        with Progress(f"Epoch {epoch + 1}/{plan.last}", steps, plan.verbose) as progress:
            order = generator.permutation(rows) if plan.shuffle else np.arange(rows)
            logs = _train_epoch(stack, compiled, training, batches(order, plan.size), progress, watchers)
            if validation is not None:
                found = measure(stack, compiled, validation, plan.validation_size)
                logs |= {f"val_{name}": value for name, value in found.items()}
            watchers.on_epoch_end(epoch, logs)
            progress.finish(logs)
        if watchers.model.stop_training:
            break
    watchers.on_train_end(logs)


def _train_epoch(
    stack: Stack,
    compiled: Compiled,
    examples: Examples,
    batches: Iterator[Index],
    progress: Progress,
    watchers: CallbackList,
) -> dict[str, float]:
    """Loss and metrics over all batches, each measured before its step."""
    compiled.reset()
    for step, chosen in enumerate(batches):
        watchers.on_train_batch_begin(step)
        compiled.update(*train_step(stack, compiled, examples, chosen))
        so_far = compiled.results() if watchers.at_batch_end or progress.showing else None
        watchers.on_train_batch_end(step, so_far)
        progress.step(so_far)
        if watchers.model.stop_training:
            break
    return compiled.results()


def measure(
    stack: Stack, compiled: Compiled, examples: Examples, size: int, progress: Progress | None = None
) -> dict[str, float]:
    """Loss and metrics on examples that are not trained on."""
    compiled.reset()
    for chosen in batches(np.arange(len(examples.x)), size):
        y = examples.y.batch(chosen).x
        weights = None if examples.weights is None else examples.weights[chosen]
        y_pred, mask = stack.infer(examples.x.batch(chosen))
        loss = compiled.loss_for(y.shape, y_pred.shape)
        value = loss(y, y_pred, _of_loss(loss, mask, weights)) + stack.penalty()
        compiled.update(value, y, y_pred, mask, weights)
        if progress is not None:
            progress.step()
    return compiled.results()


def batches(index: Index, size: int) -> Iterator[Index]:
    """The index in pieces."""
    for begin in range(0, len(index), size):
        yield index[begin : begin + size]


def steps_of(rows: int, size: int) -> int:
    """How many batches that many rows make."""
    return -(-rows // size)
