"""Models and weights to Keras, PyTorch and ONNX and back: the same predictions, and errors that name what does not fit.

Each part is skipped where its package is not installed. Keras's backend is PyTorch unless KERAS_BACKEND says otherwise.
"""

from __future__ import annotations

import io
import os
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnnext import Sequential, interop, ops, saving
from rnnext.layers import (
    GRU,
    LSTM,
    AttentionPooling1D,
    Bidirectional,
    ConcatPooling1D,
    Dense,
    Dropout,
    Embedding,
    GlobalAveragePooling1D,
    GlobalMaxPooling1D,
    Input,
    SpatialDropout1D,
    TimeDistributed,
)
from rnnext.regularizers import L1, L1L2, L2

pytestmark = pytest.mark.filterwarnings("ignore")  # of what the other packages say

T, B, D, H, V = 9, 6, 5, 7, 30
LENGTHS = np.array([T, 4, 1, 0, T - 1, 5])
CELLS: dict[str, Callable[..., Any]] = {
    "lstm": LSTM,
    "lstm_without_bias": lambda *a, **k: LSTM(*a, use_bias=False, **k),
    "gru": GRU,
    "gru_without_bias": lambda *a, **k: GRU(*a, use_bias=False, **k),
    "gru_reset_before": lambda *a, **k: GRU(*a, reset_after=False, **k),
    "gru_write": lambda *a, **k: GRU(*a, update_gate="write", **k),
    "gru_reset_before_write": lambda *a, **k: GRU(*a, reset_after=False, update_gate="write", **k),
}
RESET_AFTER = [name for name in sorted(CELLS) if "before" not in name]
cells = pytest.mark.parametrize("cell", sorted(CELLS))


@pytest.fixture
def torch() -> Any:
    return pytest.importorskip("torch", reason="PyTorch is not installed")


@pytest.fixture
def keras() -> Any:
    os.environ.setdefault("KERAS_BACKEND", "torch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("keras", reason="Keras is not installed")


@pytest.fixture
def onnx() -> Any:
    return pytest.importorskip("onnx", reason="onnx is not installed")


@pytest.fixture
def run(onnx: Any) -> Callable[..., list[np.ndarray]]:
    """run(graph, name=array, ...): the graph's outputs from ONNX Runtime."""
    runtime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")

    def call(graph: Any, **inputs: np.ndarray) -> list[np.ndarray]:
        content = graph if isinstance(graph, bytes) else graph.SerializeToString()
        session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
        found: list[np.ndarray] = session.run(None, inputs)
        return found

    return call


def normal(rng: np.random.Generator, *shape: int, scale: float = 1.0) -> np.ndarray:
    return (scale * rng.standard_normal(shape)).astype(np.float32)


def filled(*layers: Any, shape: tuple[int | None, ...] = (None, None)) -> Sequential:
    """A model with random weights."""
    model = Sequential(list(layers))
    if not model.built:
        model.build(shape)
    rng = np.random.default_rng(3)
    model.set_weights([normal(rng, *w.shape, scale=0.5) for w in model.weights])
    return model


def classifier(cell: str, **options: Any) -> Sequential:
    return filled(Embedding(V, D, **options), Dropout(0.1), CELLS[cell](H), Dense(1, activation="sigmoid"))


def ids(*, empty: bool = True) -> np.ndarray:
    """Ids with zeros before, behind and between."""
    x = np.random.default_rng(4).integers(1, V, (B, T)).astype(np.int32)
    x[0, :3] = x[1, 4:] = x[2, ::2] = 0
    if empty:
        x[3] = 0
    return x


def assert_close(actual: Any, expected: Any, tolerance: float = 1e-6) -> None:
    assert actual.shape == expected.shape
    error, allowed = np.abs(actual - expected).max(initial=0), tolerance * max(1.0, np.abs(expected).max(initial=0))
    assert error <= allowed, f"error {error:.3g}, allowed {allowed:.3g}"


def emptied(model: Sequential) -> Sequential:
    """The same layers, with all weights 0."""
    copy = Sequential.from_config(model.get_config())
    copy.build(model.input_shape or ())
    copy.set_weights([np.zeros(w.shape) for w in copy.weights])
    return copy


def assert_refused(call: Callable[[], object], message: str, model: Sequential, error: type[Exception] = ValueError) -> None:
    """An error that says so, and the model is as it was."""
    before = model.get_weights()
    with pytest.raises(error, match=message):
        call()
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


# ---------------------------------------------------------------- PyTorch: arrays


@pytest.mark.parametrize("cell", RESET_AFTER)
def test_to_torch_and_back(cell: str, tmp_path: Path) -> None:
    model = classifier(cell)
    interop.to_torch(model, tmp_path / "a.safetensors")
    for source in (interop.to_torch(model), tmp_path / "a.safetensors"):
        copy = interop.from_torch(source, emptied(model))
        np.testing.assert_array_equal(copy.predict(ids(), verbose=0), model.predict(ids(), verbose=0))
        for a, b in zip(copy.weights, model.weights, strict=True):
            np.testing.assert_array_equal(a.value, b.value)


def test_names_of_torch_modules() -> None:
    model = filled(Embedding(V, D), LSTM(H, return_sequences=True), LSTM(H), Dense(2), Dense(1, use_bias=False))
    names = {"embedding": "words", "lstm": "core.rnn", "lstm_1": "core.rnn", "dense": "head.0", "dense_1": "head.2"}
    state = interop.to_torch(model, names=names)
    assert list(state) == [
        "words.weight",
        *(f"core.rnn.{kind}_{of}_l{n}" for n in (0, 1) for kind in ("weight", "bias") for of in ("ih", "hh")),
        "head.0.weight",
        "head.0.bias",
        "head.2.weight",
    ]
    copy = interop.from_torch(state, emptied(model), names=names)
    for a, b in zip(copy.weights, model.weights, strict=True):
        np.testing.assert_array_equal(a.value, b.value)
    assert_refused(lambda: interop.to_torch(model, names={"gru": "rnn"}), "names has 'gru', expected .* embedding, lstm", model)
    assert_refused(lambda: interop.to_torch(model, names={"dense_1": "dense"}), "dense.weight would be of two layers", model)


def test_torch_has_no_reset_before() -> None:
    model = classifier("gru_reset_before")
    assert_refused(lambda: interop.to_torch(model), "gru has reset_after=False, which cannot be converted exactly", model)
    state = interop.to_torch(classifier("gru"))
    assert_refused(lambda: interop.from_torch(state, model), "gru has reset_after=False, which cannot be converted", model)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lstm.weight_hh_l0": None}, "the state_dict has no lstm.weight_hh_l0, found embedding.weight, lstm.weight_ih_l0"),
        ({"dense.bias": None}, "has no dense.bias"),
        ({"lstm.bias_hh_l0": None}, "has no lstm.bias_hh_l0"),
        ({"lstm.weight_ih_l0": (D, 4 * H)}, r"lstm.weight_ih_l0 has shape \(5, 28\), expected \(28, 5\) = \[4H, I\]"),
        ({"lstm.weight_ih_l0": (3 * H, D)}, r"lstm.weight_ih_l0 has shape \(21, 5\), expected \(28, 5\)"),
        ({"lstm.bias_ih_l0": (3 * H,)}, r"lstm.bias_ih_l0 has shape \(21,\), expected \(28,\) = \[4H\]"),
        ({"dense.weight": (H, 1)}, r"dense.weight has shape \(7, 1\), expected \(1, 7\) = \[units, F\]"),
        ({"embedding.weight": (V + 1, D)}, r"embedding.weight has shape \(31, 5\), expected \(30, 5\) = \[V, D\]"),
        ({"lstm.weight_hr_l0": (2, H)}, "has lstm.weight_hr_l0, a projection"),
        ({"lstm.weight_hh_l0_reverse": (4 * H, H)}, "has lstm.weight_hh_l0_reverse, which the model has no place for"),
        ({"lstm.weight_ih_l1": (4 * H, H)}, "has lstm.weight_ih_l1, which the model has no place for"),
        ({"other.weight": (2, 2)}, "has other.weight, which the model has no place for"),
    ],
)
def test_a_state_dict_that_does_not_fit(change: dict[str, Any], message: str) -> None:
    model = classifier("lstm")
    state = interop.to_torch(model)
    for name, shape in change.items():
        if shape is None:
            del state[name]
        else:
            state[name] = np.ones(shape, np.float32)
    assert_refused(lambda: interop.from_torch(state, model), f"from_torch: .*{message}", model)


