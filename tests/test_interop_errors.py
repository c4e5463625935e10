"""What each function of `interop` says of what does not fit: which tensor, what shape, what was expected; nothing half-loaded.

The tests of each framework have more of these, beside what fits.
"""

from __future__ import annotations

import io
import os
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from interop_cases import assert_refused

from rnnext import Sequential, interop, saving
from rnnext.layers import GRU, LSTM, Dense, Embedding, Input

D, H, V = 5, 7, 30


def model_of(kind: Any = LSTM) -> Sequential:
    model = Sequential([Embedding(V, D, name="words"), kind(H, name="rnn"), Dense(1, name="head")])
    rng = np.random.default_rng(0)
    model.set_weights([rng.standard_normal(w.shape) for w in model.weights])
    return model


def cells(kind: str) -> list[Any]:
    gates = 4 if kind == "lstm" else 3
    bias = (4 * H,) if kind == "lstm" else (2, 3 * H)
    return [tuple(np.ones(shape, np.float32) for shape in ((D, gates * H), (H, gates * H), bias))]


# ---------------------------------------------------------------- what writes


WRITERS: dict[str, Callable[[Any, Path], object]] = {
    "to_onnx": lambda model, path: interop.to_onnx(model, path / "a.onnx"),
    "to_torch": lambda model, path: interop.to_torch(model, path / "a.safetensors"),
    "to_keras": lambda model, path: interop.to_keras(model, path / "a.keras"),
}
NODES: dict[str, Callable[..., object]] = {
    "weights_to_onnx": lambda weights, cell, path: interop.weights_to_onnx(weights, cell, path / "a.onnx"),
    "weights_to_torch": lambda weights, cell, path: interop.weights_to_torch(weights, cell),
}


@pytest.mark.parametrize("name", sorted(WRITERS))
def test_models_that_are_none(name: str, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=f"{name}: model is a LSTM, expected a Sequential"):
        WRITERS[name](LSTM(H), tmp_path)
    with pytest.raises(ValueError, match=f"{name}: sequential has no weights yet, call build first"):
        WRITERS[name](Sequential([LSTM(H)]), tmp_path)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("name", sorted(NODES))
@pytest.mark.parametrize(
    ("cell", "change", "message"),
    [
        ("lstm", {0: (4 * H, D)}, r"weights\[0\]: kernel has shape \(28, 5\), expected \(I, 28\) = \[I, 4H\]"),
        ("lstm", {1: (H, 3 * H)}, r"weights\[0\]: recurrent_kernel has shape \(7, 21\), expected \[H, 4H\]"),
        ("lstm", {1: (4 * H, H)}, r"weights\[0\]: recurrent_kernel has shape \(28, 7\), expected \[H, 4H\]"),
        ("lstm", {2: (2, 4 * H)}, r"weights\[0\]: bias has shape \(2, 28\), expected \(28,\) = \[4H\]"),
        ("gru", {0: (3 * H, D)}, r"weights\[0\]: kernel has shape \(21, 5\), expected \(I, 21\) = \[I, 3H\]"),
        ("gru", {1: (H, 4 * H)}, r"weights\[0\]: recurrent_kernel has shape \(7, 28\), expected \[H, 3H\]"),
        ("gru", {2: (3 * H,)}, r"weights\[0\]: bias has shape \(21,\), expected \(2, 21\) = \[2, 3H\]"),
    ],
)
def test_weights_that_no_cell_has(
    name: str, cell: str, change: dict[int, tuple[int, ...]], message: str, tmp_path: Path
) -> None:
    pytest.importorskip("onnx", reason="onnx is not installed")
    weights = [list(cells(cell)[0])]
    for n, shape in change.items():
        weights[0][n] = np.ones(shape, np.float32)
    with pytest.raises(ValueError, match=f"{name}: {message}"):
        NODES[name](weights, cell, tmp_path)
    with pytest.raises(ValueError, match=f"{name}: cell is 'rnn', expected 'lstm' or 'gru'"):
        NODES[name](cells(cell), "rnn", tmp_path)
    assert not any(tmp_path.iterdir())


# ---------------------------------------------------------------- PyTorch


