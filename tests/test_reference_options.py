"""The reference's options of the cells: finite differences, PyTorch's autograd and ONNX's runtimes hold them to account."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from engine_cases import FORMS, NORMS, ONLY_LSTM, TERMS, VALUES

from rnnext import reference

B, T, I, H, P = 4, 5, 3, 4, 3  # noqa: E741 - the symbols of docs/equations.md; P is the width of a projected h

WINDOWS: dict[str, dict[str, Any]] = {
    "whole": {},
    "right_padded": {"lengths": np.array([5, 0, 3, 1])},
    "left_padded": {"starts": np.array([0, 5, 2, 4])},
    "anywhere": {"starts": np.array([0, 1, 1, 3]), "lengths": np.array([5, 0, 3, 1])},
}
GRADIENTS = ("x", "kernel", "recurrent_kernel", "bias", "h0", "c0")  # in the order backward returns them

OPTIONS: dict[str, tuple[str, ...]] = {
    "mask": ("recurrent_mask",),
    "zoneout_h": ("zoneout_h",),
    "clip": ("clip",),
    "norms": NORMS,
    "zoneout_c": ("zoneout_c",),
    "zoneout": ("zoneout_h", "zoneout_c"),
    "peephole": ("peephole",),
    "coupled": ("coupled",),
    "coupled_peephole": ("coupled", "peephole"),
    "projection": ("projection",),
    "projection_mask_zoneout": ("projection", "recurrent_mask", "zoneout_h", "zoneout_c"),
    "norms_peephole_coupled": (*NORMS, "peephole", "coupled"),
    "all_but_coupled": ("recurrent_mask", "zoneout_h", "zoneout_c", "peephole", "clip", "projection", *NORMS),
    "all": ("recurrent_mask", "zoneout_h", "zoneout_c", "peephole", "coupled", "clip", "projection", *NORMS),
}
CASES = [
    (cell, writes, option)
    for cell, writes in FORMS
    for option, names in OPTIONS.items()
    if cell == "lstm" or option == "all" or not ONLY_LSTM & set(names) or option == "norms"
]
cases = pytest.mark.parametrize(("cell", "writes", "option"), CASES)


def random_arguments(cell: str, option: str = "", *, seed: int = 0) -> tuple[dict[str, Any], dict[str, Any]]:
    """What has a gradient, all of it random and away from zero on average, and the options that have none."""
    rng = np.random.default_rng(seed)
    names = {name for name in OPTIONS.get(option, ()) if cell == "lstm" or name not in ONLY_LSTM}
    width = (4 if cell == "lstm" else 3) * H
    out = P if "projection" in names else H
    shapes = {
        "x": (B, T, I),
        "kernel": (I, width),
        "recurrent_kernel": (out, width),
        "bias": (2, width) if cell == "gru_reset_after" else (width,),
        "h0": (B, out),
        "c0": (B, H),
        "peephole": (3, H),
        "projection": (H, P),
        "kernel_norm": (width,),
        "recurrent_norm": (width,),
        "state_norm": (2, H),
    }
    with_gradients = {
        name: rng.normal(0.3, 0.7, shape)
        for name, shape in shapes.items()
        if (name not in TERMS or name in names) and (cell == "lstm" or name != "c0")
    }
    without: dict[str, Any] = {
        "recurrent_mask": rng.integers(0, 2, (B, out)) / 0.5,
        "zoneout_h": rng.uniform(0, 1, (B, T, out)),
        "zoneout_c": rng.integers(0, 2, (B, T, H)).astype(float),
        "coupled": True,
        "clip": 0.8,
    }
    return with_gradients, {name: value for name, value in without.items() if name in names}


def run(cell: Any, arguments: dict[str, Any], upstream_seed: int = 1, **options: Any) -> tuple[Any, Any, Any]:
    """Values, upstream gradients and gradients, each by name."""
    *values, tape = reference.recurrent_forward(cell, **arguments, **options)
    rng = np.random.default_rng(upstream_seed)
    upstream = [rng.normal(size=value.shape) for value in values if value is not None]
    gradients = reference.recurrent_backward(tape, *upstream)
    assert len(gradients) == 6 + bool(set(arguments) & set(TERMS))
    of_terms = gradients[6] if len(gradients) == 7 else {}
    return dict(zip(VALUES, values, strict=True)), upstream, {**dict(zip(GRADIENTS, gradients[:6], strict=True)), **of_terms}


@cases
@pytest.mark.parametrize(
    ("window", "reverse", "return_sequences"),
    [*((window, reverse, True) for window in WINDOWS for reverse in (False, True)), ("right_padded", False, False)],
)
def test_gradients_are_the_finite_differences(
    cell: str, writes: bool, option: str, window: str, reverse: bool, return_sequences: bool
) -> None:
    """For each argument, along a random direction; with these seeds no pre-activation crosses ±clip on it."""
    arguments, without = random_arguments(cell, option)
    options = {
        **without,
        **WINDOWS[window],
        "reverse": reverse,
        "update_gate_writes": writes,
        "return_sequences": return_sequences,
    }
    _, upstream, gradients = run(cell, arguments, **options)
    rng = np.random.default_rng(2)

    def loss(name: str, change: np.ndarray) -> float:
        outputs = reference.recurrent_forward(cell, **{**arguments, name: arguments[name] + change}, **options)  # type: ignore[arg-type]
        return sum(float((d * out).sum()) for d, out in zip(upstream, outputs[: len(upstream)], strict=True))  # type: ignore[operator]

    assert {name for name, gradient in gradients.items() if gradient is not None} == arguments.keys()
    for name, value in arguments.items():
        gradient = gradients[name]
        assert gradient.shape == value.shape
        direction = rng.normal(size=value.shape)
        direction /= np.linalg.norm(direction)
        step = 1e-5
        numeric = (loss(name, step * direction) - loss(name, -step * direction)) / (2 * step)
        analytic = float((gradient * direction).sum())
        assert abs(numeric - analytic) < 2e-8 * (1 + np.linalg.norm(gradient)), (
            f"d{name}: numeric {numeric}, analytic {analytic}"
        )


@cases
def test_an_option_changes_what_is_computed(cell: str, writes: bool, option: str) -> None:
    """An option that is read nowhere would pass all other tests of this file."""
    arguments, without = random_arguments(cell, option)
    for name in {**without, **{name: 0 for name in TERMS if name in arguments}}:
        if name in NORMS:
            changed = {**arguments, name: 2 * arguments[name]}, without
        elif name == "projection":
            changed = {**arguments, name: -arguments[name]}, without
        else:
            changed = tuple({k: v for k, v in given.items() if k != name} for given in (arguments, without))
        y = reference.recurrent_forward(cell, **arguments, **without, update_gate_writes=writes)[0]  # type: ignore[arg-type]
        other = reference.recurrent_forward(cell, **changed[0], **changed[1], update_gate_writes=writes)[0]  # type: ignore[arg-type]
        assert np.abs(y - other).max() > 1e-3, name


@pytest.mark.parametrize(("cell", "writes"), FORMS)
def test_options_that_change_nothing(cell: Any, writes: bool) -> None:
    arguments, _ = random_arguments(cell)
    neutral: dict[str, Any] = {"recurrent_mask": np.ones((B, H)), "zoneout_h": np.zeros((B, T, H)), "clip": 1e9}
    if cell == "lstm":
        neutral |= {"zoneout_c": np.zeros((B, T, H)), "peephole": np.zeros((3, H)), "projection": np.eye(H)}
    plain = reference.recurrent_forward(cell, **arguments, update_gate_writes=writes, return_sequences=True)
    given = reference.recurrent_forward(cell, **arguments, **neutral, update_gate_writes=writes, return_sequences=True)
    np.testing.assert_array_equal(given[0], plain[0])
    expected, actual = (reference.recurrent_backward(tape, np.ones((B, T, H))) for *_, tape in (plain, given))
    assert len(expected) == 6
    for wanted, got in zip(expected, actual[:6], strict=True):
        np.testing.assert_array_equal(got, wanted)
    names = [set(more) for more in actual[6:] if isinstance(more, dict)]
    assert names == ([{"peephole", "projection"}] if cell == "lstm" else [])


@pytest.mark.parametrize(("cell", "writes"), FORMS)
def test_a_state_that_stays_whole(cell: Any, writes: bool) -> None:
    arguments, _ = random_arguments(cell)
    stays: dict[str, Any] = {"zoneout_h": np.broadcast_to(1.0, (B, T, H))}
    if cell == "lstm":
        stays["zoneout_c"] = stays["zoneout_h"]
    values, upstream, gradients = run(cell, arguments, update_gate_writes=writes, **stays)
    np.testing.assert_array_equal(values["h_T"], arguments["h0"])
    np.testing.assert_allclose(gradients["h0"], upstream[0] + upstream[1], rtol=1e-15)
    assert not np.any(gradients["kernel"])


@pytest.mark.parametrize(
    ("cell", "change", "message"),
    [
        ("lstm", {"recurrent_mask": np.ones((B, 1))}, r"recurrent_mask has shape \(4, 1\), expected \(4, 4\)"),
        ("lstm", {"zoneout_h": np.ones((B, H))}, r"zoneout_h has shape \(4, 4\), expected \(4, 5, 4\)"),
        ("lstm", {"zoneout_c": np.ones((B, T, 1))}, r"zoneout_c has shape \(4, 5, 1\), expected \(4, 5, 4\)"),
        ("lstm", {"peephole": np.ones(3 * H)}, r"peephole has shape \(12,\), expected \(3, 4\)"),
        ("lstm", {"projection": np.ones((H, P))}, r"projection has shape \(4, 3\), expected \(4, 4\)"),
        ("lstm", {"projection": np.ones((5, H))}, r"kernel has shape \(3, 16\), expected \(3, 20\)"),
        ("lstm", {"clip": 0.0}, "clip is 0.0, expected a number above 0, or None"),
        ("lstm", {"clip": float("nan")}, "clip is nan"),
        ("lstm", {"kernel_norm": np.ones(16)}, "recurrent_norm is None, expected an array like the other norms, or none"),
        ("lstm", {"kernel_norm": np.ones(16), "recurrent_norm": np.ones(16)}, "state_norm is None"),
        ("gru_reset_after", {"recurrent_norm": np.ones(12)}, "kernel_norm is None"),
        (
            "gru_reset_after",
            {"kernel_norm": np.ones(12), "recurrent_norm": np.ones(11)},
            r"recurrent_norm has shape \(11,\), expected \(12,\)",
        ),
        (
            "gru_reset_after",
            {"kernel_norm": np.ones(12), "recurrent_norm": np.ones(12), "norm_epsilon": 0.0},
            "norm_epsilon is 0.0, expected a number above 0",
        ),
        ("gru_reset_before", {"peephole": np.ones((3, H))}, "peephole was given, but a GRU has no such term"),
        ("gru_reset_before", {"coupled": True}, "coupled was given, but a GRU"),
        ("gru_reset_before", {"projection": np.ones((H, H))}, "projection was given, but a GRU"),
        ("gru_reset_before", {"zoneout_c": np.ones((B, T, H))}, "zoneout_c was given, but a GRU"),
        ("gru_reset_before", {"state_norm": np.ones((2, H))}, "state_norm was given, but a GRU"),
    ],
)
def test_errors_say_what_came(cell: Any, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        reference.recurrent_forward(cell, **{**random_arguments(cell)[0], **change})


# ---------------------------------------------------------------- PyTorch, where it is installed


def torch_run(torch: Any, cell: str, v: dict[str, Any], *, writes: bool) -> Any:
    """The options as their papers write them, in tensors that autograd follows; (all h, last states)."""

    def layer_norm(a: Any, scale: Any) -> Any:
        return a if scale is None else torch.nn.functional.layer_norm(a, a.shape[-1:], eps=1e-3) * scale

    def held(a: Any) -> Any:
        return torch.clamp(a, -v["clip"], v["clip"]) if "clip" in v else a

    def zoned(name: str, t: int, old: Any, new: Any) -> Any:
        return v[name][:, t] * old + (1 - v[name][:, t]) * new if name in v else new

    k, s, U = v.get("kernel_norm"), v.get("recurrent_norm"), v["recurrent_kernel"]
    b = v["bias"] if cell == "gru_reset_after" else torch.stack([v["bias"], torch.zeros_like(v["bias"])])
    h, c, outputs = v["h0"], v.get("c0"), []
    for t in range(T):
        read = h * v["recurrent_mask"] if "recurrent_mask" in v else h
        from_x = (layer_norm(v["x"][:, t] @ v["kernel"], k) + b[0]).split(H, dim=1)
        if cell == "lstm":
            i, f, g, o = (p + q for p, q in zip(from_x, layer_norm(read @ U, s).split(H, dim=1), strict=True))
            p_i, p_f, p_o = v.get("peephole", torch.zeros(3, H, dtype=torch.float64))
            i = torch.sigmoid(held(i + p_i * c))
            f = 1 - i if "coupled" in v else torch.sigmoid(held(f + p_f * c))
            new_c = f * c + i * torch.tanh(held(g))
            o = torch.sigmoid(held(o + p_o * new_c))
            seen = layer_norm(new_c, v["state_norm"][0]) + v["state_norm"][1] if "state_norm" in v else new_c
            new_h = o * torch.tanh(seen)
            new_h = new_h @ v["projection"] if "projection" in v else new_h
            c = zoned("zoneout_c", t, c, new_c)
        else:
            if cell == "gru_reset_after":
                h_z, h_r, h_n = (layer_norm(read @ U, s) + b[1]).split(H, dim=1)
            else:
                h_z, h_r = layer_norm(read @ U[:, : 2 * H], None if s is None else s[: 2 * H]).split(H, dim=1)
            z, r = torch.sigmoid(held(from_x[0] + h_z)), torch.sigmoid(held(from_x[1] + h_r))
            if cell == "gru_reset_before":
                after = layer_norm((r * read) @ U[:, 2 * H :], None if s is None else s[2 * H :])
            else:
                after = r * h_n
            n = torch.tanh(held(from_x[2] + after))
            new_h = (1 - z) * h + z * n if writes else z * h + (1 - z) * n
        h = zoned("zoneout_h", t, h, new_h)
        outputs.append(h)
    return torch.stack(outputs, dim=1), h, c


@cases
def test_values_and_gradients_are_autograds(cell: str, writes: bool, option: str) -> None:
    torch = pytest.importorskip("torch", reason="a comparison with PyTorch needs PyTorch, which rnnext itself does not")
    arguments, without = random_arguments(cell, option)
    values, upstream, gradients = run(cell, arguments, **without, update_gate_writes=writes, return_sequences=True)
    tensors = {name: torch.tensor(value, requires_grad=True) for name, value in arguments.items()}
    fixed = {name: torch.tensor(value) if isinstance(value, np.ndarray) else value for name, value in without.items()}
    results = [out for out in torch_run(torch, cell, {**tensors, **fixed}, writes=writes) if out is not None]
    for name, expected in zip(VALUES, results, strict=False):
        np.testing.assert_allclose(values[name], expected.detach().numpy(), rtol=0, atol=1e-12, err_msg=name)
    torch.autograd.backward(results, [torch.tensor(d) for d in upstream])
    for name, tensor in tensors.items():
        scale = 1 + np.abs(gradients[name]).max()
        np.testing.assert_allclose(gradients[name], tensor.grad.numpy(), rtol=0, atol=1e-11 * scale, err_msg=f"d{name}")


def test_a_projection_is_torchs() -> None:
    torch = pytest.importorskip("torch", reason="a comparison with PyTorch needs PyTorch, which rnnext itself does not")
    a, _ = random_arguments("lstm", "projection")
    layer = torch.nn.LSTM(I, H, proj_size=P, batch_first=True, dtype=torch.float64)
    theirs = {"weight_ih_l0": a["kernel"].T, "weight_hh_l0": a["recurrent_kernel"].T, "weight_hr_l0": a["projection"].T}
    theirs |= {"bias_ih_l0": a["bias"], "bias_hh_l0": np.zeros(4 * H)}
    layer.load_state_dict({name: torch.tensor(np.ascontiguousarray(value)) for name, value in theirs.items()})
    x, h0, c0 = (torch.tensor(value, requires_grad=True) for value in (a["x"], a["h0"][None], a["c0"][None]))
    expected, _ = layer(x, (h0, c0))
    *values, tape = reference.recurrent_forward("lstm", **a, return_sequences=True)
    np.testing.assert_allclose(values[0], expected.detach().numpy(), rtol=0, atol=1e-12)
    dy = np.random.default_rng(1).normal(size=(B, T, P))
    expected.backward(torch.tensor(dy))
    dx, dkernel, drecurrent, dbias, dh0, dc0, more = reference.recurrent_backward(tape, dy)  # type: ignore[misc]
    gradients = {name: parameter.grad.numpy().T for name, parameter in layer.named_parameters()}
    for actual, wanted in (
        (dx, x.grad),
        (dh0, h0.grad[0]),
        (dc0, c0.grad[0]),
        (dkernel, gradients["weight_ih_l0"]),
        (drecurrent, gradients["weight_hh_l0"]),
        (dbias, gradients["bias_ih_l0"]),
        (more["projection"], gradients["weight_hr_l0"]),
    ):
        np.testing.assert_allclose(actual, wanted, rtol=0, atol=1e-11)


# ---------------------------------------------------------------- ONNX's runtimes, where they are installed


def onnx_inputs(cell: str, a: dict[str, Any], dtype: Any, lengths: np.ndarray | None) -> dict[str, Any]:
    """The inputs of ONNX's node: gates i o f g or z r n, [1, gates, ..], time before batch, peepholes i o f."""
    order = [0, 3, 1, 2] if cell == "lstm" else [0, 1, 2]

    def gates(w: np.ndarray) -> np.ndarray:
        return np.concatenate([w[..., g * H : (g + 1) * H] for g in order], axis=-1).T[None]

    b = a["bias"] if cell == "gru_reset_after" else np.stack([a["bias"], np.zeros_like(a["bias"])])
    inputs = {
        "X": a["x"].swapaxes(0, 1),
        "W": gates(a["kernel"]),
        "R": gates(a["recurrent_kernel"]),
        "B": np.concatenate([gates(b[0]), gates(b[1])], axis=-1),
        "sequence_lens": lengths,
        "initial_h": a["h0"][None],
    }
    if cell == "lstm":
        inputs |= {"initial_c": a["c0"][None], "P": a["peephole"][[0, 2, 1]].reshape(1, -1) if "peephole" in a else None}
    return {
        name: value.astype(np.int32 if name == "sequence_lens" else dtype) if value is not None else None
        for name, value in inputs.items()
    }