@pytest.mark.parametrize(
    "option",
    [{"peepholes": True}, {"clip": 3.0}, {"coupled": True}, {"layer_norm": True}, {"zoneout_h": 0.1}, {"zoneout_c": 0.1}],
    ids=lambda option: next(iter(option)),
)
def test_options_that_torch_does_not_have(option: dict[str, Any]) -> None:
    (name, value), *_ = option.items()
    model = filled(Embedding(V, D), LSTM(H, name="mine", **option), Dense(1))
    state = interop.to_torch(filled(Embedding(V, D), LSTM(H, name="mine"), Dense(1)))
    message = f"mine has {name}={value}, which has no counterpart on the other side"
    assert_refused(lambda: interop.to_torch(model), message, model)
    assert_refused(lambda: interop.from_torch(state, model), message, model)


def projected(layers: int = 1, *, both: bool = False) -> Sequential:
    """LSTMs with a projection, the input first."""
    stack = [LSTM(H, projection=3, return_sequences=n < layers - 1) for n in range(layers)]
    return filled(Input((None, D)), *((Bidirectional(one) if both else one) for one in stack), Dense(1))


def test_a_projection_that_does_not_fit() -> None:
    model = projected()
    state = interop.to_torch(model)
    assert {name: array.shape for name, array in state.items() if "lstm" in name} == {
        "lstm.weight_ih_l0": (4 * H, D),
        "lstm.weight_hh_l0": (4 * H, 3),
        "lstm.weight_hr_l0": (3, H),
        "lstm.bias_ih_l0": (4 * H,),
        "lstm.bias_hh_l0": (4 * H,),
    }
    for change, message in (
        ({"lstm.weight_hr_l0": None}, "has no lstm.weight_hr_l0"),
        ({"lstm.weight_hr_l0": (H, 3)}, r"lstm.weight_hr_l0 has shape \(7, 3\), expected \(3, 7\) = \[P, H\]"),
        ({"lstm.weight_hh_l0": (4 * H, H)}, r"lstm.weight_hh_l0 has shape \(28, 7\), expected \(28, 3\) = \[4H, P\]"),
    ):
        broken = dict(state)
        for name, shape in change.items():
            broken.pop(name) if shape is None else broken.update({name: np.ones(shape, np.float32)})
        assert_refused(lambda broken=broken: interop.from_torch(broken, model), f"from_torch: .*{message}", model)
    mixed = filled(Input((None, D)), Bidirectional(GRU(H, return_sequences=True)), GRU(H), Dense(1))
    names = {"bidirectional": "rnn", "gru": "rnn"}
    assert_refused(lambda: interop.to_torch(mixed, names=names), "gru and bidirectional are one module, expected both", mixed)


