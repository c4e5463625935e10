"""Sequential: layers one behind the other, trained, measured, used and saved as in Keras 3."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from rnnext import _random, initializers, layers, losses, metrics, optimizers, saving
from rnnext._checks import flag, whole_number, whole_number_or_none
from rnnext._feeds import Feed, RowsFeed, StreamFeed, feed_of
from rnnext._inputs import (
    Batch,
    Examples,
    Rows,
    RowSource,
    checksum,
    examples_of,
    is_rows,
    rows_of,
    split_off,
    weighted_by_class,
)
from rnnext._persistence import (
    compiled_from,
    damage_in,
    described_of,
    files_of,
    finite_weights_of,
    load_weights,
    own_part,
    restore_generators,
    restore_optimizer,
    restore_run,
    run_to_bytes,
)
from rnnext._progress import Progress, Verbose, check_verbose
from rnnext._stack import Stack
from rnnext._training import Compiled, Interrupts, Plan, Run, batches, check_examples, measure, steps_of, train, train_step
from rnnext._version import __version__
from rnnext.callbacks import BackupAndRestore, Callback, CallbackList, History
from rnnext.layers._layer import Layer, Mask, check_row_shape
from rnnext.parameters import Array

_Path: TypeAlias = str | os.PathLike[str]

_ALL_OF_THAT = "x hands out batches (x, y) with all of that"

# Rows of a batch where the caller does not say.
_FIT_ROWS = 32
_PREDICT_ROWS = 256  # predictions do not depend on it, unless layers are stateful


class Sequential(Stack):
    """Layers in a row: `Sequential([Embedding(...), LSTM(...), Dense(...)])`.

    Weights are made as soon as the input's shape is known: from an Embedding or an `Input` at the front, from `build`, or from
    the first data.
    """

    def __init__(self, layers: Sequence[Layer] | None = None, trainable: bool = True, name: str = "sequential") -> None:
        super().__init__(name)
        self.stop_training = False
        self.interrupted = False  # whether Ctrl-C has ended the last fit
        self._run: Run | None = None  # while fit is running
        self.history: History | None = None
        self._compiled: Compiled | None = None
        for layer in layers or ():
            self.add(layer)
        if not trainable:
            self.trainable = False

    def __call__(self, x: Any, *, training: bool = False, mask: Mask | None = None) -> Array:
        """y_pred for one batch x, an array or a list of sequences."""
        rows = self._rows_of(x, who=self.name)
        self._expect_one_batch(rows, who=self.name)
        batch = rows.batch(slice(None))
        if mask is not None and batch.mask is not None:
            raise ValueError(f"{self.name}: mask is given, expected None: sequences of different length have their own")
        batch = batch if mask is None else Batch(batch.x, mask)
        return self.forward(batch, training=True)[0] if training else self.infer(batch)[0]

    def _rows_of(self, x: object, *, who: str) -> Rows:
        rows = self.as_input(rows_of(self.only_input(x), who=who))
        self.check_rows(rows, name="x")
        self._build_for(rows)
        return rows

    def _examples_of(
        self, data: tuple[Any, ...], *, who: str, names: tuple[str, str, str] = ("x", "y", "sample_weight")
    ) -> Examples:
        x, *rest = data
        return examples_of((self.only_input(x), *rest), who=who, names=names)

    def _build_for(self, rows: Rows) -> None:
        if not self.built:
            self.build((None, *rows.row_shape))

    @property
    def _is_stateful(self) -> bool:
        return any(layer.stateful for layer in self.layers)

    @property
    def _fixed_rows(self) -> int | None:
        """The rows of every batch, where layers are stateful and the `Input` says it."""
        if not self._is_stateful:
            return None
        return next((layer.batch_size for layer in self._layers if isinstance(layer, layers.InputLayer)), None)

    def _batch_size(self, given: int | None, default: int, *, who: str, rows: int = 0, steps: int | None = None) -> int:
        """Rows of a batch. With stateful layers the `Input` may fix it, and Keras's default is the same for all methods.

        Where `steps` says how many batches there are, and nobody how large they are, they have all rows among them.
        """
        size = whole_number_or_none(who, "batch_size", given)
        if size is None and steps is not None:
            size = -(-rows // steps)
        if not self._is_stateful:
            return size or default
        fixed = self._fixed_rows
        if fixed is not None and given not in (None, fixed):
            raise ValueError(f"{who}: batch_size is {given}, expected {fixed}: {self.name} is stateful and its Input says so")
        return fixed or size or _FIT_ROWS

    def _expect_equal_batches(self, rows: int, size: int, *, who: str, name: str = "x") -> None:
        """ValueError if stateful layers, which go on row by row, would get a batch of fewer rows than the others."""
        if self._is_stateful and rows % size and (rows > size or self._fixed_rows is not None):
            raise ValueError(
                f"{who}: {name} has {rows} rows, expected a number that batch_size, {size}, divides: {self.name} is stateful"
            )

    def _expect_one_batch(self, rows: Rows, *, who: str) -> None:
        if self._fixed_rows not in (None, len(rows)):
            raise ValueError(
                f"{who}: x has {len(rows)} rows, expected {self._fixed_rows}: {self.name} is stateful and its Input says so"
            )

    # ------------------------------------------------------------ how to train

    def compile(
        self,
        optimizer: str | Mapping[str, Any] | optimizers.Optimizer = "rmsprop",
        loss: Any = None,
        loss_weights: None = None,
        metrics: Sequence[Any] | Mapping[str, Any] | str | None = None,
        weighted_metrics: Sequence[Any] | Mapping[str, Any] | str | None = None,
        run_eagerly: bool | None = None,
        steps_per_execution: int = 1,
        jit_compile: bool | Literal["auto"] = "auto",
        auto_scale_loss: bool = True,
    ) -> None:
        """Say how to train: an optimizer, a loss and what else to measure, each by name or as an object.

        Loss and metrics may be in a dict by the name of the output, which is the last layer's.
        Without a loss the model only predicts. `weighted_metrics` look at sample and class weights, `metrics` do not.
        `loss_weights` is None. The last four, which tell Keras how to compute, are taken, and nothing depends on them.
        """
        if loss_weights is not None:
            raise ValueError(
                f"compile: loss_weights is {loss_weights!r}, expected None: there is one loss; metrics come behind"
            )
        self._compiled = Compiled(
            optimizers.get(optimizer),
            self._by_output("loss", loss),
            self._by_output("metrics", metrics),
            self._by_output("weighted_metrics", weighted_metrics),
        )

    def _by_output(self, argument: str, given: Any) -> Any:
        """What is given by the output's name, which is the last layer's, in a list; everything else as it is."""
        if not isinstance(given, Mapping) or not given or "class_name" in given:
            return given
        name = self._layers[-1].name if self._layers else None
        if list(given) != [name]:
            raise ValueError(
                f"compile: {argument} is for {', '.join(map(repr, given))}, expected {name!r} alone, the last layer"
            )
        return [given[name]]

    def _expect_compiled(self, who: str) -> Compiled:
        if self._compiled is None:
            raise ValueError(f"{who}: {self.name} is not compiled yet, call compile(optimizer=..., loss=...) first")
        if self._compiled.given_loss is None:
            raise ValueError(
                f"{who}: {self.name} is compiled without a loss, expected compile(loss='binary_crossentropy'), say"
            )
        return self._compiled

    @property
    def compiled(self) -> bool:
        """Whether `compile` was called."""
        return self._compiled is not None

    @property
    def optimizer(self) -> optimizers.Optimizer | None:
        """That of `compile`."""
        return None if self._compiled is None else self._compiled.optimizer

    @property
    def loss(self) -> losses.Loss | str | None:
        """That of `compile`; a str while only labels can tell which one it is, None if there is none."""
        return None if self._compiled is None else self._compiled.loss or self._compiled.given_loss

    @property
    def named_metrics(self) -> dict[str, metrics.Metric]:
        """The metrics by the names that history and logs give them; none before the first labels were seen."""
        return dict((self._compiled.metrics if self._compiled else None) or {})

    @property
    def metrics(self) -> list[metrics.Metric]:
        """The mean loss and the metrics, in the order of `metrics_names`; none before `compile`."""
        return [] if self._compiled is None else [self._compiled.mean_loss, *self.named_metrics.values()]

    @property
    def metrics_names(self) -> list[str]:
        """What `evaluate` returns, in its order."""
        return ["loss", *self.named_metrics]

    # ------------------------------------------------------------ fit, evaluate, predict

    def fit(
        self,
        x: Any,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: Verbose = "auto",
        callbacks: Sequence[Callback] | Callback | None = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: Mapping[int, float] | None = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: int | Collection[int] = 1,
        *,
        pool: int = 1,
    ) -> History:
        """Train for `epochs` epochs and return their losses and metrics.

        x is an array [N, ...] or a list of sequences of different length (ids, or vectors [T, I]); y has an entry for each row,
        or for each of its steps if the model has an output for each. The last `validation_split` of the rows, or in their place
        `validation_data` (x, y[, sample_weight]), are measured after each epoch; with `validation_steps` that many batches of
        them, with `validation_freq` after each second epoch, say, or after those of a list, counted from 1. Batches of 32
        unless `batch_size` says otherwise. What does not fit is said before anything is changed.

        With `steps_per_epoch` an epoch is so many batches, and the next one goes on behind them, as in Keras: the last epoch of
        a pass over the rows may have fewer. Without `batch_size` the batches are as large as that takes.

        `pool`: sequences of different length are cut into batches of like length, out of `pool` batches' rows at a time, which
        saves the time that is spent on padding; about 50 leaves enough to chance.

        x may also be a `data.TokenFile`, whose labels are taken unless y is given, or hand out batches (x, y[, sample_weight]):
        an object with `len` and `[n]` (Keras's PyDataset), the order of whose batches is shuffled, or any iterable.
        `steps_per_epoch` of them make an epoch, or all; a generator that comes to its end ends training. `validation_data` may
        be a TokenFile or such an object, a generator if `validation_steps` says how many of its batches are a validation.

        Ctrl-C lets the step in progress finish; callbacks' `on_train_end` is called, then KeyboardInterrupt is raised. The
        model and its `history` of whole epochs are as after any other step.
        """
        compiled = self._expect_compiled("fit")
        plan = Plan(
            first=whole_number("fit", "initial_epoch", initial_epoch, 0),
            last=whole_number("fit", "epochs", epochs, 0),
            size=self._batch_size(batch_size, _FIT_ROWS, who="fit"),
            shuffle=flag("fit", "shuffle", shuffle),
            pool=whole_number("fit", "pool", pool),
            verbose=check_verbose(verbose),
            validation_freq=_checked_freq(validation_freq),
        )
        whole_number_or_none("fit", "validation_batch_size", validation_batch_size)
        measured = (
            batch_size if validation_batch_size is None else validation_batch_size,
            whole_number_or_none("fit", "validation_steps", validation_steps),
        )
        history = History()
        given = _as_list(callbacks)
        # What is kept of a run is kept after everybody has seen the step.
        backups = [callback for callback in given if isinstance(callback, BackupAndRestore)]
        watchers = CallbackList([*(callback for callback in given if callback not in backups), history, *backups])
        steps = whole_number_or_none("fit", "steps_per_epoch", steps_per_epoch)
        training: Feed
        validation: Feed | None
        with self.making_weights():
            if is_rows(x):
                share = validation_split if validation_data is None else 0.0
                rows, held_out = self._rows_for_fit(compiled, (x, y, sample_weight), class_weight, share)
                part = "validation_split of x"
                validation = (
                    None if held_out is None else self._first_batches(held_out, _FIT_ROWS, *measured, who="fit", name=part)
                )
                if plan.pool > 1 and (rows.x.offsets is None or not shuffle):
                    raise ValueError(f"fit: pool is {pool}, expected 1 unless x is a list of sequences and shuffle is True")
                plan = replace(plan, size=self._batch_size(batch_size, _FIT_ROWS, who="fit", rows=len(rows.x), steps=steps))
                self._expect_equal_batches(len(rows.x), plan.size, who="fit")
                training = RowsFeed(rows, plan.size, shuffle=shuffle, pool=plan.pool, steps=steps, first=plan.first)
                self._build_for(rows.x)
            else:
                beside = {"y": y, "sample_weight": sample_weight, "batch_size": batch_size, "pool": pool if pool != 1 else None}
                _refuse("fit", _ALL_OF_THAT, **beside)
                if validation_split:
                    raise ValueError(f"fit: validation_split is {validation_split}, expected 0, as x hands out batches")
                training = feed_of(x, steps, self._check_for(compiled, class_weight, who="fit"), plan.first, shuffle=shuffle)
                first = training.peek() if isinstance(training, StreamFeed) else x[0] if len(x) else None
                if first is None:
                    raise ValueError("fit: x is empty, expected at least one batch")
                training.check(first)
                validation = None
            if validation_data is not None:
                validation = self._validation_feed(compiled, validation_data, *measured)
            self._expect_equal_validation(training, validation)
        if not self.trainable_weights:
            warnings.warn(f"fit: {self.name} has no weights that are trainable", stacklevel=2)
        watchers.set_model(self)
        before = self._run, self.history, self.stop_training, self.interrupted
        self.history, self.stop_training, self.interrupted = history, False, False
        generator = _random.generator()
        state, labels = generator.bit_generator.state, checksum(training.examples) if isinstance(training, RowsFeed) else None
        run = Run(plan, training.steps, watchers, plan.first, 0, generator, state, {}, labels, validation is not None)
        self._run = run
        try:
            train(self, compiled, training, validation, run)
        except Exception:
            if not run.began:  # a callback has refused it
                self.history = before[1]
            raise
        finally:
            self._run = None
            if before[0] is not None:  # a fit whose callback has called this one goes on
                self._run, self.history, self.stop_training, self.interrupted = before
        return history

    def _expect_equal_validation(self, training: Feed, validation: Feed | None) -> None:
        """ValueError if stateful layers would get batches of another number of rows in validation than in training."""
        if self._is_stateful and isinstance(training, RowsFeed) and isinstance(validation, RowsFeed):
            trained, measured = (min(feed.size, len(feed.examples.x)) for feed in (training, validation))
            if trained != measured:
                raise ValueError(
                    f"fit: validation has batches of {measured} rows, expected {trained} as in training:"
                    f" {self.name} is stateful"
                )

    def _rows_for_fit(
        self,
        compiled: Compiled,
        data: tuple[Any, Any, Any],
        class_weight: Mapping[int, float] | None,
        validation_split: float,
    ) -> tuple[Examples, Examples | None]:
        """What is trained on and what is split off, checked. As in Keras class weights are for the former alone."""
        training = check_examples(self, compiled, self._examples_of(data, who="fit"), who="fit")
        held_out = None
        if validation_split:
            training, held_out = split_off(training, validation_split, who="fit")
        return weighted_by_class(training, class_weight, who="fit"), held_out

    def _check_for(
        self, compiled: Compiled, class_weight: Mapping[int, float] | None, *, who: str
    ) -> Callable[[Any], Examples]:
        """What makes checked examples of a batch that somebody hands out."""

        def check(batch: Any) -> Examples:
            if not isinstance(batch, tuple | list) or len(batch) not in (2, 3):
                raise ValueError(f"{who}: a batch of x has another form than (x, y) or (x, y, sample_weight)")
            examples = check_examples(self, compiled, self._examples_of((*batch, None)[:3], who=who), who=who)
            self._build_for(examples.x)
            return weighted_by_class(examples, class_weight, who=who)

        return check

    def _validation_feed(self, compiled: Compiled, given: Any, batch_size: int | None, steps: int | None) -> Feed:
        if isinstance(given, RowSource):
            given = (given, None)
        if isinstance(given, str | bytes | Mapping) or not (isinstance(given, Iterable) or hasattr(given, "__getitem__")):
            raise TypeError(
                f"fit: validation_data is a {type(given).__name__}, expected (x, y), (x, y, sample_weight) or batches of such"
            )
        if isinstance(given, tuple | list | np.ndarray):
            if isinstance(given, np.ndarray) or len(given) not in (2, 3):
                raise ValueError("fit: validation_data has another form than (x, y) or (x, y, sample_weight)")
            names = x, y, _ = "validation_data[0]", "validation_data[1]", "validation_data[2]"
            examples = check_examples(
                self, compiled, self._examples_of((*given, None)[:3], who="fit", names=names), (x, y), who="fit"
            )
            return self._first_batches(examples, _FIT_ROWS, batch_size, steps, who="fit", name=x)
        if isinstance(given, Iterator):
            if steps is None:
                raise TypeError(
                    "fit: validation_data is an iterator, which is used up by one epoch, expected what can be iterated again,"
                    " or validation_steps"
                )
            given = list(islice(given, steps))  # the same for each validation
            if not given:
                raise ValueError("fit: validation_data hands out no batch, expected (x, y) or (x, y, sample_weight)")
        return feed_of(given, steps, self._check_for(compiled, None, who="fit"), 0, shuffle=False, anew=True)

    def _first_batches(
        self, examples: Examples, default: int, batch_size: int | None, steps: int | None, *, who: str, name: str = "x"
    ) -> RowsFeed:
        """What is measured: batches in their order, all or the first `steps`."""
        rows = len(examples.x)
        size = self._batch_size(batch_size, default, who=who, rows=rows, steps=steps)
        rows = rows if steps is None else min(rows, steps * size)
        self._expect_equal_batches(rows, size, who=who, name=name)
        return RowsFeed(examples.part(0, rows), size, shuffle=False)

    def evaluate(
        self,
        x: Any,
        y: Any = None,
        batch_size: int | None = None,
        verbose: Verbose = "auto",
        sample_weight: Any = None,
        steps: int | None = None,
        callbacks: Sequence[Callback] | Callback | None = None,
        return_dict: bool = False,
    ) -> Any:
        """Loss and metrics on rows that are not trained on: a list (the loss alone if there are no metrics), or a dict.

        x may also hand out batches (x, y[, sample_weight]), as for `fit`. `steps` batches are measured, or all; without
        `batch_size` they are as large as it takes for all rows. Of the hooks of `callbacks` those of tests are called.
        """
        compiled = self._expect_compiled("evaluate")
        count = whole_number_or_none("evaluate", "steps", steps)
        watchers = CallbackList(_as_list(callbacks), who="evaluate")
        feed: Feed
        if is_rows(x):
            examples = self._examples_of((x, y, sample_weight), who="evaluate")
            examples = check_examples(self, compiled, examples, who="evaluate")
            self._build_for(examples.x)
            feed = self._first_batches(examples, _PREDICT_ROWS, batch_size, count, who="evaluate")
        else:
            _refuse("evaluate", _ALL_OF_THAT, y=y, sample_weight=sample_weight, batch_size=batch_size)
            feed = feed_of(x, count, self._check_for(compiled, None, who="evaluate"), 0, shuffle=False)
        watchers.set_model(self)
        watchers.set_params({"epochs": 1, "steps": feed.steps, "verbose": verbose})
        with Progress("evaluate", feed.steps, verbose) as progress:
            feed.begin(0, 0)
            found = measure(self, compiled, feed, watchers, progress)
            progress.finish(found)
        if not compiled.mean_loss.count:
            raise ValueError("evaluate: x hands out no batch, expected (x, y) or (x, y, sample_weight)")
        return _as_keras(found, return_dict)

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: Verbose = "auto",
        steps: int | None = None,
        callbacks: Sequence[Callback] | Callback | None = None,
    ) -> Any:
        """y_pred for all rows of x, in x's order.

        An array; for a list of sequences and a model with an output for each step, a list of arrays [T_n, ...]. x may also hand
        out batches, x or (x, y[, sample_weight]), as for `fit`. `steps` batches are predicted, or all; without
        `batch_size` they are as large as it takes for all rows. Of the hooks of `callbacks` those of predictions are called.
        """
        count = whole_number_or_none("predict", "steps", steps)
        watchers = CallbackList(_as_list(callbacks), who="predict")
        check_verbose(verbose)
        given: Iterable[Rows]
        total: int | None
        if is_rows(x):
            rows = self._rows_of(x, who="predict")
            size = self._batch_size(batch_size, _PREDICT_ROWS, who="predict", rows=len(rows), steps=count)
            rows = rows if count is None else rows.part(0, min(len(rows), count * size))
            self._expect_equal_batches(len(rows), size, who="predict")
            given, total = [rows], steps_of(len(rows), size)
        else:
            _refuse("predict", "x hands out batches", batch_size=batch_size)
            feed = feed_of(x, count, self._without_labels, 0, shuffle=False)
            if not feed.begin(0, 0):
                raise ValueError("predict: x hands out no batch, expected x or (x, y)")
            given, total = (examples.x for examples, _ in feed.pieces(np.random.default_rng(0))), feed.steps
            size = 0  # each as it comes
        watchers.set_model(self)
        watchers.set_params({"epochs": 1, "steps": total, "verbose": verbose})
        watchers.on_predict_begin({})
        with Progress("predict", total, verbose) as progress:
            found = [self._predicted(rows, size or len(rows), watchers, progress) for rows in given]
        watchers.on_predict_end({})
        if len(found) == 1:
            return found[0]
        if all(isinstance(y, np.ndarray) for y in found) and len({y.shape[1:] for y in found}) == 1:
            return np.concatenate(found)
        return [row for y in found for row in y]

    def _without_labels(self, batch: Any) -> Examples:
        """The rows of a batch that somebody hands out, whether it has labels beside them or not."""
        if isinstance(batch, tuple | list):
            if len(batch) not in (1, 2, 3):
                raise ValueError("predict: a batch of x has another form than x, (x,), (x, y) or (x, y, sample_weight)")
            batch = batch[0]
        rows = self._rows_of(batch, who="predict")
        return Examples(rows, rows, None)  # labels that nobody looks at

    def _predicted(self, rows: Rows, size: int, watchers: CallbackList, progress: Progress) -> Any:
        """y_pred for the rows, in their order."""
        order, lengths = np.arange(len(rows)), None
        if rows.offsets is not None:  # like beside like: a batch is as long as its longest row
            lengths = np.diff(rows.offsets)
            order = np.argsort(lengths, kind="stable")
        parts: list[Array] = []
        for chosen in batches(order, size):
            watchers.on_predict_batch_begin(progress.count, {})
            parts.append(self.infer(rows.batch(chosen))[0])
            watchers.on_predict_batch_end(progress.count, {"outputs": parts[-1]})
            progress.step()
        if lengths is None:
            return np.concatenate(parts)
        if self.steps_have_outputs(rows):
            ordered: list[Any] = [None] * len(rows)
            for place, row in zip(order, (row for part in parts for row in part), strict=True):
                ordered[place] = row[len(row) - lengths[place] :] if self.turns else row[: lengths[place]]
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
        return_dict: bool = False,
    ) -> Any:
        """One step on one batch: its own loss and metrics, from before the step, as `evaluate` returns them.

        Ctrl-C lets the step finish, then KeyboardInterrupt is raised.
        """
        compiled = self._expect_compiled("train_on_batch")
        batch = check_examples(
            self, compiled, self._examples_of((x, y, sample_weight), who="train_on_batch"), who="train_on_batch"
        )
        batch = weighted_by_class(batch, class_weight, who="train_on_batch")
        self._expect_one_batch(batch.x, who="train_on_batch")
        self._build_for(batch.x)
        compiled.reset()
        with Interrupts() as interrupts:
            train_step(self, compiled, batch, slice(None))
        if interrupts.pending:
            raise KeyboardInterrupt
        return _as_keras(compiled.results(), return_dict)

    def reset_metrics(self) -> None:
        """Forget the batches that loss and metrics have seen. `fit`, `evaluate` and `train_on_batch` begin with this."""
        self._expect_compiled("reset_metrics").reset()

    def test_on_batch(self, x: Any, y: Any, sample_weight: Any = None, return_dict: bool = False) -> Any:
        """Loss and metrics of one batch."""
        rows = len(rows_of(self.only_input(x), who="test_on_batch"))
        return self.evaluate(x, y, rows, 0, sample_weight, return_dict=return_dict)

    def predict_on_batch(self, x: Any) -> Any:
        """y_pred of one batch."""
        return self.predict(x, len(rows_of(self.only_input(x), who="predict_on_batch")), 0)

    # ------------------------------------------------------------ saving

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Sequential:
        """A model, without weights unless its first layer tells the input's shape, as `get_config` described it."""
        model = cls([layers.deserialize(layer) for layer in config["layers"]], name=config["name"])
        model._trainable = flag("Sequential", "trainable", config.get("trainable", True))
        return model

    def to_json(self, **kwargs: Any) -> str:
        """The layers, without weights and without what `compile` was told, for `model_from_json`; `kwargs` are `json.dumps`'s.

        ValueError or TypeError for a layer, initializer, regularizer or constraint that is none of this package's.
        """
        shape = None if self.input_shape is None else list(self.input_shape)
        described = {"class_name": "Sequential", "config": self.get_config(), "build_config": {"input_shape": shape}}
        return json.dumps({"rnnext": __version__, **described}, **kwargs)

    def to_files(self, *, include_optimizer: bool = True, extras: Mapping[str, bytes] | None = None) -> dict[str, bytes]:
        """The contents of the folder that `save` writes, by their names; errors as there."""
        return files_of(self, self._compiled, include_optimizer=include_optimizer, extras=extras or {})

    def save(
        self,
        filepath: _Path,
        overwrite: bool = True,
        *,
        include_optimizer: bool = True,
        extras: Mapping[str, bytes] | None = None,
    ) -> None:
        """Write a folder with config.json, model.safetensors and the optimizer's state, in place of a model that is there.

        `extras` are further files by name, written in the same stroke. ValueError, and nothing is written, if the model has no
        weights yet, NaN or infinity among them, or a part that `load_model` would not know; FileExistsError if something is
        there that is no model, or anything without `overwrite`.
        """
        _expect_free(filepath, overwrite, who="save")
        saving.write_folder(filepath, self.to_files(include_optimizer=include_optimizer, extras=extras))

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles what `save` writes, with its errors; a model that is not built yet as it is.

        ValueError if it was compiled with a loss or metric of the user's own, which could not be read again.
        """
        if self._compiled is not None and (own := own_part(described_of(self._compiled))):
            raise ValueError(f"{self.name}: {own}, somebody's own, which a copy or pickle cannot hold; copy before compile")
        if self.built:
            return {"files": self.to_files()}
        return {**vars(self), "_compiled": None if self._compiled is None else described_of(self._compiled)}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        if "files" in state:
            vars(self).update(vars(model_from_files(state["files"], "pickle")))
        else:
            vars(self).update(state)
            self._compiled = None if state["_compiled"] is None else compiled_from(state["_compiled"])

    def save_weights(self, filepath: _Path, overwrite: bool = True) -> None:
        """Write the weights alone, as a safetensors file. FileExistsError if one is there, without `overwrite`; ValueError, and
        nothing is written, if a weight is NaN or infinite.
        """
        _expect_free(filepath, overwrite, who="save_weights")
        saving.write_file(filepath, saving.arrays_to_bytes(finite_weights_of(self, who="save_weights")))

    def save_training(self, filepath: _Path) -> None:
        """Write, while fit is running, all that is needed to go on from there: what `BackupAndRestore` keeps.

        To be called by callbacks, at the end of a step or an epoch; callbacks behind the caller have not seen it yet.
        """
        compiled, run = self._expect_running("save_training")
        saving.write_file(filepath, run_to_bytes(self, compiled, run, stopped=self.stop_training))

    def load_training(self, filepath: _Path) -> None:
        """Go on from what `save_training` wrote; to be called by a callback's `on_train_begin`, behind those of all others.

        ValueError names the file if it is damaged or another training's, and then nothing has changed.
        """
        compiled, run = self._expect_running("load_training")
        self.stop_training = restore_run(self, compiled, run, Path(filepath))

    def _expect_running(self, who: str) -> tuple[Compiled, Run]:
        if self._run is None or self._compiled is None:
            raise ValueError(f"{who}: {self.name} is not being trained, expected a call from a callback of fit")
        return self._compiled, self._run

    def load_weights(self, filepath: _Path) -> None:
        """Read what `save_weights` wrote, or a model folder's weights; nothing has changed if they do not fit."""
        path = Path(filepath)
        path = path / saving.WEIGHTS if path.is_dir() else path
        load_weights(self, saving.arrays_from_file(path), path)


def clone_model(model: Sequential) -> Sequential:
    """A model of the same layers with weights of its own, made anew; it is not compiled. `copy.deepcopy` keeps them.

    TypeError if it is no Sequential.
    """
    if not isinstance(model, Sequential):
        raise TypeError(f"clone_model: model is a {type(model).__name__}, expected a Sequential")
    made = Sequential.from_config(model.get_config())
    if model.input_shape is not None:
        made.build(model.input_shape)
    return made


def model_from_json(json_string: str, custom_objects: None = None) -> Sequential:
    """The model that `to_json` described, with new weights, not compiled; nothing in the text is run.

    ValueError for another text, or if `custom_objects` is not None.
    """
    who = "model_from_json"
    _refuse(who, "to_json describes parts of this package alone", custom_objects=custom_objects)
    try:
        described = json.loads(json_string)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{who}: json_string is not JSON ({error}), expected what to_json returned") from error
    if not isinstance(described, dict) or "rnnext" not in described:
        raise ValueError(
            f"{who}: json_string is not from this package's to_json, expected that; interop.from_keras reads Keras's models"
        )
    with damage_in(f"{who}: json_string"):
        model = Sequential.from_config(described["config"])
        if (shape := described["build_config"]["input_shape"]) is not None:
            model.build(check_row_shape("the model", "input_shape", shape))
    return model


def save_model(model: Sequential, filepath: _Path, overwrite: bool = True) -> None:
    """`model.save(filepath, overwrite)`."""
    model.save(filepath, overwrite)


def load_model(
    filepath: _Path,
    custom_objects: None = None,
    compile: bool = True,  # noqa: A002 - Keras's name
    safe_mode: bool = True,
) -> Sequential:
    """The model that `save` wrote, compiled as it was. Nothing in the folder is run, whatever `safe_mode` says.

    FileNotFoundError if there is none, ValueError says what is wrong with it, or that `custom_objects` is not None.
    """
    _refuse("load_model", "a saved model has parts of this package alone", custom_objects=custom_objects)
    names = (saving.CONFIG, saving.WEIGHTS, *([saving.OPTIMIZER] if compile else []))
    return model_from_files(saving.read_folder(filepath, names), filepath, compile=compile)


def model_from_files(files: Mapping[str, bytes], origin: _Path, *, compile: bool = True) -> Sequential:  # noqa: A002
    """The same of the contents of a model's folder, by their names; errors call it `origin`."""
    folder = Path(origin)

    def read(name: str) -> bytes:
        if name not in files:
            raise FileNotFoundError(f"{folder}: has no {name}, which is a part of the model")
        return files[name]

    config = saving.config_from_bytes(read(saving.CONFIG), folder / saving.CONFIG)
    path = folder / saving.WEIGHTS
    weights = saving.arrays_from_bytes(read(saving.WEIGHTS), path)
    # All generators are restored below, so what they are made from need not be drawn from the source that all share.
    with damage_in(folder / saving.CONFIG), _random.seeded(0):
        model = model_to_fill(config, sum(array.size for array in weights.values()))
        compiled = compiled_from(config["compile"]) if compile and config["compile"] is not None else None
    load_weights(model, weights, path)
    restore_generators(model, folder / saving.CONFIG, config)
    if compiled is not None:
        restore_optimizer(model, compiled, folder, config, read)
        model._compiled = compiled
    return model


def model_to_fill(config: Mapping[str, Any], numbers: int) -> Sequential:
    """The model that a file describes, with zeros as weights: they will be set to the file's, which has so many numbers.

    Raises whatever comes of a damaged description: see `damage_in`.
    """
    with initializers.without_drawing(numbers):
        model = Sequential.from_config(config["model"])
        model.build(check_row_shape("the model", "input_shape", config["input_shape"]))
    return model


def _refuse(who: str, why: str, **given: Any) -> None:
    for name, value in given.items():
        if value is not None:
            raise ValueError(f"{who}: {name} is given, expected None: {why}")


def _as_list(callbacks: Sequence[Callback] | Callback | None) -> list[Callback]:
    if callbacks is not None and not isinstance(callbacks, Callback | Iterable):
        raise TypeError(f"callbacks is a {type(callbacks).__name__}, expected a list of Callbacks")
    return [callbacks] if isinstance(callbacks, Callback) else list(callbacks or ())


def _checked_freq(freq: object) -> int | tuple[int, ...]:
    """The same; TypeError or ValueError unless it is a number of epochs from 1 on, or a list of such."""
    if isinstance(freq, Collection) and not isinstance(freq, str):
        return tuple(whole_number("fit", "validation_freq", epoch) for epoch in freq)
    return whole_number("fit", "validation_freq", freq, 1, ", or a list of them")


def _expect_free(path: _Path, overwrite: bool, *, who: str) -> None:
    if not flag(who, "overwrite", overwrite) and os.path.lexists(path):
        raise FileExistsError(f"{who}: {path} is there already and overwrite is False, expected another place")


def _as_keras(found: dict[str, float], return_dict: bool) -> Any:
    values = list(found.values())
    return found if return_dict else values if len(values) > 1 else values[0]
