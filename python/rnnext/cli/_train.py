"""`rnnext train`: from a data set to a saved classifier. A run that was killed can be resumed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rnnext import datasets, saving
from rnnext.callbacks import BackupAndRestore
from rnnext.classifier import TextClassifier
from rnnext.cli._printable import json_line, printable
from rnnext.evaluation import Evaluation
from rnnext.evaluation import evaluate as figures

_RUN = "run.json"  # next to the checkpoint: which training it belongs to
_REFIT = "refit"  # the folder of the second training's checkpoint
_LABELS_SHOWN = 20
_MODEL_OPTIONS = ("lang", "unit", "cell", "units", "embedding_dim", "dropout", "max_tokens", "maxlen", "epochs", "batch_size")
_PLAIN = {"bigrams": 0, "wide": False, "bidirectional": False, "pooling": "last"}


def train(options: Namespace) -> None:
    """Train, measure on the held-out texts, and save."""
    folder = _output_folder(options)
    there = Path(os.path.realpath(folder))  # two names of one folder have one checkpoint
    backup = BackupAndRestore(there.with_name(f".{there.name}.training"), delete_checkpoint=False)
    with _alone(folder, backup):
        _train_into(folder, backup, options)


def _train_into(folder: Path, backup: BackupAndRestore, options: Namespace) -> None:
    data = datasets.load(options.data, test=options.test, text=options.text, label=options.label)
    say = _say_to_stderr if options.json else print
    labels = [*map(printable, data.label_names[:_LABELS_SHOWN]), *["..."] * (len(data.label_names) > _LABELS_SHOWN)]
    say(
        f"{data.name}: {len(data.train_texts):,} texts to train on, {len(data.test_texts):,} held out;"
        f" labels {', '.join(labels)}"
    )
    given = {name: value for name in _MODEL_OPTIONS if (value := getattr(options, name)) is not None}
    if options.plain:
        given |= _PLAIN
    if options.balanced:
        given["class_weight"] = "balanced"
    classifier = TextClassifier(
        **given, random_state=options.seed, text_column=options.text or "text", label_column=options.label or "label"
    )
    again = _second_of(backup, given, options, data)
    names = np.array(data.label_names)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # epochs are progress, not a result
            classifier.fit(data.train_texts, names[data.train_labels], callbacks=[backup], refit_callbacks=[again], verbose=1)
        kept, found = _kept(classifier, again), _measured(classifier, data)
        classifier.save(folder)  # before anything is printed, as nobody may read it any more
    except (KeyboardInterrupt, OSError, MemoryError) as error:  # an OSError, as of a full disk
        if backup.filepath.exists():
            stopped = "interrupted" if isinstance(error, KeyboardInterrupt) else "stopped by an error"
            _say_to_stderr(f"{stopped}; the same command with --resume continues")
        raise
    _discard(backup, again)
    if kept is not None:
        then = "; then trained again, on all texts" if kept["refit"] else ""
        which = f"{kept['epoch']} of {kept['epochs']}"
        say(f"epoch {which} was the most accurate on texts set aside: {kept['accuracy']:.1%}{then}")
    low, high = found.interval
    say(
        f"held-out accuracy {found.accuracy:.1%}, 95 % interval {low:.1%} to {high:.1%}"
        f" (always the most frequent label: {found.majority:.1%})"
    )
    say(f"saved in {folder}; use it: rnnext predict {folder} TEXT")
    if options.json:
        result = {"model": str(folder), "data": data.name, "train_rows": len(data.train_texts), "kept": kept}
        print(json_line({**result, "held_out": found.to_dict()}))


def _say_to_stderr(line: str) -> None:
    print(line, file=sys.stderr)


def _output_folder(options: Namespace) -> Path:
    """Where to save. ValueError, before any time is spent, if something else is there."""
    folder = Path(f"{Path(options.data).name.split('.')[0] or 'texts'}-model" if options.out is None else options.out)
    try:
        saving.check_replaceable(Path(os.path.realpath(folder)))
    except FileExistsError as error:
        raise ValueError(f"{error}, with --out") from None
    return folder


def _measured(classifier: TextClassifier, data: datasets.TextDataset) -> Evaluation:
    classes = classifier.classes_.tolist()
    truth = np.array([classes.index(data.label_names[number]) for number in data.test_labels])
    return figures(truth, classifier.predict_proba(data.test_texts), classes)


def _kept(classifier: TextClassifier, again: BackupAndRestore) -> dict[str, Any] | None:
    """The epoch that was chosen, how good it was, and whether a second training followed: if so, it has left a checkpoint."""
    epoch, history = classifier.best_epoch_, classifier.history_
    if epoch is None:
        return None
    found = {name: history[f"val_{name}"][epoch - 1] for name in ("loss", "accuracy")}
    return {"epoch": epoch, "epochs": len(history["val_loss"]), **found, "refit": again.filepath.exists()}


# ---------------------------------------------------------------- going on


@contextlib.contextmanager
def _alone(folder: Path, backup: BackupAndRestore) -> Iterator[None]:
    """Make the checkpoint's folder, and keep other processes out in this block. Deletes it if no checkpoint is left in it."""
    place = backup.backup_dir
    with contextlib.ExitStack() as stack:
        while True:
            place.mkdir(parents=True, exist_ok=True)
            try:
                stack.enter_context(saving.locked(place))
                break
            except FileNotFoundError:
                pass  # a training has just ended and deleted it
            except BlockingIOError:
                raise ValueError(
                    f"{folder}: is being trained by another process; wait until it has ended or name another folder with --out"
                ) from None
        try:
            yield
        finally:
            if not backup.filepath.exists():
                shutil.rmtree(place, ignore_errors=True)


