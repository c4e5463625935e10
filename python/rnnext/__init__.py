"""rnnext: LSTM and GRU text classifiers, trained and run at the speed of the CPU, with the API of Keras 3."""

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

__all__ = [
    "Input",
    "Sequential",
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
