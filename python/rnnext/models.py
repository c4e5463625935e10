"""Sequential: layers one behind the other, trained, measured, used and saved as in Keras 3."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from rnnext import layers, losses, metrics, optimizers, saving
from rnnext._inputs import Batch, Examples, Rows, count_of, examples_of, rows_of, split_off, weighted_by_class
from rnnext._persistence import (
    compiled_from,
    damage_in,
    files_of,
    load_weights,
    restore_generators,
    restore_optimizer,
    weights_of,
)
from rnnext._progress import Progress, Verbose, check_verbose
from rnnext._stack import Stack
from rnnext._training import Compiled, Plan, batches, check_examples, measure, steps_of, train, train_step
from rnnext.callbacks import Callback, CallbackList, History
from rnnext.layers._layer import Layer, Mask
from rnnext.parameters import Array

_Path: TypeAlias = str | os.PathLike[str]

_PREDICT_ROWS = 256  # of a batch, where the caller does not say: predictions do not depend on it


class Sequential(Stack):
    """Layers in a row: `Sequential([Embedding(...), LSTM(...), Dense(...)])`.

    Weights are made as soon as the input's shape is known: from an Embedding or an `Input` at the front, from `build`, or from
    the first data.
    """

    def __init__(self, layers: Sequence[Layer] | None = None, trainable: bool = True, name: str = "sequential") -> None:
        super().__init__(name)
        self.stop_training = False
        self.history: History | None = None
        self._compiled: Compiled | None = None
        for layer in layers or ():
            self.add(layer)
        if not trainable:
            self.trainable = False

    def __call__(self, x: Any, *, training: bool = False, mask: Mask | None = None) -> Array:
        """y_pred for one batch x, an array or a list of sequences."""
        rows = self._rows_of(x, who=self.name)
        batch = rows.batch(slice(None))
        batch = batch if mask is None else Batch(batch.x, mask)
        return self.forward(batch, training=True)[0] if training else self.infer(batch)[0]

    def _rows_of(self, x: object, *, who: str) -> Rows:
        rows = self.as_input(rows_of(x, who=who))
        self.check_rows(rows, name="x")
        self._build_for(rows)
        return rows

    def _build_for(self, rows: Rows) -> None:
        if not self.built:
            self.build((None, *rows.row_shape))

    # ------------------------------------------------------------ how to train

    def compile(
        self,
        optimizer: str | Mapping[str, Any] | optimizers.Optimizer = "rmsprop",
        loss: Any = None,
        *,
        metrics: Sequence[Any] | None = None,
        weighted_metrics: Sequence[Any] | None = None,
    ) -> None:
        """Say how to train: an optimizer, a loss and what else to measure, each by name or as an object.

        `weighted_metrics` look at sample and class weights, `metrics` do not.
        """
        if loss is None:
            raise ValueError(f"{self.name}: loss is None, expected a loss, as 'binary_crossentropy'")
        self._compiled = Compiled(optimizers.get(optimizer), loss, metrics, weighted_metrics)

    def _expect_compiled(self, who: str) -> Compiled:
        if self._compiled is None:
            raise ValueError(f"{who}: {self.name} is not compiled yet, call compile(optimizer=..., loss=...) first")
        return self._compiled

    @property
    def optimizer(self) -> optimizers.Optimizer | None:
        """That of `compile`."""
        return None if self._compiled is None else self._compiled.optimizer

    @property
    def loss(self) -> losses.Loss | str | None:
        """That of `compile`; a str while only labels can tell which one it is."""
        return None if self._compiled is None else self._compiled.loss or self._compiled.given_loss

    @property
    def named_metrics(self) -> dict[str, metrics.Metric]:
        """The metrics by the names that history and logs give them; none before the first labels were seen."""
        return dict((self._compiled.metrics if self._compiled else None) or {})

    @property
    def metrics_names(self) -> list[str]:
        """What `evaluate` returns, in its order."""
        return ["loss", *self.named_metrics]

    # ------------------------------------------------------------ fit, evaluate, predict

    def fit(
        self,
        x: Any,
        y: Any,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: Verbose = "auto",
        callbacks: Sequence[Callback] | Callback | None = None,
        validation_split: float = 0.0,
        validation_data: tuple[Any, ...] | None = None,
        shuffle: bool = True,
        class_weight: Mapping[int, float] | None = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        *,
        validation_batch_size: int | None = None,
    ) -> History:
        """Train for `epochs` epochs and return their losses and metrics.

        x is an array [N, ...] or a list of sequences of different length (ids, or vectors [T, I]); y has an entry for each row,
        or for each of its steps if the model has an output for each. The last `validation_split` of the rows, or
        `validation_data` (x, y[, sample_weight]), are measured after each epoch. Batches of 32 unless `batch_size` says
        otherwise. What does not fit is said before anything is changed.
        """
        compiled = self._expect_compiled("fit")
        plan = Plan(
            first=count_of(initial_epoch, who="fit", name="initial_epoch", least=0),
            last=count_of(epochs, who="fit", name="epochs", least=0),
            size=_batch_size(batch_size, 32, who="fit"),
            validation_size=_batch_size(batch_size if validation_batch_size is None else validation_batch_size, 32, who="fit"),
            shuffle=shuffle,
            verbose=check_verbose(verbose),
        )
        history = History()
        watchers = CallbackList([*([callbacks] if isinstance(callbacks, Callback) else callbacks or ()), history])
        training, validation = self._examples_for_fit(
            compiled, (x, y, sample_weight), class_weight, validation_split, validation_data
        )
        self._build_for(training.x)
        if not self.trainable_weights:
            warnings.warn(f"fit: {self.name} has no weights that are trainable", stacklevel=2)
        watchers.set_model(self)
        self.history, self.stop_training = history, False
        train(self, compiled, training, validation, plan, watchers)
        return history

    def _examples_for_fit(
        self,
        compiled: Compiled,
        data: tuple[Any, Any, Any],
        class_weight: Mapping[int, float] | None,
        validation_split: float,
        validation_data: tuple[Any, ...] | None,
    ) -> tuple[Examples, Examples | None]:
        """What is trained on and what is measured, checked. As in Keras class weights are for the former alone."""
        training = check_examples(self, compiled, examples_of(data, who="fit"), who="fit")
        validation = None
        if validation_data is not None:
            if not isinstance(validation_data, tuple | list) or len(validation_data) not in (2, 3):
                raise ValueError("fit: validation_data has another form than (x, y) or (x, y, sample_weight)")
            x, y, weights = (f"validation_data[{n}]" for n in range(3))
            given = examples_of((*validation_data, None)[:3], who="fit", names=(x, y, weights))
            validation = check_examples(self, compiled, given, (x, y), who="fit")
        elif validation_split:
            training, validation = split_off(training, validation_split, who="fit")
        return weighted_by_class(training, class_weight, who="fit"), validation

    def evaluate(
        self,
        x: Any,
        y: Any,
        batch_size: int | None = None,
        verbose: Verbose = "auto",
        sample_weight: Any = None,
        *,
        return_dict: bool = False,
    ) -> Any:
        """Loss and metrics on rows that are not trained on: a list (the loss alone if there are no metrics), or a dict."""
        compiled = self._expect_compiled("evaluate")
        size = _batch_size(batch_size, _PREDICT_ROWS, who="evaluate")
        examples = examples_of((x, y, sample_weight), who="evaluate")
        examples = check_examples(self, compiled, examples, who="evaluate")
        self._build_for(examples.x)
        with Progress("evaluate", steps_of(len(examples.x), size), verbose) as progress:
            found = measure(self, compiled, examples, size, progress)
            progress.finish(found)
        return _as_keras(found, return_dict)

    def predict(self, x: Any, batch_size: int | None = None, verbose: Verbose = "auto") -> Any:
        """y_pred for all rows of x, in x's order.

        An array; for a list of sequences and a model with an output for each step, a list of arrays [T_n, ...].
        """
        size = _batch_size(batch_size, _PREDICT_ROWS, who="predict")
        check_verbose(verbose)
        rows = self._rows_of(x, who="predict")
        order, lengths = np.arange(len(rows)), None
        if rows.offsets is not None:  # like beside like: a batch is as long as its longest row
            lengths = np.diff(rows.offsets)
            order = np.argsort(lengths, kind="stable")
        parts: list[Array] = []
        with Progress("predict", steps_of(len(rows), size), verbose) as progress:
            for chosen in batches(order, size):
                parts.append(self.infer(rows.batch(chosen))[0])
                progress.step()
        if lengths is None:
            return np.concatenate(parts)
        if parts[0].ndim > 2:
            ordered: list[Any] = [None] * len(rows)
            for place, row in zip(order, (row for part in parts for row in part), strict=True):
                ordered[place] = row[: lengths[place]]
            return ordered
        y = np.concatenate(parts)
        y[order] = y.copy()
        return y

    # ------------------------------------------------------------ one batch at a time

    def train_on_batch(
        self,
        x: Any,
        y: Any,
        sample_weight: Any = None,
        class_weight: Mapping[int, float] | None = None,
        *,
        return_dict: bool = False,
    ) -> Any:
        """One step on one batch: its own loss and metrics, from before the step, as `evaluate` returns them."""
        compiled = self._expect_compiled("train_on_batch")
        batch = check_examples(self, compiled, examples_of((x, y, sample_weight), who="train_on_batch"), who="train_on_batch")
        batch = weighted_by_class(batch, class_weight, who="train_on_batch")
        self._build_for(batch.x)
        compiled.reset()
        compiled.update(*train_step(self, compiled, batch, slice(None)))
        return _as_keras(compiled.results(), return_dict)

    def test_on_batch(self, x: Any, y: Any, sample_weight: Any = None, *, return_dict: bool = False) -> Any:
        """Loss and metrics of one batch."""
        return self.evaluate(x, y, len(y), 0, sample_weight, return_dict=return_dict)

    def predict_on_batch(self, x: Any) -> Any:
        """y_pred of one batch."""
        return self.predict(x, len(x), 0)

    # ------------------------------------------------------------ saving

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Sequential:
        """A model, without weights unless its first layer tells the input's shape, as `get_config` described it."""
        return cls([layers.deserialize(layer) for layer in config["layers"]], name=config["name"])

    def save(self, filepath: _Path, *, include_optimizer: bool = True, extras: Mapping[str, bytes] | None = None) -> None:
        """Write a folder with config.json, model.safetensors and the optimizer's state, in place of a model that is there.

        `extras` are further files by name, written in the same stroke. ValueError, and nothing is written, if the model has no
        weights yet or a part that `load_model` would not know.
        """
        saving.write_folder(filepath, files_of(self, self._compiled, include_optimizer=include_optimizer, extras=extras or {}))

    def save_weights(self, filepath: _Path) -> None:
        """Write the weights alone, as a safetensors file."""
        saving.write_file(filepath, saving.arrays_to_bytes(weights_of(self)))

    def load_weights(self, filepath: _Path) -> None:
        """Read what `save_weights` wrote, or a model folder's weights; nothing has changed if they do not fit."""
        path = Path(filepath)
        load_weights(self, path / saving.WEIGHTS if path.is_dir() else path)


def load_model(filepath: _Path, *, compile: bool = True) -> Sequential:  # noqa: A002 - Keras's name
    """The model that `save` wrote, compiled as it was. Nothing in the folder is run; ValueError says what is wrong with it."""
    folder = Path(filepath)
    config = saving.read_config(folder)
    with damage_in(folder / saving.CONFIG):
        model = Sequential.from_config(config["model"])
        model.build(tuple(config["input_shape"]))
        compiled = compiled_from(config["compile"]) if compile and config["compile"] is not None else None
    load_weights(model, folder / saving.WEIGHTS)
    restore_generators(model, folder / saving.CONFIG, config)
    if compiled is not None:
        restore_optimizer(model, compiled, folder, config)
        model._compiled = compiled
    return model


def _batch_size(given: int | None, default: int, *, who: str) -> int:
    return default if given is None else count_of(given, who=who, name="batch_size")


def _as_keras(found: dict[str, float], return_dict: bool) -> Any:
    values = list(found.values())
    return found if return_dict else values if len(values) > 1 else values[0]
