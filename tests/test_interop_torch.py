"""Models and weights to PyTorch and back: the same predictions, and errors that name what does not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from interop_cases import (
    RESET_AFTER,
    B,
    D,
    H,
    T,
    V,
    assert_close,
    assert_refused,
    classifier,
    emptied,
    filled,
    ids,
    normal,
    random_weights,
)

from rnnext import Sequential, interop, saving
from rnnext.layers import (
    GRU,
    LSTM,
    Bidirectional,
    Dense,
    Embedding,
    Input,
)

pytestmark = pytest.mark.filterwarnings("ignore")  # of what the other packages say


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

    model = filled(Input((None, D)), *model.layers)
    module.load_state_dict({name: torch.tensor(array) for name, array in interop.to_torch(model, names=names).items()})
    assert_close(model.predict(x, verbose=0), module(torch.tensor(x))[0].detach().numpy())
    again = interop.from_torch(module.state_dict(), emptied(model), names=names)
    assert_close(again.predict(x, verbose=0), model.predict(x, verbose=0))