def onnx_model(cell: str, inputs: dict[str, Any], outputs: tuple[str, ...], **attributes: Any) -> Any:
    onnx = pytest.importorskip("onnx", reason="a comparison with ONNX needs onnx, which rnnext itself does not")
    make = onnx.helper
    given = {name: value for name, value in inputs.items() if value is not None}
    kind = {name: make.np_dtype_to_tensor_dtype(value.dtype) for name, value in given.items()}
    node = make.make_node(
        "LSTM" if cell == "lstm" else "GRU",
        [name if name in given else "" for name in inputs],
        list(outputs),
        hidden_size=H,
        **({} if cell == "lstm" else {"linear_before_reset": int(cell == "gru_reset_after")}),
        **attributes,
    )
    graph = make.make_graph(
        [node],
        "one",
        [make.make_tensor_value_info(name, kind[name], value.shape) for name, value in given.items()],
        [make.make_tensor_value_info(name, kind["X"], None) for name in outputs],
    )
    return make.make_model(graph, opset_imports=[make.make_opsetid("", 14)], ir_version=8)


@pytest.mark.parametrize("window", ["whole", "right_padded"])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("clip", [None, 0.5])
@pytest.mark.parametrize(
    ("cell", "option"),
    [
        ("lstm", ""),
        ("lstm", "peephole"),
        ("lstm", "coupled"),
        ("lstm", "coupled_peephole"),
        ("gru_reset_after", ""),
        ("gru_reset_before", ""),
    ],
)
def test_values_are_onnx_runtimes(cell: Any, option: str, clip: float | None, reverse: bool, window: str) -> None:
    """They say what is clipped, too: the whole pre-activation, and never the cell state."""
    runtime = pytest.importorskip("onnxruntime", reason="a comparison with ONNX Runtime needs it, which rnnext itself does not")
    a, without = random_arguments(cell, option)
    lengths = np.array([5, 2, 3, 1]) if window == "right_padded" else None
    inputs = onnx_inputs(cell, a, np.float32, lengths)
    outputs = ("Y", "Y_h", "Y_c") if cell == "lstm" else ("Y", "Y_h")
    attributes = {"direction": "reverse" if reverse else "forward"} | ({} if clip is None else {"clip": clip})
    if cell == "lstm":
        attributes["input_forget"] = int("coupled" in without)
    model = onnx_model(cell, inputs, outputs, **attributes)
    session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    Y, *states = session.run(None, {name: value for name, value in inputs.items() if value is not None})
    y, h_T, c_T, _ = reference.recurrent_forward(
        cell, **a, **without, clip=clip, lengths=lengths, reverse=reverse, return_sequences=True
    )
    for n, length in enumerate([T] * B if lengths is None else lengths):
        # ONNX's reverse returns the outputs in the order of the inputs and zeros behind a row's tokens
        computed = y[n, T - length :][::-1] if reverse else y[n, :length]
        np.testing.assert_allclose(Y[:length, 0, n], computed, rtol=0, atol=1e-5)
    for state, expected in zip(states, (h_T, c_T), strict=False):
        np.testing.assert_allclose(state[0], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cell", ["lstm", "gru_reset_after", "gru_reset_before"])
def test_values_are_the_onnx_references(cell: Any, reverse: bool) -> None:
    """The reference of ONNX, in float64; it has no lengths, no clipping and no coupled gates."""
    evaluator = pytest.importorskip("onnx.reference", reason="a comparison with ONNX needs onnx, which rnnext itself does not")
    a, _ = random_arguments(cell, "peephole")
    inputs = onnx_inputs(cell, a, np.float64, None)
    model = onnx_model(cell, inputs, ("Y", "Y_h"), direction="reverse" if reverse else "forward")
    given = {name: value for name, value in inputs.items() if value is not None}
    Y, Y_h = evaluator.ReferenceEvaluator(model).run(None, given)
    y, h_T, *_ = reference.recurrent_forward(cell, **a, reverse=reverse, return_sequences=True)
    np.testing.assert_allclose(Y[:, 0].swapaxes(0, 1), y[:, ::-1] if reverse else y, rtol=0, atol=1e-11)
    np.testing.assert_allclose(Y_h[0], h_T, rtol=0, atol=1e-11)
