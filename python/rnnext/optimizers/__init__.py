"""Optimizers with Keras's names, defaults and equations, and schedules for their learning rate."""

from rnnext.optimizers import schedules
from rnnext.optimizers._optimizer import Optimizer, State
from rnnext.optimizers._rules import SGD, Adam, AdamW, RMSprop, deserialize, get, serialize

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "Optimizer",
    "RMSprop",
    "State",
    "deserialize",
    "get",
    "schedules",
    "serialize",
]