def _discard(backup: BackupAndRestore, again: BackupAndRestore) -> None:
    """Delete the checkpoints. The second training's goes first, so that after a kill it is never there without the first's."""
    again.filepath.unlink(missing_ok=True)
    backup.filepath.unlink(missing_ok=True)


def _second_of(
    backup: BackupAndRestore, given: dict[str, Any], options: Namespace, data: datasets.TextDataset
) -> BackupAndRestore:
    """The second training's checkpoint, next to the first's. Without --resume, what earlier runs have left of both is deleted.

    Both are kept until the model is saved, so that a run that is killed only has its last steps to do again: while the second
    training runs, the first's checkpoint says that it is done. ValueError if they belong to another training.
    """
    checkpoint = backup.backup_dir
    this = {**given, "seed": options.seed, "train": _digest(data.train_texts, data.train_labels.tolist())}
    again = BackupAndRestore(checkpoint / _REFIT, delete_checkpoint=False)
    if options.resume and backup.filepath.exists():
        found = _read_run(checkpoint / _RUN)
        if found != this:
            differing = sorted(name for name in {*found, *this} if found.get(name) != this.get(name))
            raise ValueError(
                f"{checkpoint}: is of another training ({', '.join(differing)} differ); without --resume it is replaced"
            )
        _say_to_stderr(f"continuing from {(again if again.filepath.exists() else backup).filepath}")
    else:
        _discard(backup, again)
        if options.resume:
            _say_to_stderr(f"nothing to resume in {checkpoint}, training from the start")
        saving.write_file(checkpoint / _RUN, json.dumps(this).encode())
    return again


def _read_run(path: Path) -> dict[str, Any]:
    """Which training a checkpoint belongs to; {} if there is no such file. ValueError if it is damaged."""
    with contextlib.suppress(ValueError):
        found = json.loads(path.read_bytes()) if path.is_file() else {}
        if isinstance(found, dict):
            return found
    raise ValueError(f"{path}: damaged, expected a JSON object; without --resume the training starts from the beginning")


def _digest(texts: Sequence[str], labels: Sequence[int]) -> str:
    digest = hashlib.sha256()
    for text, label in zip(texts, labels, strict=True):
        digest.update(f"{label} {len(text)} {text}".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