@pytest.mark.parametrize(
    ("cell", "change", "message"),
    [
        ("lstm", {"weight_ih_l0": None}, "the state_dict has no weight_ih_l0, found weight_hh_l0, bias_ih_l0, bias_hh_l0"),
        ("lstm", {"bias_hh_l0": None}, "has no bias_hh_l0, found"),
        ("lstm", {"weight_ih_l0": (D, 4 * H)}, r"weight_ih_l0 has shape \(5, 28\), expected \[4H, I\] of nn.LSTM"),
        ("lstm", {"weight_ih_l0": (4, 4 * H)}, r"weight_ih_l0 has shape \(4, 28\), expected \(28, 28\) = \[4H, I\]"),
        ("lstm", {"weight_hh_l0": (H, 4 * H)}, r"weight_hh_l0 has shape \(7, 28\), expected \[4H, H\] of nn.LSTM"),
        ("lstm", {"weight_hh_l0": ()}, r"weight_hh_l0 has shape \(\), expected \[4H, H\] of nn.LSTM"),
        ("lstm", {"bias_ih_l0": (3 * H,)}, r"bias_ih_l0 has shape \(21,\), expected \(28,\) = \[4H\]"),
        ("gru", {"weight_hh_l0": (4 * H, H)}, r"weight_hh_l0 has shape \(28, 7\), expected \[3H, H\] of nn.GRU"),
        ("gru", {"weight_ih_l0": ()}, r"weight_ih_l0 has shape \(\), expected \[3H, I\] of nn.GRU"),
    ],
)
def test_modules_that_do_not_fit(cell: Any, change: dict[str, Any], message: str) -> None:
    state = interop.weights_to_torch(cells(cell), cell)
    for name, shape in change.items():
        state.pop(name) if shape is None else state.update({name: np.ones(shape, np.float32)})
    with pytest.raises(ValueError, match=f"weights_from_torch: .*{message}"):
        interop.weights_from_torch(state, cell)


def test_module_files_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    content = saving.arrays_to_bytes(interop.weights_to_torch(cells("lstm"), "lstm"))
    path.write_bytes(content)
    np.testing.assert_array_equal(interop.weights_from_torch(path, "lstm")[0].kernel, cells("lstm")[0][0])
    for damaged in (content[:-4], content[:20], b""):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"a.safetensors: not a safetensors file, or a damaged one"):
            interop.weights_from_torch(path, "lstm")
    with pytest.raises(FileNotFoundError):
        interop.weights_from_torch(tmp_path / "b", "lstm")
    with pytest.raises(TypeError, match="weights_from_torch: source is a list, expected a state_dict or the path"):
        interop.weights_from_torch([], "lstm")  # type: ignore[arg-type]


