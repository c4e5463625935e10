"""Models to Keras and back: the same predictions, and errors that name what does not fit."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from interop_cases import (
    STACKS,
    B,
    D,
    H,
    T,
    V,
    assert_close,
    assert_refused,
    cells,
    classifier,
    emptied,
    filled,
    ids,
    normal,
    stacks,
)

from rnnext import Sequential, _random, interop
from rnnext.layers import (
    GRU,
    LSTM,
    AttentionPooling1D,
    Bidirectional,
    Dense,
    Embedding,
    Flatten,
    GlobalMaxPooling1D,
    Input,
    Masking,
    TimeDistributed,
)
from rnnext.regularizers import L1, L1L2, L2

pytestmark = pytest.mark.filterwarnings("ignore")  # of what the other packages say


@cells
@stacks
def test_to_keras_and_back(keras: Any, cell: str, stack: str) -> None:
    model = STACKS[stack](cell)
    x = ids(empty=stack != "average")
    theirs = interop.to_keras(model)
    expected = model.predict(x, verbose=0)
    assert_close(theirs.predict(x, verbose=0), expected)
    if "write" not in cell:
        assert [layer.name for layer in interop.from_keras(theirs).layers] == [layer.name for layer in model.layers]
        assert_close(interop.from_keras(theirs).predict(x, verbose=0), expected)
    assert_close(interop.from_keras(theirs, emptied(model)).predict(x, verbose=0), expected)


@cells
def test_keras_files(keras: Any, tmp_path: Path, cell: str) -> None:
    model = STACKS["two_layers"](cell)
    expected = model.predict(ids(), verbose=0)
    for name in ("a.keras", "a.weights.h5"):
        interop.to_keras(model, tmp_path / name)
        assert_close(interop.from_keras(tmp_path / name, emptied(model)).predict(ids(), verbose=0), expected)
    assert_close(interop.from_keras(tmp_path / "a.keras").predict(ids(), verbose=0), expected)
    theirs = keras.models.load_model(tmp_path / "a.keras")
    assert_close(theirs.predict(ids(), verbose=0), expected)
    theirs.set_weights([np.zeros(w.shape) for w in theirs.get_weights()])
    theirs.load_weights(tmp_path / "a.weights.h5")
    assert_close(theirs.predict(ids(), verbose=0), expected)
    assert {path.name for path in tmp_path.iterdir()} == {"a.keras", "a.weights.h5"}


def test_a_trained_keras_model(keras: Any, tmp_path: Path) -> None:
    """Its input is vectors, not ids, and its file also holds an optimizer's state."""
    theirs = keras.Sequential(
        [keras.Input((None, D)), keras.layers.GRU(H, seed=1), keras.layers.Dropout(0.2), keras.layers.Dense(1)]
    )
    theirs.compile("adam", "mse", metrics=["mae"])
    x = normal(np.random.default_rng(0), B, T, D)
    theirs.fit(x, np.zeros(B), verbose=0)
    theirs.save(tmp_path / "a.keras")
    for source in (theirs, tmp_path / "a.keras"):
        assert_close(interop.from_keras(source).predict(x, verbose=0), theirs.predict(x, verbose=0))


