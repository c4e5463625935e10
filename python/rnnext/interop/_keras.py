"""Keras 3: a live model, a .keras file, or the .weights.h5 file of a model.

Weights have the same layout on both sides. Reading a file needs h5py, which comes with Keras, and runs nothing in it; Keras
itself is imported only to make a Keras model.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import json
import math
import os
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from rnnext import constraints, initializers, layers, regularizers, saving
from rnnext.interop._weights import (
    Tensors,
    cell_weights,
    expect_convertible,
    is_recurrent,
    layer_values,
    leaves,
    listed,
    needed,
    weighted_layers,
)
from rnnext.layers import Bidirectional, Layer, TimeDistributed
from rnnext.layers._layer import _snake_case
from rnnext.layers._wrapper import own_name
from rnnext.models import Sequential
from rnnext.ops import CellWeights
from rnnext.parameters import Array

_Path: TypeAlias = str | os.PathLike[str]

_MOST_UNPACKED = 100  # times a .keras file's size: Keras does not compress it, and trained weights hardly get smaller
_DAMAGED_ZIP = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    OSError,
    RuntimeError,
    OverflowError,
    KeyError,
    TypeError,
    AttributeError,
    UnicodeDecodeError,
    json.JSONDecodeError,
)
_OURS_ALONE = {"AttentionPooling1D", "BigramEmbedding", "Branches", "ConcatPooling1D"}
# Options of Keras's layers that need no counterpart here: with any value, or with a value that changes nothing.
_ANYTHING = {"unroll", "use_cudnn", "seed", "sparse", "optional", "ragged", "batch_shape", "batch_input_shape"}
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "dtype": (None, "float32", "int32", "int64"),
    "activation": ("tanh",),
    "recurrent_activation": ("sigmoid",),
    "dropout": (0,),
    "recurrent_dropout": (0,),
    "stateful": (False,),
    "zero_output_for_mask": (False,),
    "data_format": (None, "channels_last"),
}


class _Described(NamedTuple):
    """A layer as Keras describes it."""

    kind: str
    config: Mapping[str, Any]


class _Source(NamedTuple):
    """What was read of a model: its layers, if they are known, and its arrays by their names in Keras's files.

    Of a file the arrays are not read yet: they have shape and type, and no memory.
    """

    name: str
    what: str
    described: list[_Described] | None
    arrays: dict[str, npt.NDArray[Any]]
    content: bytes | None = None  # the HDF5 file


def from_keras(source: Any, model: Sequential | None = None) -> Sequential:
    """A model with the layers and weights of a Keras Sequential: the live object, a .keras file, or a .weights.h5 file.

    With `model` its weights are set, and it is returned; a .weights.h5 file needs one, as it does not describe layers. Without,
    new layers are made, without Keras's initializers. ValueError for a layer or an option that has no counterpart here, and for
    weights that are missing, left over, or of another shape or kind of layer; then nothing has changed.
    """
    who = "from_keras"
    found = _read(who, source)
    if model is not None:
        weighted_layers(who, model)
        for layer in model.layers:
            _expect_of_keras(who, layer)
        with _damage_in_layers(found):
            _expect_same_layers(who, found, model)
    else:
        with _damage_in_layers(found):
            model = _model_of(who, found)
    places = [
        (leaf, names)
        for layer, group in zip(model.layers, _groups([type(layer).__name__ for layer in model.layers]), strict=True)
        for leaf, names in zip(leaves(layer), _file_names(group, layer), strict=True)
    ]
    tensors = Tensors(who, found.what, _arrays_for(who, found, places))
    values: list[Array] = []
    for leaf, names in places:
        arrays = [tensors.get(name, None) for name in names]
        if is_recurrent(leaf):
            arrays = layer_values(who, names[0], leaf, CellWeights(*arrays))
        values += arrays
    tensors.expect_all_asked()
    model.set_weights(values)
    return model


def to_keras(model: Sequential, path: _Path | None = None, *, batch_size: int | None = None) -> Any:
    """The same model as a keras.Sequential, written to `path` if there is one: FILE.keras, or FILE.weights.h5 for the weights.

    What only concerns training here (`segment`, `truncate`, weight drop, initializers) is left out; `update_gate="write"` is
    converted exactly, by negating the update gate. For a row without tokens Keras's masked average is NaN instead of 0.
    `batch_size` fixes the batch, as Keras requires for `stateful` layers, if the model's `Input` does not do so. ValueError,
    and nothing is written, for what Keras computes differently behind `mask_zero`: a GlobalMaxPooling1D, since Keras's ignores
    the mask, and layers that read the mask of a layer with `go_backwards` and `return_sequences`, which Keras does not reverse.
    """
    who = "to_keras"
    weighted_layers(who, model)
    if path is not None and not str(path).endswith((".keras", ".weights.h5")):
        raise ValueError(f"{who}: path is {str(path)!r}, expected FILE.keras or FILE.weights.h5")
    for layer in model.layers:
        _expect_of_keras(who, layer)
    _expect_same_masks(who, [_Described(type(layer).__name__, layer.get_config()) for layer in model.layers])
    keras = needed("keras")

    made, values = [], list[Array]()
    for layer in model._layers:
        if isinstance(layer, layers.InputLayer):
            batch_size = batch_size or layer.batch_size
            made.append(keras.Input(layer.shape, batch_size, dtype=layer.dtype, name=layer.name))
            continue
        made.append(_keras_layer(who, layer))
        for leaf in leaves(layer):
            if getattr(leaf, "stateful", False) and batch_size is None:
                raise ValueError(
                    f"{who}: {leaf.name} has stateful=True, for which Keras wants a fixed batch, expected batch_size"
                )
            values += [w for w in cell_weights(leaf) if w is not None] if is_recurrent(leaf) else leaf.get_weights()
    theirs = keras.Sequential(made, name=model.name)
    if not theirs.built:
        theirs.build((batch_size, *(model.input_shape or ())[1:]))
    theirs.set_weights(values)
    if path is not None:
        with tempfile.TemporaryDirectory() as scratch:
            written = Path(scratch, "model.keras" if str(path).endswith(".keras") else "model.weights.h5")
            theirs.save(written) if written.suffix == ".keras" else theirs.save_weights(written)
            saving.write_file(path, written.read_bytes())
    return theirs


def _keras_layer(who: str, layer: Layer, name: str | None = None) -> Any:
    """The same layer as a Keras layer, without weights. ValueError if there is none."""
    keras = needed("keras")

    kind = getattr(keras.layers, type(layer).__name__)
    if isinstance(layer, TimeDistributed):
        return kind(_keras_layer(who, layer.layer, own_name(layer.layer)), name=layer.name, trainable=layer.trainable)
    if isinstance(layer, Bidirectional):
        directions = [_keras_layer(who, part, own_name(part)) for part in layer.parts]
        options = {"merge_mode": layer.merge_mode, "name": layer.name, "trainable": layer.trainable}
        return kind(directions[0], backward_layer=directions[1], **options)
    known, config = _arguments(kind), layer.get_config()
    expect_convertible(who, layer, known)
    chosen = {option: value for option, value in config.items() if option in known and "initializer" not in option}
    if "zero_output_for_mask" in chosen:  # Keras's has another meaning without return_sequences
        chosen["zero_output_for_mask"] &= chosen["return_sequences"]
    for option, value in chosen.items():
        if isinstance(value, dict):
            module = keras.regularizers if option.endswith("regularizer") else keras.constraints
            chosen[option] = getattr(module, value["class_name"])(**value["config"])
    return kind(**{**chosen, "name": name or layer.name})


# ---------------------------------------------------------------- reading


def _read(who: str, source: Any) -> _Source:
    if not isinstance(source, str | os.PathLike):
        if not hasattr(source, "get_config") or not hasattr(source, "layers"):
            raise TypeError(
                f"{who}: source is a {type(source).__name__}, expected a Keras model or a .keras or .weights.h5 file"
            )
        return _read_live(who, source)
    path = Path(source)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    if not zipfile.is_zipfile(path):
        if path.suffix == ".keras":
            raise ValueError(f"{path}: not a .keras file, or a damaged one (no zip archive)")
        content = path.read_bytes()
        return _Source(path.name, str(path), None, _unread_arrays_of(path, content), content)
    try:
        with zipfile.ZipFile(path) as archive:
            most = _MOST_UNPACKED * path.stat().st_size
            for name in ("config.json", "model.weights.h5"):
                if archive.getinfo(name).file_size > most:
                    raise ValueError(
                        f"{path}: {name} has {archive.getinfo(name).file_size} bytes unpacked, expected at most"
                        f" {_MOST_UNPACKED} times as many as the file, {most}"
                    )
            config = json.loads(archive.read("config.json"))
            content = archive.read("model.weights.h5")
        if config["class_name"] != "Sequential":
            raise ValueError(f"{who}: {path} holds a {config['class_name']}, expected a Sequential")
        described = [_Described(layer["class_name"], layer["config"]) for layer in config["config"]["layers"]]
        name = config["config"]["name"]
    except _DAMAGED_ZIP as error:
        raise ValueError(f"{path}: not a .keras file, or a damaged one ({type(error).__name__}: {error})") from error
    return _Source(name, str(path), described, _unread_arrays_of(path, content), content)


@contextlib.contextmanager
def _damage_in_layers(found: _Source) -> Iterator[None]:
    """Turn what a damaged description of layers raises, beside ValueErrors, into a ValueError that names the file."""
    try:
        yield
    except (LookupError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(f"{found.what}: its layers are damaged ({type(error).__name__}: {error})") from error


@contextlib.contextmanager
def _opened(path: Path | str, content: bytes) -> Iterator[Any]:
    """The HDF5 file. Whatever is raised in the block, by what is damaged in it, becomes a ValueError that names the file."""
    h5py = needed("h5py")

    try:
        with h5py.File(io.BytesIO(content), "r") as file:
            yield file
    except (OSError, RuntimeError, LookupError, TypeError, ValueError, ArithmeticError, MemoryError) as error:
        raise ValueError(f"{path}: not a Keras weights file, or a damaged one ({error})") from error


def _unread_arrays_of(path: Path, content: bytes) -> dict[str, npt.NDArray[Any]]:
    """What has the shapes and types of all layers' weights in an HDF5 file, by their paths, and takes no memory.

    Without an optimizer's state and seeds. ValueError for weights that are not in the file itself.
    """
    h5py = needed("h5py")

    arrays: dict[str, npt.NDArray[Any]] = {}

    def keep(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and name.startswith("layers/") and "seed_generator" not in name:
            # Also what is shorter than its shape says, or a chunk of gigabytes for a few numbers.
            stored = item.id.get_storage_size() == item.nbytes
            if item.external or item.is_virtual or not (stored if item.chunks is None else _is_chunked_well(item)):
                raise ValueError(f"{name}, of shape {item.shape}, is not stored in the file itself")
            arrays[name] = np.broadcast_to(np.zeros((), item.dtype), item.shape)

    with _opened(path, content) as file:
        file.visititems(keep)
    return arrays


def _is_chunked_well(dataset: Any) -> bool:
    size = int(math.prod(dataset.chunks) * dataset.dtype.itemsize)
    return size <= max(int(dataset.nbytes), 1 << 20)


def _arrays_for(who: str, found: _Source, places: Sequence[tuple[Layer, Sequence[str]]]) -> dict[str, npt.NDArray[Any]]:
    """The arrays of `found`; from a file those are read that are weights of the layers with these names, the others are not.

    ValueError, before anything is read, if one has another shape than the weight.
    """
    wanted = dict[str, npt.NDArray[Any]]()
    for leaf, names in places:
        for name, weight in zip(names, leaf.weights, strict=True):
            if name in found.arrays:
                wanted[name] = found.arrays[name]
                if wanted[name].shape != weight.shape:
                    raise ValueError(f"{who}: {name} has shape {wanted[name].shape}, expected {weight.shape} of {weight.name}")
    if found.content is None:
        return found.arrays
    with _opened(found.what, found.content) as file:
        read = {name: np.asarray(file[name]) for name, array in wanted.items() if array.dtype.kind == "f"}
    return found.arrays | read


def _read_live(who: str, source: Any) -> _Source:
    if type(source).__name__ != "Sequential":
        raise ValueError(f"{who}: source is a {type(source).__name__}, expected a Sequential")
    described = [_Described(layer["class_name"], layer["config"]) for layer in source.get_config()["layers"]]
    arrays: dict[str, npt.NDArray[Any]] = {}
    for layer, group in zip(source.layers, _groups([type(layer).__name__ for layer in source.layers]), strict=True):
        for prefix, leaf in _keras_leaves(group, layer):
            arrays |= {f"{prefix}/{n}": array for n, array in enumerate(leaf.get_weights())}
    return _Source(source.name, f"the Keras model {source.name}", described, arrays)


def _groups(kinds: Sequence[str]) -> list[str]:
    """Each layer's group in a Keras file: the class's name, numbered from its second layer on; "" for the input."""
    counts: dict[str, int] = {}
    found = []
    for kind in kinds:
        name = _snake_case(kind)
        number = counts.get(name, 0)
        counts[name] = number + 1
        found.append("" if kind == "InputLayer" else f"layers/{name}_{number}" if number else f"layers/{name}")
    return found


def _keras_leaves(group: str, layer: Any) -> list[tuple[str, Any]]:
    """The parts of a layer, Keras's or ours, that have weights of their own, each with the prefix of its names in a file."""
    kind = type(layer).__name__
    if kind == "Bidirectional":
        return [
            one
            for part in ("forward_layer", "backward_layer")
            for one in _keras_leaves(f"{group}/{part}", getattr(layer, part))
        ]
    if kind == "TimeDistributed":
        return _keras_leaves(f"{group}/layer", layer.layer)
    return [(f"{group}/cell/vars" if kind in ("LSTM", "GRU") else f"{group}/vars", layer)]


