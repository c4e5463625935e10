"""Sequential: layers one behind the other, trained, measured, used and saved as in Keras 3."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rnnext import _random, layers, losses, metrics, optimizers, saving
from rnnext._inputs import Batch, Rows, Values, labels_of, rows_of, weights_of
from rnnext._progress import Progress, Verbose
from rnnext.callbacks import Callback, History
from rnnext.layers._layer import Backprop, Layer, Shape, assign_all
from rnnext.parameters import Array, Gradient, Parameter

_PREDICT_ROWS = 256  # of a batch, where the caller does not say: results do not depend on it


class Sequential:
    """Layers in a row: `Sequential([Embedding(...), LSTM(...), Dense(...)])`.

    Weights are made as soon as the input's shape is known: from an Embedding or an `Input` at the front, from `build`, or from
    the first data.
    """

    def __init__(self, layers: Sequence[Layer] | None = None, *, name: str = "sequential", trainable: bool = True) -> None:
        self.name = name
        self.trainable = trainable
        self.layers: list[Layer] = []
        self.built = False
        self.stop_training = False
        self.optimizer: optimizers.Optimizer | None = None
        self.loss: losses.Loss | None = None
        self._compiled_metrics: list[Any] = []
        self._metrics: list[metrics.Metric] | None = None  # resolved once the shapes are known
        for layer in layers or ():
            self.add(layer, _build=False)
        self._build_if_known()

    # ------------------------------------------------------------ layers and weights

    def add(self, layer: Layer, *, _build: bool = True) -> None:
        """Put a layer at the end."""
        if not isinstance(layer, Layer):
            raise TypeError(f"{self.name}: add got a {type(layer).__name__}, expected a layer")
        if any(layer is other for other in self.layers):
            raise ValueError(f"{self.name}: {layer.name} is in the model already")
        if getattr(layer, "return_state", False):
            raise ValueError(f"{self.name}: {layer.name} has return_state=True, but a layer of a Sequential has one output")
        taken = {other.name for other in self.layers}
        if layer.given_name is None:
            base, number = layer.name, 0
            while layer.name in taken:
                number += 1
                layer.name = f"{base}_{number}"
        elif layer.name in taken:
            raise ValueError(f"{self.name}: there is a layer named {layer.name!r} already")
        self.layers.append(layer)
        self.built = False
        if _build:
            self._build_if_known()

    def pop(self) -> Layer:
        """Take the last layer away. IndexError if there is none."""
        return self.layers.pop()

    def build(self, input_shape: Shape) -> None:
        """Make all weights for inputs of that shape, batch axis included (None: any size)."""
        shape = tuple(input_shape)
        for layer in self.layers:
            layer.build(shape)
            shape = layer.compute_output_shape(shape)
        self.output_shape = shape
        self.built = True

    def _build_if_known(self) -> None:
        match self.layers[:1]:
            case [layers.InputLayer() as first]:
                self.build((None, *first.shape))
            case [layers.Embedding() as first]:
                self.build((None, first.input_length))

    @property
    def weights(self) -> list[Parameter]:
        return [weight for layer in self.layers for weight in layer.weights]

    @property
    def trainable_weights(self) -> list[Parameter]:
        return [weight for layer in self.layers for weight in layer.trainable_weights] if self.trainable else []

    def count_params(self) -> int:
        """The number of floats in the weights."""
        return sum(layer.count_params() for layer in self.layers)

    def get_weights(self) -> list[Array]:
        """Copies of all weights, layer by layer, in Keras's order and layout."""
        return [array for layer in self.layers for array in layer.get_weights()]

    def set_weights(self, weights: Sequence[npt.ArrayLike]) -> None:
        """Set all weights, layer by layer; if one does not fit, a ValueError says which and nothing has changed."""
        assign_all(self.name, self.weights, weights)

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """The layer of that name or at that place; ValueError if there is none."""
        if index is not None:
            if not -len(self.layers) <= index < len(self.layers):
                raise ValueError(f"{self.name}: index is {index}, expected less than {len(self.layers)}")
            return self.layers[index]
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise ValueError(f"{self.name}: no layer {name!r}, expected one of {', '.join(layer.name for layer in self.layers)}")

    def summary(self, print_fn: Callable[[str], None] = print) -> None:
        """Print layers, output shapes and numbers of parameters."""
        rows = [("Layer (type)", "Output shape", "Param #")]
        shape: Shape | None = None
        for layer in self.layers:
            if isinstance(layer, layers.InputLayer):
                shape = (None, *layer.shape)
            elif shape is None and isinstance(layer, layers.Embedding):
                shape = (None, layer.input_length)
            shape = None if shape is None else layer.compute_output_shape(shape)
            parameters = f"{layer.count_params():,}" if layer.built else "? (unbuilt)"
            rows.append((f"{layer.name} ({type(layer).__name__})", "?" if shape is None else str(shape), parameters))
        widths = [max(len(row[i]) for row in rows) for i in range(3)]
        rule = "-" * (sum(widths) + 4)
        print_fn(f'Model: "{self.name}"')
        for n, (left, middle, right) in enumerate(rows):
            print_fn(f"{left:<{widths[0]}}  {middle:<{widths[1]}}  {right:>{widths[2]}}")
            if n == 0:
                print_fn(rule)
        print_fn(rule)
        trainable = sum(weight.storage.size for weight in self.trainable_weights)
        total = self.count_params()
        print_fn(f"Parameters: {total:,} ({total * 4 / 1e6:.1f} MB), trainable {trainable:,}")

    # ------------------------------------------------------------ one batch

    def _forward(self, batch: Batch, *, training: bool) -> tuple[Array, Callable[[Array], list[Gradient]]]:
        """(y_pred, backprop): the gradient for y_pred turned into those of the trainable weights, in their order."""
        x, mask = batch
        undo: list[Backprop] = []
        for layer, following in zip(self.layers, [*self.layers[1:], None], strict=True):
            if isinstance(layer, layers.Embedding) and following is not None and following.takes_gather:
                y: Any = layer.gather(x)
                backprop = y.backprop
            else:
                y, backprop = layer.forward(x, training=training, mask=mask)
            mask = layer.compute_mask(x, mask)
            undo.append(backprop)
            x = y

        def backward(dy: Array) -> list[Gradient]:
            found: list[list[Gradient]] = []
            upstream: Any = dy
            for backprop in reversed(undo):
                gradients = backprop(upstream)
                found.append(gradients.weights)
                upstream = gradients.inputs
            return [gradient for weights in reversed(found) for gradient in weights]

        return x, backward

    def _infer(self, batch: Batch) -> Array:
        """y_pred, with nothing kept for a backward pass."""
        x, mask = batch
        for layer, following in zip(self.layers, [*self.layers[1:], None], strict=True):
            gathers = isinstance(layer, layers.Embedding) and following is not None and following.takes_gather
            y = layer.gather(x) if gathers else layer(x, mask=mask)  # type: ignore[attr-defined]
            mask = layer.compute_mask(x, mask)
            x = y
        result: Array = x
        return result

    def __call__(self, x: Any, *, training: bool = False, mask: npt.NDArray[np.bool_] | None = None) -> Array:
        """y_pred for one batch x."""
        rows = rows_of(x, who=self.name)
        batch = rows.batch(slice(None))
        batch = batch if mask is None else Batch(batch.x, mask)
        self._build_for(rows)
        return self._forward(batch, training=True)[0] if training else self._infer(batch)

    def _train_step(self, batch: Batch, y: Values, weights: Array | None) -> tuple[float, Array]:
        optimizer, loss = self._compiled()
        y_pred, backprop = self._forward(batch, training=True)
        value, dloss = loss.forward(y, y_pred, weights)
        optimizer.apply(backprop(dloss()), self.trainable_weights)
        return value, y_pred

    # ------------------------------------------------------------ compile, fit, evaluate, predict

    def compile(
        self,
        optimizer: str | Mapping[str, Any] | optimizers.Optimizer = "rmsprop",
        loss: Any = None,
        metrics: Sequence[Any] | None = None,
    ) -> None:
        """Say how to train: an optimizer, a loss and what else to measure, each by name or as an object."""
        if loss is None:
            raise ValueError(f"{self.name}: loss is None, expected a loss, as 'binary_crossentropy'")
        if isinstance(metrics, str):
            raise TypeError(f"{self.name}: metrics is {metrics!r}, expected a list, as [{metrics!r}]")
        self.optimizer, self.loss = optimizers.get(optimizer), losses.get(loss)
        self._compiled_metrics, self._metrics = list(metrics or ()), None

    def _compiled(self) -> tuple[optimizers.Optimizer, losses.Loss]:
        if self.optimizer is None or self.loss is None:
            raise ValueError(f"{self.name}: not compiled yet, call compile(optimizer=..., loss=...) first")
        return self.optimizer, self.loss

    @property
    def metrics_names(self) -> list[str]:
        return ["loss", *(metric.name for metric in self._metrics or ())]

    def fit(
        self,
        x: Any,
        y: Any,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: Verbose = "auto",
        callbacks: Sequence[Callback] | None = None,
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

        x is an array [N, ...] or a list of sequences of different length (ids, or vectors [T, I]); y has an entry for each row.
        The last `validation_split` of the rows, or `validation_data` (x, y[, sample_weight]), are measured after each epoch.
        Batches of 32 unless `batch_size` says otherwise. What does not fit is said before anything is changed.
        """
        self._compiled()
        rows = rows_of(x, who="fit")
        labels = labels_of(y, len(rows), who="fit")
        weights = weights_of(sample_weight, class_weight, labels, who="fit")
        size = _batch_size(batch_size, 32)
        index = np.arange(len(rows))
        validation = None
        if validation_data is not None:
            if not isinstance(validation_data, tuple | list) or len(validation_data) not in (2, 3):
                raise ValueError("fit: validation_data has another form than (x, y) or (x, y, sample_weight)")
            val_rows = rows_of(validation_data[0], who="fit", name="validation_data[0]")
            val_labels = labels_of(validation_data[1], len(val_rows), who="fit", name="validation_data[1]")
            val_weights = weights_of(validation_data[2] if len(validation_data) == 3 else None, None, val_labels, who="fit")
            validation = (val_rows, val_labels, val_weights, np.arange(len(val_rows)))
        elif validation_split:
            if not 0 < validation_split < 1:
                raise ValueError(f"fit: validation_split is {validation_split}, expected 0 to 1")
            kept = int(len(rows) * (1 - validation_split))
            if kept in (0, len(rows)):
                raise ValueError(f"fit: validation_split {validation_split} of {len(rows)} rows leaves one part empty")
            validation = (rows, labels, weights, index[kept:])
            index = index[:kept]
        self._build_for(rows)
        self._check_data(rows, labels, who="fit")
        if validation is not None:
            self._check_data(validation[0], validation[1], who="fit")
        measured = self._resolved_metrics(labels)

        history = History()
        watchers = [history, *(callbacks or ())]
        for watcher in watchers:
            watcher.set_model(self)
            watcher.set_params({"epochs": epochs, "steps": -(-len(index) // size), "verbose": verbose})
            watcher.on_train_begin()
        self.stop_training = False
        order = _random.generator()
        logs: dict[str, float] = {}
        for epoch in range(initial_epoch, epochs):
            for watcher in watchers:
                watcher.on_epoch_begin(epoch)
            shuffled = order.permutation(index) if shuffle else index
            total = metrics.Mean("loss")
            for metric in measured:
                metric.reset_state()
            with Progress(f"Epoch {epoch + 1}/{epochs}", -(-len(index) // size), verbose) as progress:
                for step, chosen in enumerate(_batches(shuffled, size)):
                    for watcher in watchers:
                        watcher.on_train_batch_begin(step)
                    batch_weights = None if weights is None else weights[chosen]
                    value, y_pred = self._train_step(rows.batch(chosen), labels[chosen], batch_weights)
                    total.update_state(value, sample_weight=len(chosen))
                    for metric in measured:
                        metric.update_state(labels[chosen], y_pred, batch_weights)
                    now = _results([total, *measured]) if len(watchers) > 1 or progress.showing else None
                    for watcher in watchers:
                        watcher.on_train_batch_end(step, now)
                    progress.step(now)
                    if self.stop_training:
                        break
                logs = _results([total, *measured])
                if validation is not None:
                    found = self._measure(*validation, _batch_size(validation_batch_size, size))
                    logs |= {f"val_{name}": value for name, value in found.items()}
                for watcher in watchers:
                    watcher.on_epoch_end(epoch, logs)
                progress.finish(logs)
            if self.stop_training:
                break
        for watcher in watchers:
            watcher.on_train_end(logs)
        return history

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
        rows = rows_of(x, who="evaluate")
        labels = labels_of(y, len(rows), who="evaluate")
        weights = weights_of(sample_weight, None, labels, who="evaluate")
        self._compiled()
        self._build_for(rows)
        self._check_data(rows, labels, who="evaluate")
        size = _batch_size(batch_size, _PREDICT_ROWS)
        with Progress("evaluate", -(-len(rows) // size), verbose) as progress:
            found = self._measure(rows, labels, weights, np.arange(len(rows)), size, progress)
            progress.finish(found)
        return _as_keras(found, return_dict)

    def _measure(
        self,
        rows: Rows,
        labels: Values,
        weights: Array | None,
        index: npt.NDArray[np.int64],
        size: int,
        progress: Progress | None = None,
    ) -> dict[str, float]:
        _, loss = self._compiled()
        total, measured = metrics.Mean("loss"), self._resolved_metrics(labels)
        for metric in measured:
            metric.reset_state()
        for chosen in _batches(index, size):
            batch_weights = None if weights is None else weights[chosen]
            y_pred = self._infer(rows.batch(chosen))
            total.update_state(loss(labels[chosen], y_pred, batch_weights), sample_weight=len(chosen))
            for metric in measured:
                metric.update_state(labels[chosen], y_pred, batch_weights)
            if progress is not None:
                progress.step()
        return _results([total, *measured])

    def predict(self, x: Any, batch_size: int | None = None, verbose: Verbose = "auto") -> Any:
        """y_pred for all rows of x, in x's order.

        An array; for a list of sequences and a model with an output for each step, a list of arrays [T_n, ...].
        """
        rows = rows_of(x, who="predict")
        self._build_for(rows)
        size = _batch_size(batch_size, _PREDICT_ROWS)
        by_length = np.argsort(rows.lengths(), kind="stable") if rows.offsets is not None else np.arange(len(rows))
        parts: list[Array] = []
        with Progress("predict", -(-len(rows) // size), verbose if verbose != "auto" else 1) as progress:
            progress.lines = False
            for chosen in _batches(by_length, size):
                parts.append(self._infer(rows.batch(chosen)))
                progress.step()
        if rows.offsets is None:
            return np.concatenate(parts)
        lengths = rows.lengths()
        ordered: list[Any] = [None] * len(rows)
        for place, row in zip(by_length, (row for part in parts for row in part), strict=True):
            ordered[place] = row
        if parts[0].ndim > 2:
            return [row[:length] for row, length in zip(ordered, lengths, strict=True)]
        return np.stack(ordered)

    def train_on_batch(
        self,
        x: Any,
        y: Any,
        sample_weight: Any = None,
        class_weight: Mapping[int, float] | None = None,
        *,
        return_dict: bool = False,
    ) -> Any:
        """One step on one batch: its loss and metrics as `evaluate` gives them, before the update."""
        rows = rows_of(x, who="train_on_batch")
        labels = labels_of(y, len(rows), who="train_on_batch")
        weights = weights_of(sample_weight, class_weight, labels, who="train_on_batch")
        self._build_for(rows)
        value, y_pred = self._train_step(rows.batch(slice(None)), labels, weights)
        measured = self._resolved_metrics(labels)
        for metric in measured:
            metric.reset_state()
            metric.update_state(labels, y_pred, weights)
        return _as_keras({"loss": value, **_results(measured)}, return_dict)

    def test_on_batch(self, x: Any, y: Any, sample_weight: Any = None, *, return_dict: bool = False) -> Any:
        """Loss and metrics of one batch."""
        return self.evaluate(x, y, len(y), 0, sample_weight, return_dict=return_dict)

    def predict_on_batch(self, x: Any) -> Any:
        """y_pred of one batch."""
        return self.predict(x, len(x), 0)

    # ------------------------------------------------------------ checks

    def _build_for(self, rows: Rows) -> None:
        if not self.layers:
            raise ValueError(f"{self.name}: there are no layers yet")
        if not self.built:
            self.build((None, *rows.row_shape))

    def _check_data(self, rows: Rows, labels: Values, *, who: str) -> None:
        """Ids, and labels for the output's shape, before the first step changes anything."""
        first = next((layer for layer in self.layers if not isinstance(layer, layers.InputLayer)), None)
        if isinstance(first, layers.Embedding) and rows.flat.size:
            first.check_ids(rows.flat if rows.offsets is None else rows.flat[None])
        output = tuple(size or 1 for size in self.output_shape[1:])
        if len(output) == 1:
            _, loss = self._compiled()
            loss(labels, np.full((len(labels), *output), 1 / max(output[-1], 2), np.float32))

    def _resolved_metrics(self, labels: Values) -> list[metrics.Metric]:
        if self._metrics is None:
            shape = tuple(size or 1 for size in self.output_shape[1:])
            self._metrics = [
                metrics.resolve(metric, self._compiled()[1], labels.shape, (len(labels), *shape))
                for metric in self._compiled_metrics
            ]
        return self._metrics

    # ------------------------------------------------------------ saving

    def get_config(self) -> dict[str, Any]:
        """Name and layers, as JSON can hold them."""
        return {"name": self.name, "layers": [layers.serialize(layer) for layer in self.layers]}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Sequential:
        """A model, without weights unless its first layer tells the input's shape, as `get_config` described it."""
        return cls([layers.deserialize(layer) for layer in config["layers"]], name=config["name"])

    def save(
        self,
        filepath: str | os.PathLike[str],
        *,
        include_optimizer: bool = True,
        extras: Mapping[str, bytes] | None = None,
    ) -> None:
        """Write a folder with config.json, model.safetensors and the optimizer's state, in place of a model that is there.

        `extras` are further files by name, written in the same stroke. ValueError if the model has no weights yet.
        """
        if not self.built:
            raise ValueError(f"{self.name}: has no weights yet, call build or fit first")
        config: dict[str, Any] = {"model": self.get_config(), "input_shape": _first_shape(self), "compile": None}
        files = dict(extras or {})
        for name in (saving.CONFIG, saving.WEIGHTS, saving.OPTIMIZER):
            if name in files:
                raise ValueError(f"save: extras has {name!r}, which is the model's own")
        files[saving.WEIGHTS] = saving.arrays_to_bytes({weight.name: weight.value for weight in self.weights})
        if self.optimizer is not None and self.loss is not None:
            config["compile"] = {
                "optimizer": optimizers.serialize(self.optimizer),
                "loss": losses.serialize(self.loss),
                "metrics": [m if isinstance(m, str) else metrics.serialize(m) for m in self._compiled_metrics],
            }
            if include_optimizer and self.optimizer.iterations:
                files[saving.OPTIMIZER] = saving.arrays_to_bytes(self.optimizer.state())
        files[saving.CONFIG] = saving.config_to_bytes(config)
        saving.write_folder(filepath, files)

    def save_weights(self, filepath: str | os.PathLike[str]) -> None:
        """Write the weights alone, as a safetensors file."""
        saving.write_file(filepath, saving.arrays_to_bytes({weight.name: weight.value for weight in self.weights}))

    def load_weights(self, filepath: str | os.PathLike[str]) -> None:
        """Read what `save_weights` wrote, or a model folder's weights; nothing has changed if they do not fit."""
        path = Path(filepath)
        self._assign_from(path / saving.WEIGHTS if path.is_dir() else path)

    def _assign_from(self, path: Path) -> None:
        found = saving.arrays_from_file(path)
        saving.check_arrays(path, found, {weight.name: weight.shape for weight in self.weights})
        for weight in self.weights:
            weight.assign(found[weight.name])


def load_model(filepath: str | os.PathLike[str]) -> Sequential:
    """The model that `save` wrote, compiled as it was. Nothing in the folder is run; ValueError says what is wrong with it."""
    folder = Path(filepath)
    config = saving.read_config(folder)
    try:
        model = Sequential.from_config(config["model"])
        if not model.built:
            model.build(tuple(config["input_shape"]))
        compiled = config["compile"]
        if compiled is not None:
            model.compile(
                optimizers.get(compiled["optimizer"]),
                losses.get(compiled["loss"]),
                [m if isinstance(m, str) else metrics.get(m) for m in compiled["metrics"]],
            )
    except (KeyError, TypeError) as error:
        raise ValueError(f"{folder / saving.CONFIG}: damaged ({type(error).__name__}: {error})") from error
    model._assign_from(folder / saving.WEIGHTS)
    if model.optimizer is not None and (folder / saving.OPTIMIZER).is_file():
        model.optimizer.load_state(saving.arrays_from_file(folder / saving.OPTIMIZER), model.trainable_weights)
    return model


def _first_shape(model: Sequential) -> list[int | None]:
    """The shape that the first layer was built for, as far as its weights tell."""
    first = model.layers[0]
    if isinstance(first, layers.InputLayer):
        return [None, *first.shape]
    if isinstance(first, layers.Embedding):
        return [None, first.input_length]
    weighted = next((layer for layer in model.layers if layer.weights), None)
    features = None if weighted is None else weighted.weights[0].shape[0]
    return [None, features] if isinstance(weighted, layers.Dense) else [None, None, features]


def _batch_size(given: int | None, default: int) -> int:
    if given is None:
        return default
    if isinstance(given, bool) or not isinstance(given, int | np.integer):
        raise TypeError(f"batch_size is {given!r}, expected a whole number")
    if given < 1:
        raise ValueError(f"batch_size is {given}, expected at least 1")
    return int(given)


def _batches(index: npt.NDArray[np.int64], size: int) -> Iterator[npt.NDArray[np.int64]]:
    for begin in range(0, len(index), size):
        yield index[begin : begin + size]


def _results(measured: Sequence[metrics.Metric]) -> dict[str, float]:
    return {metric.name: metric.result() for metric in measured}


def _as_keras(found: dict[str, float], return_dict: bool) -> Any:
    values = list(found.values())
    return found if return_dict else values if len(values) > 1 else values[0]