def test_masks_of_series(keras: Any, tmp_path: Path) -> None:
    model = filled(
        Input((T, D)), Masking(-1.0), LSTM(H, return_sequences=True), GRU(3, return_sequences=True), Flatten(), Dense(1)
    )
    x = normal(np.random.default_rng(0), B, T, D)
    x[1, 3:] = x[2, 0] = x[3, 2:4] = -1
    expected = model.predict(x, verbose=0)
    theirs = interop.to_keras(model, tmp_path / "a.keras")
    assert_close(theirs.predict(x, verbose=0), expected)
    for source in (theirs, tmp_path / "a.keras"):
        copy = interop.from_keras(source)
        assert_close(copy.predict(x, verbose=0), expected)
        assert [type(layer) for layer in copy.layers] == [type(layer) for layer in model.layers]
    for layers, message in (
        ([Masking(), LSTM(H, return_sequences=True), GlobalMaxPooling1D()], "global_max_pooling1d is behind masking, which"),
        (
            [Masking(), Masking(1.0, name="b"), LSTM(H)],
            "b is behind masking, which cannot be converted exactly: Keras's does not",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            interop.to_keras(filled(Input((T, D)), *layers), tmp_path / "b.keras")


def test_steps_that_are_flattened(keras: Any, tmp_path: Path) -> None:
    """Then the Input that Keras puts before an Embedding is needed."""
    model = filled(Embedding(V, D), GRU(H, return_sequences=True), Flatten(), Dense(1), shape=(None, T))
    theirs = interop.to_keras(model, tmp_path / "a.keras")
    expected = model.predict(ids(), verbose=0)
    assert_close(theirs.predict(ids(), verbose=0), expected)
    for source in (theirs, tmp_path / "a.keras"):
        assert_close(interop.from_keras(source).predict(ids(), verbose=0), expected)


def test_keras_models_that_have_no_counterpart(keras: Any, tmp_path: Path) -> None:
    L = keras.layers
    for layer, message in (
        (L.LSTM(H, activation="relu"), r"lstm.* \(LSTM\).*activation is 'relu', expected 'tanh'"),
        (L.GRU(H, kernel_regularizer="orthogonal_regularizer"), r"gru.* \(GRU\) has kernel_regularizer=.*cannot be converted"),
        (L.Bidirectional(L.LSTM(H, recurrent_activation="tanh")), r"forward_lstm.* \(LSTM\).*recurrent_activation is"),
        (L.Bidirectional(L.SimpleRNN(H)), r"forward_simple_rnn.* \(SimpleRNN\) has no counterpart here"),
        (L.Conv1D(3, 2), r"conv1d.* \(Conv1D\) has no counterpart here; .*LSTM"),
        (L.Dense(3, activation="gelu"), r"dense.* \(Dense\).*activation is 'gelu'"),
    ):
        model = keras.Sequential([keras.Input((None, D)), layer])
        with pytest.raises(ValueError, match=f"from_keras: {message}"):
            interop.from_keras(model)
        model.save(tmp_path / "a.keras")
        with pytest.raises(ValueError, match=f"from_keras: {message}"):
            interop.from_keras(tmp_path / "a.keras")
    x = keras.Input((None, D))
    functional = keras.Model(x, L.LSTM(H)(x))
    functional.save(tmp_path / "a.keras")
    for source in (functional, tmp_path / "a.keras"):
        with pytest.raises(ValueError, match="a Functional, expected a Sequential"):
            interop.from_keras(source)
    masked = [Embedding(V, D, mask_zero=True), LSTM(H, return_sequences=True), GlobalMaxPooling1D(), Dense(1)]
    with pytest.raises(ValueError, match="global_max_pooling1d is behind mask_zero=True, which cannot be converted exactly"):
        interop.to_keras(filled(*masked), tmp_path / "b.keras")
    turned = [Embedding(V, D, mask_zero=True), LSTM(H, return_sequences=True, go_backwards=True), GRU(H)]
    with pytest.raises(ValueError, match=r"lstm is behind mask_zero=True, which cannot be converted exactly: .* go_backwards"):
        interop.to_keras(filled(*turned), tmp_path / "b.keras")
    theirs = keras.Sequential(
        [keras.Input((None,)), L.Embedding(V, D, mask_zero=True), L.LSTM(H, return_sequences=True), L.GlobalMaxPooling1D()]
    )
    with pytest.raises(ValueError, match="behind mask_zero=True, which cannot be converted exactly"):
        interop.from_keras(theirs)
    with pytest.raises(ValueError, match=r"path is .*b.h5', expected FILE.keras or FILE.weights.h5"):
        interop.to_keras(classifier("lstm"), tmp_path / "b.h5")
    assert [path.name for path in tmp_path.iterdir()] == ["a.keras"]
    with pytest.raises(TypeError, match="source is a dict, expected a Keras model"):
        interop.from_keras({})


OPTIONS: dict[str, dict[str, Any]] = {
    "dropout": {"dropout": 0.2, "recurrent_dropout": 0.3, "seed": 1},
    "penalties": {"kernel_regularizer": L2(0.5), "recurrent_regularizer": L1(0.25), "bias_regularizer": L1L2(0.5, 0.125)},
    "constraints": {"kernel_constraint": "max_norm", "recurrent_constraint": "unit_norm", "bias_constraint": "non_neg"},
    "states": {"stateful": True},
    "frozen": {"trainable": False},
}


def without_initializers(config: dict[str, Any]) -> dict[str, Any]:
    return {
        name: without_initializers(value) if isinstance(value, dict) else value
        for name, value in config.items()
        if "initializer" not in name
    }


@pytest.mark.parametrize("option", sorted(OPTIONS))
@pytest.mark.parametrize("both", [False, True])
def test_options_of_keras_go_along(keras: Any, tmp_path: Path, option: str, both: bool) -> None:
    given = OPTIONS[option]
    cell: Any = GRU(H, return_sequences=True, **given)
    if both:
        cell = Bidirectional(cell, backward_layer=GRU(H, return_sequences=True, go_backwards=True, **given), merge_mode="sum")
    model = filled(Input((None, D)), cell, TimeDistributed(Dense(2, use_bias=False)))
    x = normal(np.random.default_rng(0), B, T, D)
    if option == "states":
        message = r"to_keras: .*gru has stateful=True, for which Keras wants a fixed batch, expected batch_size"
        assert_refused(lambda: interop.to_keras(model), message, model)
    theirs = interop.to_keras(model, tmp_path / "a.keras", batch_size=B if option == "states" else None)
    for source in (theirs, tmp_path / "a.keras"):
        copy = interop.from_keras(source)
        assert without_initializers(copy.layers[0].get_config()) == without_initializers(model.layers[0].get_config())
        if option == "states":
            for part in (model.layers[0], theirs.layers[0]):
                part.reset_state()
        for _ in range(2):  # a second time from where the first one ended
            expected = model.predict(x, batch_size=B, verbose=0)
            assert_close(theirs.predict(x, batch_size=B, verbose=0), expected)
            assert_close(copy.predict(x, batch_size=B, verbose=0), expected)
    if option == "penalties":
        assert theirs.losses
    interop.to_keras(model, tmp_path / "a.weights.h5", batch_size=B)
    for a, b in zip(interop.from_keras(tmp_path / "a.weights.h5", emptied(model)).weights, model.weights, strict=True):
        np.testing.assert_array_equal(a.value, b.value)


@pytest.mark.parametrize(
    "option", [{"peepholes": True}, {"projection": 3}, {"layer_norm": True}, {"zoneout_h": 0.2}, {"clip": 1.0}]
)
def test_options_that_keras_does_not_have(keras: Any, option: dict[str, Any]) -> None:
    (name, value), *_ = option.items()
    for layer in (LSTM(H, name="mine", **option), Bidirectional(LSTM(H, name="mine", **option))):
        model = filled(Input((None, D)), layer, Dense(1))
        message = f"to_keras: .*mine has {name}={value}, which has no counterpart on the other side"
        assert_refused(lambda model=model: interop.to_keras(model), message, model)
    pooled = filled(Input((None, D)), LSTM(H, return_sequences=True), AttentionPooling1D())
    assert_refused(
        lambda: interop.to_keras(pooled), "attention_pooling1d is a AttentionPooling1D, which has no counter", pooled
    )


def test_zeros_for_masked_steps_without_sequences(keras: Any) -> None:
    """Where Keras's layer returns something else than its documentation says."""
    model = Sequential([Embedding(V, D, mask_zero=True), GRU(H, zero_output_for_mask=True)])
    model.build((None, 3))
    x = np.array([[1, 2, 0], [1, 2, 3]])
    theirs = interop.to_keras(model)
    np.testing.assert_allclose(theirs.predict(x, verbose=0), model.predict(x, verbose=0), atol=1e-6)
    layers = [keras.layers.Embedding(V, D, mask_zero=True), keras.layers.GRU(H, zero_output_for_mask=True)]
    refused = keras.Sequential([keras.Input((3,)), *layers])
    with pytest.raises(ValueError, match=r"has zero_output_for_mask=True without return_sequences, for which Keras returns 0"):
        interop.from_keras(refused)


def test_keras_weights_that_do_not_fit(keras: Any, tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py", reason="h5py comes with Keras")
    model = classifier("lstm")
    path = tmp_path / "a.weights.h5"

    def changed(name: str, value: np.ndarray | None) -> None:
        interop.to_keras(model, path)
        with h5py.File(path, "a") as file:
            if name in file:
                del file[name]
            if value is not None:
                file[name] = value

    for name, value, message in (
        ("layers/lstm/cell/vars/1", None, "has no layers/lstm/cell/vars/1, found layers/dense/vars/0"),
        (
            "layers/lstm/cell/vars/0",
            np.ones((4 * H, D)),
            r"layers/lstm/cell/vars/0 has shape \(28, 5\), expected \(5, 28\) of lstm/kernel",
        ),
        ("layers/lstm/cell/vars/0", np.ones((D, 3 * H)), r"has shape \(5, 21\), expected \(5, 28\) of lstm/kernel"),
        ("layers/dense/vars/1", np.ones(1, np.int32), "layers/dense/vars/1 has dtype int32, expected floats"),
        ("layers/lstm_1/cell/vars/0", np.ones((D, 4 * H)), "has layers/lstm_1/cell/vars/0, which the model has no place for"),
    ):
        changed(name, value)
        error = TypeError if "dtype" in message else ValueError
        assert_refused(lambda: interop.from_keras(path, model), message, model, error)
    interop.to_keras(classifier("gru"), path)
    assert_refused(lambda: interop.from_keras(path, model), "has no layers/lstm/cell/vars/0, found .*layers/gru/cell", model)
    assert_refused(lambda: interop.from_keras(path), "holds weights alone, expected model=", model)
    content = path.read_bytes()
    for damaged in (content[: len(content) // 2], b"", b"none"):
        path.write_bytes(damaged)
        assert_refused(
            lambda: interop.from_keras(path, model), "a.weights.h5: not a Keras weights file, or a damaged one", model
        )
    assert_refused(lambda: interop.from_keras(tmp_path / "b.keras", model), "no such file", model, FileNotFoundError)

    for other, message in (
        (classifier("gru"), "gru is a GRU, expected LSTM as lstm"),
        (STACKS["two_layers"]("lstm"), r"has 4 layers with weights \(Embedding, LSTM, LSTM, Dense\), expected 3"),
        (classifier("lstm", mask_zero=True), "embedding has mask_zero=True, expected False as embedding"),
    ):
        theirs = interop.to_keras(other)
        assert_refused(lambda theirs=theirs: interop.from_keras(theirs, model), message, model)
    before = classifier("gru_reset_before")
    theirs = interop.to_keras(classifier("gru"))
    assert_refused(lambda: interop.from_keras(theirs, before), "gru has reset_after=True, expected False as gru", before)

    archive = tmp_path / "a.keras"
    interop.to_keras(model, archive)
    content = archive.read_bytes()
    archive.write_bytes(content[: len(content) // 2])
    assert_refused(lambda: interop.from_keras(archive, model), "a.keras: not a .keras file, or a damaged one", model)
    for files, message in (
        ({"config.json": b"{}"}, "a.keras: not a .keras file, or a damaged one .KeyError"),
        ({"config.json": b"{", "model.weights.h5": b""}, "a.keras: not a .keras file, or a damaged one .JSONDecodeError"),
        ({"config.json": b"[]", "model.weights.h5": b""}, "a.keras: not a .keras file, or a damaged one .TypeError"),
    ):
        written = io.BytesIO()
        with zipfile.ZipFile(written, "w") as zipped:
            for name, part in files.items():
                zipped.writestr(name, part)
        archive.write_bytes(written.getvalue())
        assert_refused(lambda: interop.from_keras(archive, model), message, model)


def test_arrays_that_no_keras_wrote(keras: Any, tmp_path: Path) -> None:
    """A file may say of an array that it is elsewhere, or that it is as large as no memory: nothing of that is read."""
    h5py = pytest.importorskip("h5py", reason="h5py comes with Keras")
    model, path, kernel = classifier("lstm"), tmp_path / "a.weights.h5", "layers/lstm/cell/vars/0"
    shape = (D, 4 * H)
    (tmp_path / "elsewhere").write_bytes(bytes(4 * D * 4 * H))

    def virtual(file: Any) -> None:
        layout = h5py.VirtualLayout(shape, "f4")
        layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "x", shape)
        file.create_virtual_dataset(kernel, layout)

    damages: list[tuple[Any, str]] = [
        (
            lambda file: file.create_dataset(kernel, shape, "f4", external=[(str(tmp_path / "elsewhere"), 0, 4 * D * 4 * H)]),
            rf"{kernel}, of shape \(5, 28\), is not stored in the file itself",
        ),
        (virtual, f"{kernel}, of shape .* is not stored in the file itself"),
        (lambda file: file.create_dataset(kernel, shape, "f4"), f"{kernel}, of shape .* is not stored in the file itself"),
        (
            lambda file: file.create_dataset(kernel, data=np.ones(shape, "f4"), chunks=(8192, 8192), maxshape=(None, None)),
            f"{kernel}, of shape .* is not stored in the file itself",
        ),
        (
            lambda file: file.create_dataset(kernel, (10**9, 10**9), "f4", chunks=(64, 64)),
            r"\(1000000000, 1000000000\)|too big",
        ),
        (lambda file: file.create_dataset(kernel, (10**5, 10**5), "f4", chunks=(64, 64)), r"expected \(5, 28\) of lstm/kernel"),
        (
            lambda file: file.create_dataset("layers/x/vars/0", (10**5, 10**5), "f4", chunks=(64, 64)),
            "which the model has no place for",
        ),
        (lambda file: file.create_dataset(kernel, data=h5py.Empty("f4")), "a damaged one"),
    ]
    for damage, message in damages:
        interop.to_keras(model, path)
        with h5py.File(path, "a") as file:
            if "no place" not in message:
                del file[kernel]
            damage(file)
        assert_refused(lambda: interop.from_keras(path, model), message, model)


def test_compressed_arrays_are_read(keras: Any, tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py", reason="h5py comes with Keras")
    model, path, kernel = classifier("lstm"), tmp_path / "a.weights.h5", "layers/lstm/cell/vars/0"
    interop.to_keras(model, path)
    with h5py.File(path, "a") as file:
        value = file[kernel][...]
        del file[kernel]
        file.create_dataset(kernel, data=value, compression="gzip")
    found = interop.from_keras(path, classifier("lstm", mask_zero=True))
    for ours, theirs in zip(found.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_archives_that_unpack_to_much_more(keras: Any, tmp_path: Path) -> None:
    model, path = classifier("lstm"), tmp_path / "a.keras"
    interop.to_keras(model, path)
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    for name in ("config.json", "model.weights.h5"):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for each, content in files.items():
                archive.writestr(each, bytes(len(content) + (50 << 20)) if each == name else content)
        for into in (model, None):
            assert_refused(
                lambda into=into: interop.from_keras(path, into), f"a.keras: {name} has .* bytes unpacked, expected", model
            )


def test_nothing_is_drawn_for_the_layers_of_a_keras_model(keras: Any, tmp_path: Path) -> None:
    model, path = filled(Embedding(V, D), LSTM(H), Dense(1)), tmp_path / "a.keras"
    live, state = interop.to_keras(model, path), _random.get_state()
    for source in (live, path):
        found = interop.from_keras(source)
        assert _random.get_state() == state
        for ours, theirs in zip(found.get_weights(), model.get_weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    files["config.json"] = files["config.json"].replace(b'"units": %d' % H, b'"units": 300000')
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    assert_refused(lambda: interop.from_keras(path), "a.keras: a weight has shape .*, expected at most the", model)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"config": None}, "its layers are damaged .AttributeError"),
        ({"config": {"name": "x", "batch_shape": None}}, "its layers are damaged .TypeError"),
        ({"config": {}}, "its layers are damaged .KeyError"),
        ({"class_name": []}, r"from_keras: input_layer.* \(\[\]\) has no counterpart here"),
    ],
)
def test_descriptions_of_layers_that_are_damaged(keras: Any, tmp_path: Path, change: dict[str, Any], message: str) -> None:
    model, path = filled(Embedding(V, D), LSTM(H), Dense(1)), tmp_path / "a.keras"
    interop.to_keras(model, path)
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(files["config.json"])
    config["config"]["layers"][0].update(change)
    files["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    with pytest.raises(ValueError, match=message):
        interop.from_keras(path)