# ---------------------------------------------------------------- ONNX


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_nodes_that_do_not_fit(kind: str, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    cell: Any = kind.lower()
    gates = 4 if kind == "LSTM" else 3
    wide = gates * H
    cases: list[tuple[str, Any, str]] = [
        ("W", None, "the ONNX graph has no layer_0/W, found"),
        ("R", None, "the ONNX graph has no layer_0/R, found"),
        ("W", (1, D, wide), rf"layer_0/W has shape \(1, 5, {wide}\), expected \(1, {wide}, I\) = \[D, {gates}H, I\]"),
        ("R", (1, H, wide), rf"layer_0/R has shape \(1, 7, {wide}\), expected \(1, {gates}H, H\) of node layer_0"),
        ("R", (1, (7 - gates) * H, H), rf"layer_0/R has shape .*, expected \(1, {gates}H, H\) of node layer_0"),
        ("R", (2, wide, H), rf"layer_0/R has shape .*, expected \(1, {gates}H, H\) of node layer_0"),
        ("B", (1, wide), rf"layer_0/B has shape \(1, {wide}\), expected \(1, {2 * wide}\) = \[D, {2 * gates}H\]"),
    ]
    for letter, shape, message in cases:
        graph = interop.weights_to_onnx(cells(cell), cell)
        kept = [one for one in graph.graph.initializer if one.name != f"layer_0/{letter}"]
        del graph.graph.initializer[:]
        graph.graph.initializer.extend(kept)
        if shape is not None:
            graph.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(shape, np.float32), f"layer_0/{letter}"))
        with pytest.raises(ValueError, match=f"weights_from_onnx: {message}"):
            interop.weights_from_onnx(graph)
    graph = interop.weights_to_onnx(cells(cell), cell)
    tensor = next(one for one in graph.graph.initializer if one.name == "layer_0/W")
    tensor.raw_data = tensor.raw_data[:-4]
    with pytest.raises(ValueError, match=rf"weights_from_onnx: layer_0/W, of shape \(1, {wide}, 5\), is damaged"):
        interop.weights_from_onnx(graph)

    path = tmp_path / "a.onnx"
    content = interop.weights_to_onnx(cells(cell), cell, path).SerializeToString()
    for damaged in (content[: len(content) // 2], content[:-3], b"none"):
        path.write_bytes(damaged)
        for source in (path, damaged):
            with pytest.raises(ValueError, match=r"weights_from_onnx: .*: not an ONNX model, or a damaged one"):
                interop.weights_from_onnx(source)
    with pytest.raises(FileNotFoundError):
        interop.weights_from_onnx(tmp_path / "none.onnx")
    dense = interop.to_onnx(Sequential([Input((D,)), Dense(1)]))
    with pytest.raises(ValueError, match="has nothing, expected one LSTM or GRU node"):
        interop.weights_from_onnx(dense)


# ---------------------------------------------------------------- Keras


@pytest.mark.filterwarnings("ignore")
def test_keras_archives_that_do_not_fit(tmp_path: Path) -> None:
    os.environ.setdefault("KERAS_BACKEND", "torch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("keras", reason="Keras is not installed")
    import h5py

    model, path, whole = model_of(), tmp_path / "a.keras", tmp_path / "whole.keras"
    interop.to_keras(model, whole)
    with zipfile.ZipFile(whole) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    kernel = "layers/lstm/cell/vars/0"
    cases: list[tuple[str, Any, str]] = [
        (kernel, None, f"has no {kernel}, found .*layers/lstm/cell/vars/1"),
        (kernel, (4 * H, D), rf"{kernel} has shape \(28, 5\), expected \(5, 28\) of rnn/kernel"),
        (kernel, (D, 3 * H), rf"{kernel} has shape \(5, 21\), expected \(5, 28\) of rnn/kernel"),
        ("layers/lstm/cell/vars/1", (H, 3 * H), r"vars/1 has shape \(7, 21\), expected \(7, 28\) of rnn/recurrent_kernel"),
        ("layers/dense/vars/0", (1, H), r"layers/dense/vars/0 has shape \(1, 7\), expected \(7, 1\) of head/kernel"),
        ("layers/gru/cell/vars/0", (D, 3 * H), "layers/gru/cell/vars/0, which the model has no place for"),
    ]

    def write(weights: bytes) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in {**files, "model.weights.h5": weights}.items():
                archive.writestr(name, content)

    for name, shape, message in cases:
        held = io.BytesIO(files["model.weights.h5"])
        with h5py.File(held, "a") as file:
            if name in file:
                del file[name]
            if shape is not None:
                file[name] = np.ones(shape, np.float32)
        write(held.getvalue())
        for into in (model, None):
            assert_refused(lambda into=into: interop.from_keras(path, into), f"from_keras: .*{message}", model)
    write(files["model.weights.h5"][:-2000])
    assert_refused(lambda: interop.from_keras(path, model), "a.keras: not a Keras weights file, or a damaged one", model)
    interop.to_keras(model_of(GRU), path)
    assert_refused(lambda: interop.from_keras(path, model), "from_keras: rnn is a GRU, expected LSTM as rnn", model)
    gru = model_of(GRU)
    assert_refused(lambda: interop.from_keras(whole, gru), "from_keras: rnn is a LSTM, expected GRU as rnn", gru)


@pytest.mark.parametrize("name", ["to_onnx", "to_keras"])
def test_a_package_that_is_missing_is_named_with_what_brings_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    package = name.removeprefix("to_")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'rnnext\[interop\]'") as found:
        getattr(interop, name)(model_of())
    assert found.value.name == package