def _file_names(group: str, layer: Layer) -> list[list[str]]:
    """The names, in a Keras file, of the weights of each part that has weights of its own."""
    return [[f"{prefix}/{n}" for n in range(len(leaf.weights))] for prefix, leaf in _keras_leaves(group, layer)]


# ---------------------------------------------------------------- layers and their options


def _model_of(who: str, found: _Source) -> Sequential:
    if found.described is None:
        raise ValueError(f"{who}: {found.what} holds weights alone, expected model=, a Sequential to put them in")
    _expect_same_masks(who, found.described)
    described = found.described
    # Keras adds an Input by itself, but an Embedding takes any number of steps; not so where all of them go to one Dense.
    added = [one.kind for one in described[:2]] == ["InputLayer", "Embedding"]
    made = [_layer_of(who, one) for one in described]
    try:
        with initializers.without_drawing(sum(array.size for array in found.arrays.values())):
            model = Sequential(made[1:] if added else made, name=found.name)
            if added and not model.built:
                model = Sequential([_layer_of(who, one) for one in described], name=found.name)
    except ValueError as error:
        raise ValueError(f"{who}: {found.what}: {error}") from error
    if not model.built:
        raise ValueError(f"{who}: {found.what} does not tell the shape of its input")
    return model


def _layer_of(who: str, described: _Described) -> Layer:
    """Our layer with Keras's options. ValueError names a layer or an option that we do not have."""
    kind, config = described
    name = f"{config.get('name', kind)} ({kind})"
    if kind not in _kinds():
        raise ValueError(f"{who}: {name} has no counterpart here; {', '.join(_kinds())} have one")
    ours: type[Layer] = getattr(layers, kind)
    if kind == "InputLayer":
        batch_size, *shape = config["batch_shape"]
        return layers.InputLayer(shape, batch_size=batch_size, dtype=config.get("dtype"), name=config["name"])
    if config.get("zero_output_for_mask") and not config.get("return_sequences"):
        raise ValueError(
            f"{who}: {name} has zero_output_for_mask=True without return_sequences, for which Keras returns 0 where the last"
            " step is masked; here it does nothing then"
        )
    known, chosen = _arguments(ours), dict[str, Any]()
    for option, value in config.items():
        if option in known and "initializer" not in option and option != "dtype":
            chosen[option] = _value_of(who, f"{name} has {option}", option, value)
        elif not _changes_nothing(option, value):
            raise ValueError(f"{who}: {name} has {option}={value!r}, which has no counterpart here")
    try:
        return ours(**chosen)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{who}: {name}: {error}") from error


