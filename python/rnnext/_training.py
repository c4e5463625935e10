"""What `compile` was told, and what becomes of it: a training step, an epoch of them, a measurement.

Knows losses, metrics and optimizers; of the model, that it has a forward pass.
"""

from __future__ import annotations

import math
import signal
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import FrameType
from typing import Any

import numpy as np

from rnnext import losses, metrics
from rnnext._feeds import Feed, Index
from rnnext._inputs import Examples, Rows, Values, Weights
from rnnext._progress import Progress, Verbose
from rnnext._stack import Stack, constrain, penalty, with_penalty
from rnnext.callbacks import CallbackList
from rnnext.layers._layer import Mask, Shape
from rnnext.losses import Loss
from rnnext.metrics import Mean, Metric
from rnnext.optimizers import Optimizer

_OPEN_LOSSES = ("crossentropy", "ce")  # names whose meaning the labels' shape decides
_OPEN_METRICS = ("accuracy", "acc", *_OPEN_LOSSES)
_CHECKED_AT_ONCE = 1 << 18  # numbers of made-up predictions


class Compiled:
    """An optimizer, a loss and metrics. Those whose name leaves their form open get it from the first labels.

    `weighted_metrics` look at the weights of the examples, `metrics` do not, as in Keras.
    """

    def __init__(
        self, optimizer: Optimizer, loss: Any, metrics: Sequence[Any] | str | None, weighted_metrics: Sequence[Any] | str | None
    ) -> None:
        if isinstance(loss, list | tuple) and len(loss) == 1:  # one for each output, of which there is one
            (loss,) = loss
        self.optimizer = optimizer
        as_it_is = loss is None or (isinstance(loss, str) and loss in _OPEN_LOSSES)
        self.given_loss: str | Loss | None = loss if as_it_is else losses.get(loss)
        self.given_metrics = _given_metrics("metrics", metrics)
        self.given_weighted_metrics = _given_metrics("weighted_metrics", weighted_metrics)
        self.loss: Loss | None = self.given_loss if isinstance(self.given_loss, Loss) else None
        self.mean_loss = Mean("loss")
        self.metrics: dict[str, Metric] | None = None  # by the name that history and logs give them
        self._weighted: set[str] = set()

    def loss_for(self, y_shape: Shape, y_pred_shape: Shape) -> Loss:
        """The loss that is meant for labels and predictions of those shapes."""
        assert self.given_loss is not None  # without a loss a model only predicts
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
        """Take in a batch and its loss. Where that is no number metrics would refuse it, or be none for the whole epoch."""
        self.mean_loss.update_state(loss, sample_weight=len(y_pred))
        for name, metric in (self.metrics or {}).items() if math.isfinite(loss) else ():
            metric.update_state(y, y_pred, _of_steps(mask, weights if name in self._weighted else None))

    def get_state(self) -> dict[str, Any]:
        """What of the batches so far must be kept to go on."""
        return {"loss": self.mean_loss.get_state(), "metrics": {n: m.get_state() for n, m in (self.metrics or {}).items()}}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from where `get_state` was called. KeyError for metrics that are not there."""
        named = self.metrics or {}
        found = [(named[name], each) for name, each in state["metrics"].items()]
        self.mean_loss.set_state(state["loss"])
        for metric, each in found:
            metric.set_state(each)

    def results(self) -> dict[str, float]:
        """The loss and the metrics since the last `reset`."""
        named = {"loss": self.mean_loss, **(self.metrics or {})}
        return {name: float(metric.result()) for name, metric in named.items()}  # Python's: a log read from a file is the same


def _given_metrics(argument: str, given: Sequence[Any] | str | None) -> list[str | Metric]:
    """Names as they are, everything else as a metric. TypeError or ValueError for what is none."""
    if isinstance(given, str):
        given = [given]
    if given is not None and not isinstance(given, list | tuple):
        raise TypeError(f"compile: {argument} is {given!r}, expected a list, as ['accuracy']")
    if given and len(given) == 1 and isinstance(given[0], list | tuple):  # those of each output
        (given,) = given
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


# ---------------------------------------------------------------- checks, before anything is changed


def check_examples(
    stack: Stack, compiled: Compiled, examples: Examples, names: tuple[str, str] = ("x", "y"), *, who: str
) -> Examples:
    """The examples as the model takes them. ValueError or TypeError if rows, labels or weights do not fit the model or loss."""
    rows = stack.as_input(examples.x)
    output = stack.check_rows(rows, name=names[0])
    of_steps = stack.steps_have_outputs(rows)
    examples = examples._replace(y=_with_axis_of_one_output(examples.y, output))
    if of_steps:
        _check_steps(examples, names, who=who)
    elif examples.y.offsets is not None:
        raise ValueError(f"{who}: {names[1]} has rows of different length, expected the same number of labels for each row")
    shapes = (len(rows), *examples.y.row_shape), (len(rows), *output[1:])
    loss = compiled.loss_for(*shapes)
    labels, weights = examples.y.flat, None if of_steps else examples.weights
    if of_steps and examples.y.offsets is None:  # as many for each row: end to end, as the others are
        labels = labels.reshape(-1, *labels.shape[2:])
    outputs = output[2:] if of_steps else tuple(size or 1 for size in output[1:])
    made_up = np.float32(1 / max(outputs[-1] or 1, 2))
    one = [size or 1 for size in outputs]
    at_once = max(1, _CHECKED_AT_ONCE // math.prod(one))
    for begin in range(0, len(labels), at_once):
        part = slice(begin, begin + at_once)
        some = labels[part]
        predictions = np.full((len(some), *one), made_up)
        try:
            loss(some, predictions, None if weights is None else weights[part])
        except (TypeError, ValueError) as error:
            raise type(error)(f"{who}: {names[1]} does not fit the model's output {output}: {error}") from error
    compiled.settle(*shapes)
    return Examples(rows, examples.y, examples.weights)


def _with_axis_of_one_output(y: Rows, output: Shape) -> Rows:
    """Labels [N, T] of steps with one output each as [N, T, 1]: there is a loss for each step then, which a mask may weigh."""
    if len(output) < 3 or output[-1] != 1 or len(y.row_shape) != len(output) - 2:
        return y
    return replace(y, flat=y.flat[..., None])


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


def train_step(stack: Stack, compiled: Compiled, examples: Examples, chosen: Index | slice) -> None:
    """Change the weights by one batch, once loss and metrics have taken it in: if one refuses it, nothing has changed."""
    y = examples.y.batch(chosen, at_end=stack.turns).x
    weights = None if examples.weights is None else examples.weights[chosen]
    y_pred, mask, backward = stack.forward(examples.x.batch(chosen), training=True)
    if not y_pred.size:  # of rows without steps, with an output for each
        return
    loss = compiled.loss_for(y.shape, y_pred.shape)
    value, dloss = loss.forward(y, y_pred, weights, mask)
    learned = stack.trainable_weights
    compiled.update(value + penalty(learned), y, y_pred, mask, weights)
    compiled.optimizer.apply(with_penalty(backward(dloss()), learned), learned)
    constrain(learned)


@dataclass(frozen=True)
class Plan:
    """Which epochs, and in what pieces."""

    first: int
    last: int  # not included
    size: int  # of a training batch
    shuffle: bool
    pool: int  # batches whose rows are put in the order of their lengths together
    verbose: Verbose
    validation_freq: int | tuple[int, ...] = 1  # every so many epochs, or after those, counted from 1

    def validates(self, epoch: int) -> bool:
        """Whether there is a validation after that epoch, counted from 0."""
        freq = self.validation_freq
        return (epoch + 1) % freq == 0 if isinstance(freq, int) else epoch + 1 in freq


@dataclass
class Run:
    """How far a training is: what it needs to go on besides the model and what `compile` was told."""

    plan: Plan
    steps: int | None  # of an epoch
    watchers: CallbackList
    epoch: int
    step: int  # done of that epoch; 0: it has not begun
    generator: np.random.Generator  # of the order of the rows
    at_epoch: Mapping[str, Any]  # the generator's state when the epoch began
    logs: dict[str, float]  # of the last epoch
    labels: int | None  # a checksum of them and of their weights; None if they come batch by batch
    validates: bool
    began: bool = False  # whether all callbacks have taken the beginning


class Interrupts:
    """Ctrl-C between steps instead of within one, so that it leaves no half of a step. A second one does not wait.

    Only where Python would raise KeyboardInterrupt: in the main thread, and if nobody else has asked for the signal.
    """

    def __init__(self) -> None:
        self.pending = False
        self._hears = False

    def __enter__(self) -> Interrupts:
        main = threading.current_thread() is threading.main_thread()
        self._hears = main and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if self._hears:
            signal.signal(signal.SIGINT, self._hear)
        return self

    def __exit__(self, *_: object) -> None:
        if self._hears:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.pending:
            raise KeyboardInterrupt
        self.pending = True


def train(stack: Stack, compiled: Compiled, training: Feed, validation: Feed | None, run: Run) -> None:
    """All epochs from where `run` is, each with its validation. A callback that sets the model's `stop_training` ends them.

    KeyboardInterrupt, after the step in progress and `on_train_end`, if Ctrl-C was pressed.
    """
    plan, watchers = run.plan, run.watchers
    for weight in stack.trainable_weights:
        if weight.constraint is not None:
            weight.constraint(weight.value)  # what it refuses is said before the first step
    told = {"validation": validation is not None, "validation_freq": plan.validation_freq}
    watchers.set_params({"epochs": plan.last, "steps": run.steps, "verbose": plan.verbose, **told})
    model = watchers.model
    with Interrupts() as interrupts:
        watchers.on_train_begin({})  # which may find where an earlier run was
        run.began = True
        while run.epoch < plan.last and not model.stop_training and not interrupts.pending:
            if not training.begin(run.epoch, run.step):
                warnings.warn(f"fit: x has no more batches, training ends before epoch {run.epoch + 1}", stacklevel=3)
                break
            with Progress(f"Epoch {run.epoch + 1}/{plan.last}", run.steps, plan.verbose) as progress:
                try:
                    _train_epoch(stack, compiled, training, validation, run, progress, interrupts)
                except BaseException:
                    if compiled.optimizer.use_ema:  # a validation may have been measured with the averages
                        compiled.optimizer.use_averages(False)
                    raise
        model.interrupted = interrupts.pending
        compiled.optimizer.finalize_variable_values(stack.trainable_weights)
        watchers.on_train_end(run.logs)
    if interrupts.pending:
        raise KeyboardInterrupt


def _train_epoch(
    stack: Stack,
    compiled: Compiled,
    training: Feed,
    validation: Feed | None,
    run: Run,
    progress: Progress,
    interrupts: Interrupts,
) -> None:
    """The rest of an epoch and its validation. Loss and metrics are over all batches, each measured before its step."""
    watchers, epoch = run.watchers, run.epoch
    stopped = watchers.model.stop_training  # by the last step before the checkpoint that this run goes on from
    if run.step:
        run.generator.bit_generator.state = run.at_epoch
    else:
        run.at_epoch = run.generator.bit_generator.state
        watchers.on_epoch_begin(epoch, {})
        compiled.reset()
    progress.done(run.step)
    for examples, chosen in () if stopped else training.pieces(run.generator):
        watchers.on_train_batch_begin(run.step, {})
        train_step(stack, compiled, examples, chosen)
        run.step += 1
        so_far = compiled.results() if watchers.at_batch_end or progress.showing else None
        watchers.on_train_batch_end(run.step - 1, so_far)
        progress.step(so_far)
        if watchers.model.stop_training or interrupts.pending:
            break
    logs = compiled.results()
    if validation is not None and run.plan.validates(epoch) and not interrupts.pending:
        # A run that goes on has those of its epochs behind it: what was used then is passed over.
        before = sum(map(run.plan.validates, range(run.plan.first, epoch)))
        if validation.begin(before, 0):
            found = measure(stack, compiled, validation, watchers, interrupts=interrupts)
            logs |= {f"val_{name}": value for name, value in found.items()}
        else:
            warnings.warn(f"fit: validation_data has no more batches, epoch {epoch + 1} is not validated", stacklevel=4)
    if interrupts.pending:
        return
    run.epoch, run.step, run.at_epoch, run.logs = epoch + 1, 0, run.generator.bit_generator.state, logs
    watchers.on_epoch_end(epoch, logs)
    progress.finish(logs)


def measure(
    stack: Stack,
    compiled: Compiled,
    feed: Feed,
    watchers: CallbackList,
    progress: Progress | None = None,
    interrupts: Interrupts | None = None,
) -> dict[str, float]:
    """Loss and metrics on examples that are not trained on, from where the feed begins.

    On some of them only if Ctrl-C was pressed.
    """
    watchers.on_test_begin({})
    compiled.reset()
    for step, (examples, chosen) in enumerate(feed.pieces(np.random.default_rng(0))):
        watchers.on_test_batch_begin(step, {})
        y = examples.y.batch(chosen, at_end=stack.turns).x
        weights = None if examples.weights is None else examples.weights[chosen]
        y_pred, mask = stack.infer(examples.x.batch(chosen))
        if y_pred.size:
            loss = compiled.loss_for(y.shape, y_pred.shape)
            value = loss(y, y_pred, weights, mask) + penalty(stack.trainable_weights)
            compiled.update(value, y, y_pred, mask, weights)
        watchers.on_test_batch_end(step, compiled.results() if watchers.at_test_batch_end else None)
        if progress is not None:
            progress.step()
        if interrupts is not None and interrupts.pending:
            break
    found = compiled.results()
    watchers.on_test_end(found)
    return found


def batches(index: Index, size: int) -> Iterator[Index]:
    """The index in pieces."""
    for begin in range(0, len(index), size):
        yield index[begin : begin + size]


def steps_of(rows: int, size: int) -> int:
    """How many batches that many rows make."""
    return -(-rows // size)