def test_torch_sources_that_are_none(tmp_path: Path) -> None:
    model = classifier("lstm")
    path = tmp_path / "a.safetensors"
    content = saving.arrays_to_bytes(interop.to_torch(model))
    for damaged in (content[: len(content) // 2], content[:20], b"", b"PK\x03\x04"):
        path.write_bytes(damaged)
        assert_refused(
            lambda: interop.from_torch(path, model), "a.safetensors: not a safetensors file, or a damaged one", model
        )
    header = b'{"lstm.weight_ih_l0": {"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]}}'
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0\0")
    assert_refused(lambda: interop.from_torch(path, model), "a.safetensors: has an array of type 'BF16', which NumPy", model)
    with pytest.raises(FileNotFoundError):
        interop.from_torch(tmp_path / "none", model)
    whole = {name: array.astype(np.int64) for name, array in interop.to_torch(model).items()}
    assert_refused(lambda: interop.from_torch(whole, model), "weight has dtype int64, expected floats", model, TypeError)
    with pytest.raises(TypeError, match="source is a list, expected a state_dict or the path"):
        interop.from_torch([], model)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="has no weights yet"):
        interop.from_torch({}, Sequential([LSTM(3)]))
    with pytest.raises(TypeError, match="model is a LSTM, expected a Sequential"):
        interop.from_torch({}, LSTM(3))  # type: ignore[arg-type]


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_weights_to_torch_and_back(cell: Any, bidirectional: bool) -> None:
    weights = random_weights(cell, 3, bidirectional)
    state = interop.weights_to_torch(weights, cell, bidirectional=bidirectional, prefix="rnn.")
    found = interop.weights_from_torch({**state, "head.weight": np.zeros(3)}, cell, prefix="rnn.")
    for a, b in zip(found, weights, strict=True):
        for one, other in zip(a, b, strict=False):
            np.testing.assert_array_equal(one, other)
    name = "rnn.weight_hh_l1_reverse" if bidirectional else "rnn.weight_hh_l1"
    for change, message in (
        ({name: None}, f"has no {name}"),
        ({name: state[name].T}, rf"{name} has shape \(7, .*\), expected \[.H, H\] of nn.{cell.upper()}"),
        ({"rnn.weight_ih_l2": state["rnn.weight_ih_l2"][:, 1:]}, "rnn.weight_ih_l2 has shape"),
        ({"rnn.weight_hr_l0": state[name]}, r"weight_hr_l0 has shape" if cell == "lstm" else "a projection"),
    ):
        broken = {key: array for key, array in {**state, **change}.items() if array is not None}
        with pytest.raises(ValueError, match=message):
            interop.weights_from_torch(broken, cell, prefix="rnn.")
    with pytest.raises(ValueError, match=r"weight_hh_l0 has shape .* expected \[.H, H\] of nn"):
        interop.weights_from_torch(state, "gru" if cell == "lstm" else "lstm", prefix="rnn.")
    with pytest.raises(ValueError, match="cell is 'rnn', expected 'lstm' or 'gru'"):
        interop.weights_from_torch(state, "rnn")  # type: ignore[arg-type]


# ---------------------------------------------------------------- PyTorch: its modules


def torch_module(torch: Any, cell: str) -> Any:
    """The tutorial's classifier."""

    class Classifier(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.embedding = torch.nn.Embedding(V, D)
            self.rnn = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[cell](D, H, batch_first=True)
            self.dense = torch.nn.Linear(H, 1)

        def forward(self, x: Any) -> Any:
            last = self.rnn(self.embedding(x))[1]
            return self.dense(last[0][0] if isinstance(last, tuple) else last[0]).sigmoid()

    torch.manual_seed(0)
    return Classifier()


@pytest.mark.parametrize("cell", ["lstm", "gru", "gru_write"])
def test_predictions_of_torch(torch: Any, cell: str) -> None:
    module = torch_module(torch, cell.removesuffix("_write"))
    names = {cell.removesuffix("_write"): "rnn"}
    model = interop.from_torch(module.state_dict(), classifier(cell), names=names)
    x = torch.tensor(ids(), dtype=torch.long)
    assert_close(model.predict(ids(), verbose=0), module(x).detach().numpy())

    model = classifier(cell)
    state = {name: torch.tensor(array) for name, array in interop.to_torch(model, names=names).items()}
    module.load_state_dict(state)
    assert_close(model.predict(ids(), verbose=0), module(x).detach().numpy())
    assert_close(
        interop.from_torch(module.state_dict(), emptied(model), names=names).predict(ids(), verbose=0),
        module(x).detach().numpy(),
    )


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("kind", ["lstm", "gru", "projected"])
def test_modules_of_two_layers(torch: Any, kind: str, both: bool) -> None:
    """nn.LSTM and nn.GRU of two layers, of one direction and of two, with proj_size: one module for two layers of the model."""
    torch.manual_seed(0)
    size = {"proj_size": 3} if kind == "projected" else {}
    modules = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "projected": torch.nn.LSTM}
    module = modules[kind](D, H, 2, batch_first=True, bidirectional=both, **size)
    cell: Any = {"lstm": LSTM, "gru": GRU, "projected": lambda *a, **k: LSTM(*a, projection=3, **k)}[kind]
    stack = [cell(H, return_sequences=True, name="a"), cell(H, return_sequences=True, name="b")]
    model = filled(Input((None, D)), *((Bidirectional(one, name=one.name) if both else one) for one in stack))
    names = {"a": "", "b": ""}
    x = normal(np.random.default_rng(0), B, T, D)
    interop.from_torch(module.state_dict(), model, names=names)
    assert_close(model.predict(x, verbose=0), module(torch.tensor(x))[0].detach().numpy())

    model = filled(*model.layers)
    module.load_state_dict({name: torch.tensor(array) for name, array in interop.to_torch(model, names=names).items()})
    assert_close(model.predict(x, verbose=0), module(torch.tensor(x))[0].detach().numpy())
    again = interop.from_torch(module.state_dict(), emptied(model), names=names)
    assert_close(again.predict(x, verbose=0), model.predict(x, verbose=0))


# ---------------------------------------------------------------- Keras


STACKS: dict[str, Callable[[str], Sequential]] = {
    "tutorial": lambda cell: classifier(cell),
    "masked": lambda cell: classifier(cell, mask_zero=True),
    "two_layers": lambda cell: filled(
        Embedding(V, D, mask_zero=True), CELLS[cell](H, return_sequences=True), CELLS[cell](H), Dense(3, activation="softmax")
    ),
    "backwards": lambda cell: filled(
        Embedding(V, D, mask_zero=True), CELLS[cell](H, return_sequences=True), CELLS[cell](H, go_backwards=True), Dense(1)
    ),
    "tags_backwards": lambda cell: filled(
        Embedding(V, D, mask_zero=True), CELLS[cell](H, return_sequences=True, go_backwards=True), Dense(4)
    ),
    "tags": lambda cell: filled(
        Embedding(V, D, mask_zero=True), CELLS[cell](H, return_sequences=True), Dense(4, activation="softmax")
    ),
    "average": lambda cell: filled(
        Embedding(V, D, mask_zero=True),
        SpatialDropout1D(0.2),
        CELLS[cell](H, return_sequences=True),
        GlobalAveragePooling1D(),
        Dense(4, activation="relu"),
        Dense(1, activation="tanh", use_bias=False),
    ),
    "maximum": lambda cell: filled(Embedding(V, D), CELLS[cell](H, return_sequences=True), GlobalMaxPooling1D(), Dense(1)),
    "unmasked_average": lambda cell: filled(
        Embedding(V, D), CELLS[cell](H, return_sequences=True, go_backwards=True), GlobalAveragePooling1D(), Dense(1)
    ),
    "both": lambda cell: filled(
        Embedding(V, D, mask_zero=True),
        Bidirectional(CELLS[cell](H, return_sequences=True), merge_mode="mul"),
        Bidirectional(CELLS[cell](H)),
        Dense(1),
    ),
    "tags_both": lambda cell: filled(
        Embedding(V, D, mask_zero=True),
        Bidirectional(CELLS[cell](H, return_sequences=True)),
        Bidirectional(CELLS[cell](H, return_sequences=True), merge_mode="ave"),
        TimeDistributed(Dense(4, activation="softmax")),
    ),
    "unmasked_both": lambda cell: filled(
        Embedding(V, D), Bidirectional(CELLS[cell](H, zero_output_for_mask=True), merge_mode="sum"), Dense(1)
    ),
    "tags_zero": lambda cell: filled(
        Embedding(V, D, mask_zero=True), CELLS[cell](H, return_sequences=True, zero_output_for_mask=True), Dense(2)
    ),
}
stacks = pytest.mark.parametrize("stack", sorted(STACKS))


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
    """With an optimizer's state in its file, an input without an Embedding, and float ids."""
    theirs = keras.Sequential(
        [keras.Input((None, D)), keras.layers.GRU(H, seed=1), keras.layers.Dropout(0.2), keras.layers.Dense(1)]
    )
    theirs.compile("adam", "mse", metrics=["mae"])
    x = normal(np.random.default_rng(0), B, T, D)
    theirs.fit(x, np.zeros(B), verbose=0)
    theirs.save(tmp_path / "a.keras")
    for source in (theirs, tmp_path / "a.keras"):
        assert_close(interop.from_keras(source).predict(x, verbose=0), theirs.predict(x, verbose=0))


def test_keras_models_that_have_no_counterpart(keras: Any, tmp_path: Path) -> None:
    L = keras.layers
    for layer, message in (
        (L.LSTM(H, activation="relu"), r"lstm.* \(LSTM\).*activation is 'relu', expected 'tanh'"),
        (L.GRU(H, kernel_regularizer="orthogonal_regularizer"), r"gru.* \(GRU\) has kernel_regularizer=.*cannot be converted"),
        (L.Bidirectional(L.LSTM(H, recurrent_activation="tanh")), r"forward_lstm.* \(LSTM\).*recurrent_activation is"),
        (L.Bidirectional(L.SimpleRNN(H)), r"forward_simple_rnn.* \(SimpleRNN\) has no counterpart here"),
        (L.Conv1D(3, 2), r"conv1d.* \(Conv1D\) has no counterpart here; .*LSTM"),
        (L.Dense(3, activation="elu"), r"dense.* \(Dense\).*activation is 'elu'"),
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
        assert without_initializers(copy.layers[1].get_config()) == without_initializers(model.layers[1].get_config())
        if option == "states":
            for part in (model.layers[1], theirs.layers[0]):
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


# ---------------------------------------------------------------- ONNX: whole models


@cells
@stacks
def test_to_onnx_and_back(run: Any, cell: str, stack: str) -> None:
    model = STACKS[stack](cell)
    graph = interop.to_onnx(model)
    for x in (ids(), ids()[:1, 2:5], ids()[3:4]):  # any batch, any number of steps, a row without tokens
        assert_close(run(graph, input=x)[0], model.predict(x, verbose=0))
    copy = interop.from_onnx(graph)
    assert copy.get_config() == model.get_config()
    for a, b in zip(copy.weights, model.weights, strict=True):
        np.testing.assert_array_equal(a.value, b.value)


@pytest.mark.parametrize("cell", ["lstm", "gru", "gru_reset_before"])
@stacks
def test_ragged_rows_in_onnx(run: Any, cell: str, stack: str) -> None:
    model = STACKS[stack](cell)
    x = ids()
    rows = [row[:count] for row, count in zip(x, LENGTHS, strict=True)]
    (found,) = run(interop.to_onnx(model, lengths=True), input=x, lengths=LENGTHS.astype(np.int32))
    expected = model.predict(rows, verbose=0)
    if stack.startswith("tags"):
        for row, count, wanted in zip(found, LENGTHS, expected, strict=True):
            assert_close(row[:count], wanted)
    else:
        assert_close(found, expected)


ONNX_STACKS: dict[str, Callable[[], Sequential]] = {
    "peepholes": lambda: filled(Embedding(V, D, mask_zero=True), LSTM(H, peepholes=True), Dense(1)),
    "coupled_clipped": lambda: filled(Embedding(V, D), LSTM(H, coupled=True, clip=0.5), Dense(1)),
    "gru_clipped": lambda: filled(Embedding(V, D), GRU(H, reset_after=False, clip=0.25), Dense(1)),
    "all_both": lambda: filled(
        Embedding(V, D, mask_zero=True), Bidirectional(LSTM(H, peepholes=True, coupled=True, clip=1.0)), Dense(1)
    ),
    "tags_all": lambda: filled(
        Embedding(V, D), LSTM(H, peepholes=True, clip=0.7, go_backwards=True, return_sequences=True), TimeDistributed(Dense(3))
    ),
    "concat": lambda: filled(Embedding(V, D, mask_zero=True), GRU(H, return_sequences=True), ConcatPooling1D(), Dense(1)),
    "unmasked_concat": lambda: filled(Embedding(V, D), LSTM(H, return_sequences=True), ConcatPooling1D(), Dense(1)),
    "attention": lambda: filled(Embedding(V, D, mask_zero=True), GRU(H, return_sequences=True), AttentionPooling1D(), Dense(1)),
    "additive": lambda: filled(
        Embedding(V, D), Bidirectional(GRU(H, return_sequences=True)), AttentionPooling1D(units=3), Dense(2), Dense(1)
    ),
}


@pytest.mark.parametrize("stack", sorted(ONNX_STACKS))
def test_options_and_pooling_in_onnx(run: Any, stack: str) -> None:
    model = ONNX_STACKS[stack]()
    graph = interop.to_onnx(model)
    for x in (ids(), ids()[:1, 2:5], ids()[3:4]):
        assert_close(run(graph, input=x)[0], model.predict(x, verbose=0))
    copy = interop.from_onnx(graph)
    for a, b in zip(copy.weights, model.weights, strict=True):
        np.testing.assert_array_equal(a.value, b.value)
    x = ids()
    rows = [row[:count] for row, count in zip(x, LENGTHS, strict=True)]
    (found,) = run(interop.to_onnx(model, lengths=True), input=x, lengths=LENGTHS.astype(np.int32))
    expected = model.predict(rows, verbose=0)
    if stack.startswith("tags"):
        for row, count, wanted in zip(found, LENGTHS, expected, strict=True):
            assert_close(row[:count], wanted)
    else:
        assert_close(found, expected)


def test_what_onnx_does_not_have(onnx: Any, tmp_path: Path) -> None:
    for option in ({"layer_norm": True}, {"projection": 3}, {"zoneout_c": 0.2}, {"stateful": True}):
        (name, value), *_ = option.items()
        model = filled(Input((None, D)), LSTM(H, **option), Dense(1))
        message = f"lstm has {name}={value}, which has no counterpart"
        assert_refused(lambda model=model: interop.to_onnx(model, tmp_path / "a.onnx"), message, model)
    uneven = filled(Input((None, D)), Bidirectional(LSTM(H), backward_layer=LSTM(H + 1, go_backwards=True)), Dense(1))
    assert_refused(lambda: interop.to_onnx(uneven, tmp_path / "a.onnx"), "bidirectional has two directions that differ", uneven)
    wrapped = filled(Input((None, 2, D)), TimeDistributed(LSTM(H)), Dense(1))
    assert_refused(
        lambda: interop.to_onnx(wrapped, tmp_path / "a.onnx"), "time_distributed has a LSTM, expected a Dense", wrapped
    )
    assert not any(tmp_path.iterdir())


def test_onnx_of_other_models(run: Any, tmp_path: Path) -> None:
    model = filled(Input((None, D)), LSTM(H, return_sequences=True), GRU(H), Dense(2, activation="softmax"))
    x = normal(np.random.default_rng(0), B, T, D)
    interop.to_onnx(model, tmp_path / "a.onnx")
    content = (tmp_path / "a.onnx").read_bytes()
    assert_close(run(content, input=x)[0], model.predict(x, verbose=0))
    for source in (tmp_path / "a.onnx", str(tmp_path / "a.onnx"), content):
        assert_close(interop.from_onnx(source).predict(x, verbose=0), model.predict(x, verbose=0))
    pooled = filled(Embedding(V, D), LSTM(H, return_sequences=True), GlobalMaxPooling1D(keepdims=True), Dense(2))
    assert_close(run(interop.to_onnx(pooled), input=ids())[0], pooled.predict(ids(), verbose=0))
    twice = filled(
        Embedding(V, D, mask_zero=True),
        LSTM(H, return_sequences=True, go_backwards=True),
        GRU(H, return_sequences=True, go_backwards=True),
        GlobalAveragePooling1D(keepdims=True),
        Dense(2),
    )
    assert_close(run(interop.to_onnx(twice), input=ids())[0], twice.predict(ids(), verbose=0))
    dense = filled(Input((D,)), Dense(3, activation="relu"), Dense(1))
    assert_close(run(interop.to_onnx(dense), input=x[:, 0])[0], dense.predict(x[:, 0], verbose=0))
    with pytest.raises(ValueError, match=r"lengths is True, but the model's input has shape \(None, 5\)"):
        interop.to_onnx(dense, lengths=True)


def test_onnx_of_others(onnx: Any) -> None:
    """Weights as another exporter writes them: Constant nodes, Gemm with its second argument transposed, no metadata."""
    model = classifier("gru")
    graph = interop.to_onnx(model)
    del graph.metadata_props[:]
    values = {one.name: onnx.numpy_helper.to_array(one) for one in graph.graph.initializer}
    nodes = list(graph.graph.node)
    at = next(n for n, node in enumerate(nodes) if node.op_type == "MatMul")
    gemm = onnx.helper.make_node("Gemm", [nodes[at].input[0], "k", "dense/bias"], nodes[at + 1].output, transB=1)
    kernel = onnx.numpy_helper.from_array(np.ascontiguousarray(values["dense/kernel"].T), "k")
    constant = onnx.helper.make_node("Constant", [], ["k"], value=kernel)
    del graph.graph.node[:]
    graph.graph.node.extend([constant, *nodes[:at], gemm, *nodes[at + 2 :]])
    onnx.checker.check_model(graph)
    copy = interop.from_onnx(graph, emptied(model))
    for a, b in zip(copy.weights, model.weights, strict=True):
        np.testing.assert_array_equal(a.value, b.value)
    with pytest.raises(ValueError, match="does not say its layers, expected a graph of to_onnx's, or model="):
        interop.from_onnx(graph)


def test_onnx_that_does_not_fit(onnx: Any, tmp_path: Path) -> None:
    model = classifier("lstm")

    def changed(name: str, value: np.ndarray | None) -> Any:
        graph = interop.to_onnx(model)
        kept = [one for one in graph.graph.initializer if one.name != name]
        del graph.graph.initializer[:]
        graph.graph.initializer.extend(kept)
        if value is not None:
            graph.graph.initializer.append(onnx.numpy_helper.from_array(value.astype(np.float32), name))
        return graph

    for graph, message in (
        (changed("lstm/R", None), "has no lstm/R, found"),
        (changed("lstm/W", np.ones((1, 3 * H, D))), r"lstm/W has shape \(1, 21, 5\), expected \(1, 28, I\) = \[D, 4H, I\]"),
        (changed("lstm/W", np.ones((1, D, 4 * H))), r"lstm/W has shape \(1, 5, 28\), expected \(1, 28, I\)"),
        (changed("lstm/R", np.ones((1, 3 * H, H))), r"lstm/R has shape \(1, 21, 7\), expected \(1, 4H, H\) of node lstm"),
        (changed("lstm/B", np.ones((1, 4 * H))), r"lstm/B has shape \(1, 28\), expected \(1, 56\) = \[D, 8H\]"),
        (changed("lstm/W", np.ones((1, 4 * H, D + 1))), r"node lstm gives lstm/kernel the shape \(6, 28\), expected \(5, 28\)"),
        (changed("dense/kernel", np.ones((1, H))), r"gives dense/kernel the shape \(1, 7\), expected \(7, 1\)"),
        (interop.to_onnx(classifier("gru")), "node gru is a GRU, expected LSTM as lstm"),
        (interop.to_onnx(classifier("lstm_without_bias")), "node lstm has no bias, expected one as lstm has kernel"),
        (
            interop.to_onnx(filled(Embedding(V, D), LSTM(H, peepholes=True), Dense(1))),
            "node lstm has a peephole, expected none",
        ),
        (
            interop.to_onnx(filled(Embedding(V, D), LSTM(H, clip=2.0), Dense(1))),
            "lstm has clip=2.0, expected clip=None as lstm",
        ),
        (
            interop.to_onnx(filled(Embedding(V, D), LSTM(H, coupled=True), Dense(1))),
            "lstm has input_forget=True, expected coup",
        ),
        (
            interop.to_onnx(filled(Embedding(V, D), Bidirectional(LSTM(H), name="lstm"), Dense(1))),
            "node lstm has direction bidirectional, expected forward as lstm",
        ),
        (
            interop.to_onnx(STACKS["two_layers"]("lstm")),
            r"has 4 nodes with weights \(Embedding, LSTM, LSTM, Dense\), expected 3",
        ),
    ):
        assert_refused(lambda graph=graph: interop.from_onnx(graph, model), f"from_onnx: .*{message}", model)
    before = classifier("gru_reset_before")
    graph = interop.to_onnx(classifier("gru"))
    assert_refused(
        lambda: interop.from_onnx(graph, before), "linear_before_reset=1, expected 0 as gru has reset_after=False", before
    )

    content = interop.to_onnx(model).SerializeToString()
    path = tmp_path / "a.onnx"
    for damaged in (content[: len(content) // 2], content[:-3], b"", b"none"):
        path.write_bytes(damaged)
        assert_refused(lambda: interop.from_onnx(path, model), "a.onnx: not an ONNX model, or a damaged one", model)
    with pytest.raises(FileNotFoundError):
        interop.from_onnx(tmp_path / "none.onnx")
    graph = interop.to_onnx(model)
    graph.metadata_props[0].value = '{"model": {}}'
    with pytest.raises(ValueError, match=r"its layers are damaged .KeyError"):
        interop.from_onnx(graph)


# ---------------------------------------------------------------- ONNX: nodes alone


def random_weights(cell: str, layers: int, bidirectional: bool, *, reset_after: bool = True) -> list[Any]:
    rng = np.random.default_rng(1)
    gates, directions = 4 if cell == "lstm" else 3, 2 if bidirectional else 1
    bias = (2, gates * H) if cell == "gru" and reset_after else (gates * H,)
    found = []
    for n in range(layers * directions):
        features = D if n < directions else directions * H
        parts = [normal(rng, *shape, scale=0.4) for shape in ((features, gates * H), (H, gates * H), bias)]
        found.append(tuple(parts))
    return found


@pytest.mark.parametrize("form", ["lstm", "gru", "gru_reset_before", "gru_write"])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("by", ["onnxruntime", "onnx.reference"])
def test_weights_to_onnx(onnx: Any, run: Any, form: str, layers: int, bidirectional: bool, by: str) -> None:
    cell: Any = form.partition("_")[0]
    gru: Any = {"gru_reset_before": {"reset_after": False}, "gru_write": {"update_gate": "write"}}.get(form, {})
    dtype, tolerance = ("float32", 1e-5) if by == "onnxruntime" else ("float64", 1e-11)
    weights = [
        tuple(w.astype(dtype) for w in given)
        for given in random_weights(cell, layers, bidirectional, reset_after=gru.get("reset_after", True))
    ]
    rng = np.random.default_rng(2)
    x = normal(rng, T, B, D).astype(dtype)
    state = [normal(rng, len(weights), B, H).astype(dtype) for _ in range(2 if cell == "lstm" else 1)]
    lengths = np.full(B, T) if by == "onnx.reference" else LENGTHS  # which the former does not look at
    options = {"lengths": lengths, "bidirectional": bidirectional}
    if cell == "lstm":
        y, last, _ = ops.lstm(x, weights, initial_state=state, **options)
    else:
        y, h_n, _ = ops.gru(x, weights, initial_state=state[0], **options, **gru)
        last = (h_n,)

    graph = interop.weights_to_onnx(weights, cell, bidirectional=bidirectional, **gru)
    inputs = {"x": x, "lengths": lengths.astype(np.int32), "h_0": state[0], **({"c_0": state[1]} if cell == "lstm" else {})}
    if by == "onnxruntime":
        found = run(graph, **inputs)
    else:
        from onnx.reference import ReferenceEvaluator

        found = ReferenceEvaluator(graph).run(None, inputs)
    assert_close(found[0], y, tolerance)
    for a, b in zip(found[1:], last, strict=True):
        assert_close(a[:, lengths > 0], b[:, lengths > 0], tolerance)  # of a row without tokens ONNX Runtime's are zeros

    node = interop.weights_from_onnx(graph, "layer_0")
    assert (node.name, node.cell) == ("layer_0", cell)
    assert node.direction == ("bidirectional" if bidirectional else "forward")
    assert node.reset_after == (cell == "gru" and gru.get("reset_after", True))
    if form != "gru_write":
        for given, back in zip(weights, node.weights, strict=False):
            for a, b in zip(given, back, strict=False):
                np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("form", ["peepholes", "coupled", "clip", "all", "gru", "gru_reset_before"])
def test_options_of_nodes(onnx: Any, run: Any, form: str, dtype: str, bidirectional: bool) -> None:
    cell: Any = form.partition("_")[0] if form.startswith("gru") else "lstm"
    gru: Any = {"reset_after": form == "gru"} if cell == "gru" else {}
    options: Any = {"coupled": True} if form in ("coupled", "all") else {}
    options |= {"clip": 0.3} if form in ("clip", "all", "gru", "gru_reset_before") else {}
    rng = np.random.default_rng(5)
    weights = [
        tuple(w.astype(dtype) for w in (*given, *([normal(rng, 3, H)] if form in ("peepholes", "all") else [])))
        for given in random_weights(cell, 2, bidirectional, reset_after=gru.get("reset_after", True))
    ]
    x = normal(rng, T, B, D).astype(dtype)
    state = [normal(rng, len(weights), B, H).astype(dtype) for _ in range(2 if cell == "lstm" else 1)]
    lengths = np.maximum(LENGTHS, 1) if dtype == "float32" else np.full(B, T)  # onnx.reference does not look at them
    more = {"lengths": lengths, "bidirectional": bidirectional, **options, **gru}
    if cell == "lstm":
        y, last, _ = ops.lstm(x, weights, initial_state=state, **more)
    else:
        y, h_n, _ = ops.gru(x, weights, initial_state=state[0], **more)
        last = (h_n,)
    graph = interop.weights_to_onnx(weights, cell, bidirectional=bidirectional, **gru, **options)
    inputs = {"x": x, "h_0": state[0], **({"c_0": state[1]} if cell == "lstm" else {})}
    inputs["lengths"] = lengths.astype(np.int32)
    found = []
    if dtype == "float32":
        found = run(graph, **inputs)
    elif form == "peepholes":  # neither it nor ONNX Runtime has the others in float64
        from onnx.reference import ReferenceEvaluator

        found = ReferenceEvaluator(graph).run(None, inputs)
    for a, b in zip(found, (y, *last), strict=bool(found)):
        assert a.dtype == b.dtype
        assert_close(a, b, 1e-5 if dtype == "float32" else 1e-11)
    node = interop.weights_from_onnx(graph, "layer_0")
    assert (node.clip, node.coupled) == (pytest.approx(options.get("clip")), options.get("coupled", False))
    for given, back in zip(weights, node.weights, strict=False):
        for a, b in zip(given, back, strict=False):
            assert b is not None
            assert b.dtype == dtype
            np.testing.assert_array_equal(a, b)


def test_weights_that_nodes_do_not_have(onnx: Any) -> None:
    projection = [(*random_weights("lstm", 1, False)[0], None, np.ones((H, H), np.float32))]
    with pytest.raises(ValueError, match=r"weights\[0\]: projection is given, which has no counterpart"):
        interop.weights_to_onnx(projection, "lstm")
    with pytest.raises(ValueError, match="coupled is True, which a GRU does not have"):
        interop.weights_to_onnx(random_weights("gru", 1, False), "gru", coupled=True)
    with pytest.raises(ValueError, match=r"weights\[0\]: peephole is given, which has no counterpart"):
        interop.weights_to_torch([(*random_weights("lstm", 1, False)[0], np.ones((3, H), np.float32))], "lstm")


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
@pytest.mark.parametrize("after", [0, 1])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_nodes_of_others(onnx: Any, run: Any, kind: str, after: int, direction: str) -> None:
    """A node with both biases, in each direction, with sequence_lens."""
    rng = np.random.default_rng(3)
    gates, directions = 4 if kind == "LSTM" else 3, 2 if direction == "bidirectional" else 1
    shapes = {"W": (directions, gates * H, D), "R": (directions, gates * H, H), "B": (directions, 2 * gates * H)}
    arrays = [onnx.numpy_helper.from_array(normal(rng, *shape, scale=0.4), name) for name, shape in shapes.items()]
    options = {"linear_before_reset": after} if kind == "GRU" else {}
    node = onnx.helper.make_node(
        kind, ["x", "W", "R", "B", "n"], ["Y", "Y_h"], name="one", hidden_size=H, direction=direction, **options
    )
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_model(
        onnx.helper.make_graph(
            [node],
            "g",
            [value("x", 1, [T, B, D]), value("n", 6, [B])],
            [value("Y", 1, None), value("Y_h", 1, None)],
            arrays,
        ),
        opset_imports=[onnx.helper.make_opsetid("", 17)],
        ir_version=8,
    )
    found = interop.weights_from_onnx(graph)
    assert found.direction == direction
    x, lengths = normal(rng, T, B, D), np.maximum(LENGTHS, 1)
    theirs, their_last = run(graph, x=x, n=lengths.astype(np.int32))
    weights = found.weights if direction != "reverse" else [found.weights[0]] * 2
    more = {"lengths": lengths, "bidirectional": direction != "forward"}
    if kind == "LSTM":
        y, (last, _), _ = ops.lstm(x, weights, **more)
    else:
        y, last, _ = ops.gru(x, weights, reset_after=found.reset_after, **more)
    y = y.reshape(T, B, -1, H).transpose(0, 2, 1, 3)
    if direction == "reverse":
        y, last = y[:, 1:], last[1:]
    assert_close(y, theirs, 1e-5)
    assert_close(last, their_last, 1e-5)


def test_nodes_that_have_no_counterpart(onnx: Any) -> None:
    weights = random_weights("lstm", 2, False)
    graph = interop.weights_to_onnx(weights, "lstm")
    with pytest.raises(ValueError, match="has layer_0, layer_1, expected one LSTM or GRU node"):
        interop.weights_from_onnx(graph)
    with pytest.raises(ValueError, match="has layer_0, layer_1, expected a node 'layer_2'"):
        interop.weights_from_onnx(graph, "layer_2")
    for change, message in (
        ({"activations": ["Sigmoid", "Relu", "Tanh"]}, "activations Sigmoid, Relu, Tanh, expected Sigmoid, Tanh, Tanh"),
        ({"hidden_size": H + 1}, "expected H=8, node layer_0's hidden_size"),
    ):
        graph = interop.weights_to_onnx(weights[:1], "lstm")
        (node,) = [one for one in graph.graph.node if one.op_type == "LSTM"]
        kept = [one for one in node.attribute if one.name not in change]
        del node.attribute[:]
        node.attribute.extend([*kept, *(onnx.helper.make_attribute(k, v) for k, v in change.items())])
        with pytest.raises(ValueError, match=message):
            interop.weights_from_onnx(graph)
    graph = interop.weights_to_onnx(weights[:1], "lstm")
    (node,) = [one for one in graph.graph.node if one.op_type == "LSTM"]
    node.input.append("peepholes")
    with pytest.raises(ValueError, match=r"weights_from_onnx: the ONNX graph has no peepholes, found .*layer_0/W"):
        interop.weights_from_onnx(graph)
    with pytest.raises(ValueError, match=r"weights\[0\]: recurrent_kernel has shape \(7, 28\), expected \[H, 3H\]"):
        interop.weights_to_onnx(weights, "gru")
