"""rnnext: LSTM and GRU text classifiers, trained and run at the speed of the CPU, with the API of Keras 3."""

import importlib
from typing import TYPE_CHECKING, Any

from rnnext import _openmp as _openmp  # first: it loads the extension
from rnnext import (
    backend,
    callbacks,
    constraints,
    data,
    initializers,
    layers,
    losses,
    metrics,
    models,
    ops,
    optimizers,
    preprocessing,
    regularizers,
    utils,
)
from rnnext._config import get_num_threads, set_num_threads, show_config
from rnnext._version import __version__
from rnnext.layers import Input
from rnnext.models import Sequential

if TYPE_CHECKING:
    from rnnext import datasets, evaluation, evidence, interop, plots, text
    from rnnext.classifier import TextClassifier

_WHEN_ASKED_FOR = ("datasets", "evaluation", "evidence", "interop", "plots", "text")  # modules

__all__ = [
    "Input",
    "Sequential",
    "TextClassifier",
    "__version__",
    "backend",
    "callbacks",
    "constraints",
    "data",
    "datasets",
    "evaluation",
    "evidence",
    "get_num_threads",
    "initializers",
    "interop",
    "layers",
    "losses",
    "metrics",
    "models",
    "ops",
    "optimizers",
    "plots",
    "preprocessing",
    "regularizers",
    "set_num_threads",
    "show_config",
    "text",
    "utils",
]


def __getattr__(name: str) -> Any:
    """`TextClassifier` and some modules, imported when they are asked for."""
    if name == "TextClassifier":
        from rnnext.classifier import TextClassifier

        return TextClassifier
    if name in _WHEN_ASKED_FOR:
        return importlib.import_module(f"rnnext.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
