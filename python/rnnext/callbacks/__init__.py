"""Callbacks, which are called between the steps of a training run, with Keras's names, arguments and hooks."""

from rnnext.callbacks._backup import BackupAndRestore
from rnnext.callbacks._callbacks import Callback, CallbackList, History, Logs
from rnnext.callbacks._monitors import EarlyStopping, ModelCheckpoint, ReduceLROnPlateau
from rnnext.callbacks._others import CSVLogger, LambdaCallback, LearningRateScheduler, SwapEMAWeights, TerminateOnNaN

__all__ = [
    "BackupAndRestore",
    "CSVLogger",
    "Callback",
    "CallbackList",
    "EarlyStopping",
    "History",
    "LambdaCallback",
    "LearningRateScheduler",
    "Logs",
    "ModelCheckpoint",
    "ReduceLROnPlateau",
    "SwapEMAWeights",
    "TerminateOnNaN",
]
