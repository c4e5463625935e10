"""rnnext: LSTM and GRU text classifiers, trained and run at the speed of the CPU, with the API of Keras 3."""

from typing import TYPE_CHECKING, Any

from rnnext import (
    callbacks,
    constraints,
    data,
    initializers,
    interop,
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
    from rnnext.classifier import TextClassifier

__all__ = [
    "Input",
    "Sequential",
    "TextClassifier",
    "__version__",
    "callbacks",
    "constraints",
    "data",
    "get_num_threads",
    "initializers",
    "interop",
    "layers",
    "losses",
    "metrics",
    "models",
    "ops",
    "optimizers",
    "preprocessing",
    "regularizers",
    "set_num_threads",
    "show_config",
    "utils",
]


def __getattr__(name: str) -> Any:
    """`TextClassifier`, imported when it is asked for."""
    if name == "TextClassifier":
        from rnnext.classifier import TextClassifier

        return TextClassifier
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
