"""The callback that lets an interrupted run continue."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Literal

from rnnext.callbacks._callbacks import Callback, Logs, checked_save_freq

_FILE = "training.safetensors"


class BackupAndRestore(Callback):
    """Keeps a checkpoint of the training in a folder of its own, and continues from it when fit is called again.

    The same program, started again after it was stopped at any moment, ends with the same weights, optimizer and history, bit
    for bit, as if it had not been stopped. The checkpoint is replaced, as a whole or not at all, at the end of each epoch or
    every `save_freq` steps; what was done after it is done again. It is deleted when training has ended, unless
    `delete_checkpoint` is False; Ctrl-C and errors leave it. A checkpoint of another training, or a damaged one, is refused
    with a ValueError that names the file.
    """

    def __init__(
        self,
        backup_dir: str | os.PathLike[str],
        save_freq: Literal["epoch"] | int = "epoch",
        *,
        delete_checkpoint: bool = True,
    ) -> None:
        if not os.fspath(backup_dir):
            raise ValueError("BackupAndRestore: backup_dir is empty, expected a folder")
        self.backup_dir = Path(backup_dir)
        self.save_freq = checked_save_freq(self, save_freq)
        self.delete_checkpoint = delete_checkpoint
        self.batches = 0  # since the checkpoint

    @property
    def filepath(self) -> Path:
        """The checkpoint's file."""
        return self.backup_dir / _FILE

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.batches = 0
        if self.backup_dir.exists() and not self.backup_dir.is_dir():
            raise NotADirectoryError(f"BackupAndRestore: backup_dir is {self.backup_dir}, which is a file, expected a folder")
        self.backup_dir.mkdir(parents=True, exist_ok=True)
        self._clean()
        if self.filepath.exists():
            self.model.load_training(self.filepath)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        if self.save_freq == "epoch":
            return
        self.batches += 1
        if self.batches >= self.save_freq:
            self.batches = 0
            self.model.save_training(self.filepath)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self.save_freq == "epoch":
            self.model.save_training(self.filepath)

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self.delete_checkpoint and not self.model.interrupted:
            self._clean()
            self.filepath.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # something else is in it
                self.backup_dir.rmdir()

    def _clean(self) -> None:
        """Delete what interrupted writes have left behind."""
        for scratch in self.backup_dir.glob(f".{_FILE}.*"):
            scratch.unlink()