def _value_of(who: str, what: str, option: str, value: Any) -> Any:
    """The value of an option here. A regularizer, a constraint or a layer comes as a dict."""
    if not isinstance(value, dict):
        return value
    try:
        if option.endswith("regularizer"):
            return regularizers.get(value)
        if option.endswith("constraint"):
            return constraints.get(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{who}: {what}={value}, which cannot be converted: {error}") from error
    if option in ("layer", "backward_layer"):
        return _layer_of(who, _Described(value["class_name"], value["config"]))
    raise ValueError(f"{who}: {what}={value}, which cannot be converted")


def _kinds() -> list[str]:
    """The names of the layers that both rnnext and Keras have."""
    known = {name: getattr(layers, name) for name in layers.__all__ if name not in _OURS_ALONE}
    return [name for name, kind in known.items() if isinstance(kind, type) and issubclass(kind, Layer) and kind is not Layer]


def _expect_of_keras(who: str, layer: Layer) -> None:
    """ValueError for a layer that Keras does not have."""
    if type(layer).__name__ not in _kinds():
        raise ValueError(
            f"{who}: {layer.name} is a {type(layer).__name__}, which has no counterpart in Keras; {', '.join(_kinds())} have"
            " one, and to_onnx writes the others too"
        )
    if isinstance(layer, TimeDistributed):
        _expect_of_keras(who, layer.layer)


def _changes_nothing(option: str, value: Any) -> bool:
    if option in _ANYTHING or "initializer" in option or value is None:
        return True
    if option == "dtype" and isinstance(value, dict):  # a policy
        value = value.get("config", {}).get("name")
    return option in _NEUTRAL and value in _NEUTRAL[option]


def _arguments(kind: Any) -> set[str]:
    """The arguments of a layer's constructor, including those that it passes on to its base class."""
    names = set[str]()
    for base in inspect.getmro(kind):
        if "__init__" in vars(base) and base is not object:
            parameters = inspect.signature(vars(base)["__init__"]).parameters.values()
            names |= {p.name for p in parameters if p.kind is not p.VAR_KEYWORD}
            if not any(p.kind is p.VAR_KEYWORD for p in parameters):
                break
    return names - {"self"}


def _expect_same_layers(who: str, found: _Source, model: Sequential) -> None:
    """ValueError if a layer that has weights is of another kind or computes something else."""
    if found.described is None:
        return
    theirs = [leaf for one in found.described for leaf in _leaves(one) if leaf.kind in ("Embedding", "LSTM", "GRU", "Dense")]
    ours = [leaf for layer in weighted_layers(who, model) for leaf in leaves(layer)]
    if len(theirs) != len(ours):
        raise ValueError(
            f"{who}: {found.what} has {len(theirs)} layers with weights ({listed(one.kind for one in theirs)}), expected"
            f" {len(ours)}: {listed(layer.name for layer in ours)}"
        )
    for (kind, config), layer in zip(theirs, ours, strict=True):
        mine = layer.get_config()
        if kind != type(layer).__name__:
            raise ValueError(f"{who}: {config.get('name')} is a {kind}, expected {type(layer).__name__} as {layer.name}")
        for option in ("units", "input_dim", "output_dim", "use_bias", "reset_after", "go_backwards", "mask_zero"):
            if option in mine and option in config and mine[option] != config[option]:
                raise ValueError(
                    f"{who}: {config.get('name')} has {option}={config[option]!r}, expected {mine[option]!r} as {layer.name}"
                )


def _leaves(described: _Described) -> list[_Described]:
    """The parts that have weights of their own."""
    if described.kind not in ("Bidirectional", "TimeDistributed"):
        return [described]
    parts = [described.config[name] for name in ("layer", "backward_layer") if described.config.get(name)]
    return [leaf for part in parts for leaf in _leaves(_Described(part["class_name"], part["config"]))]


def _expect_same_masks(who: str, described: Sequence[_Described]) -> None:
    """ValueError where a Keras layer treats a mask differently from the layer here."""
    masked, turned = "", ""  # by whom
    for kind, config in described:
        name = config.get("name", kind)
        if kind in ("Flatten", "RepeatVector"):  # whose output has none
            masked, turned = "", ""
        if masked and kind in ("GlobalMaxPooling1D", "Masking"):
            why = "Keras's does not look at the mask"
        elif turned and kind in ("LSTM", "GRU", "Bidirectional", "GlobalAveragePooling1D"):
            name, why = (
                turned,
                "Keras hands the mask of a layer with go_backwards on as it came, not turned round as its outputs",
            )
        else:
            if masked and config.get("go_backwards") and config.get("return_sequences"):
                turned = name
            if kind == "Masking" or (kind == "Embedding" and config.get("mask_zero")):
                masked = "mask_zero=True" if kind == "Embedding" else name
            continue
        raise ValueError(f"{who}: {name} is behind {masked}, which cannot be converted exactly: {why}")
