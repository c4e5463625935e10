"""Before anything imports NumPy: its BLAS must not spin on the cores that the engine's threads are tested on.

And the packages that others are compared with. Keras's backend is PyTorch unless KERAS_BACKEND says otherwise.
"""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
if "PYTEST_XDIST_WORKER" in os.environ:  # there is a process for each core already; tests of threads set their number
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture
def _own_handler() -> Iterator[None]:
    """Python's own handler of Ctrl-C, which pytest-xdist replaces in its processes."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def _same_threads_afterwards() -> Iterator[None]:
    from rnnext import _core

    before = _core.get_num_threads()
    yield
    _core.set_num_threads(before)


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
def run(onnx: Any) -> Callable[..., list[Any]]:
    """run(graph, name=array, ...): the graph's outputs from ONNX Runtime."""
    runtime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")

    def call(graph: Any, **inputs: Any) -> list[Any]:
        content = graph if isinstance(graph, bytes) else graph.SerializeToString()
        session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
        found: list[Any] = session.run(None, inputs)
        return found

    return call
