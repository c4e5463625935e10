"""Labels of any type as class numbers, and the weights of rows. Knows neither texts nor models."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

_OWNER = "TextClassifier"

Labels = npt.NDArray[Any]
Numbers = npt.NDArray[np.int32]
Weights = npt.NDArray[np.float64]


def labels_of(labels: object, rows: int, *, name: str = "labels") -> Labels:
    """Labels as an array [N]. ValueError or TypeError unless there is one label for each text, all of one type."""
    if labels is None or isinstance(labels, str | bytes):
        raise TypeError(f"{_OWNER}: {name} is {labels!r}, expected a label for each text")
    if np.ma.is_masked(labels):
        raise ValueError(f"{_OWNER}: {name} has masked entries, expected a label for each text")
    given = labels if hasattr(labels, "__array__") or isinstance(labels, list | tuple) else list(labels)  # type: ignore[call-overload]
    try:
        found = np.asarray(given)
        values = given if isinstance(given, list | tuple) else found.ravel().tolist()
        if found.dtype.kind == "O" and _of_one_kind(found.ravel().tolist()):
            found = np.array(found.tolist())
    except ValueError as error:
        raise ValueError(f"{_OWNER}: {name} has entries of different shapes ({error})") from error
    if found.dtype.kind == "f" and found.itemsize > 8:
        found = found.astype(np.float64)  # JSON cannot hold longer floats
    if found.dtype.kind == "U" and not all(isinstance(label, str) for label in values):
        kinds = ", ".join(sorted({type(label).__name__ for label in values}))
        raise TypeError(f"{_OWNER}: {name} has labels of different types ({kinds}), expected one type")
    if found.shape != (rows,):
        raise ValueError(f"{_OWNER}: {name} has shape {found.shape}, expected ({rows},), one label for each text")
    if found.dtype.kind not in "biufUO":
        raise TypeError(f"{_OWNER}: {name} has dtype {found.dtype}, expected str, int, bool or float")
    if found.dtype.kind == "f" and not np.isfinite(found).all():
        raise ValueError(f"{_OWNER}: {name} has {found[~np.isfinite(found)][0]}, expected finite numbers")
    for row, (label, kept) in enumerate(zip(values, found.tolist(), strict=True)):
        if isinstance(label, str) and label.endswith("\0"):  # NumPy drops NULs at the end of a str
            raise ValueError(f"{_OWNER}: {name}[{row}] is {label!r}, expected a label that does not end in NUL")
        too_large = found.dtype.kind == "O" and isinstance(label, int) and not -(1 << 63) <= label < 1 << 64
        if too_large or (isinstance(label, int | np.integer) and int(label) != kept):
            raise ValueError(f"{_OWNER}: {name}[{row}] is {label}, expected a number that NumPy holds exactly")
    return found


def are_texts(labels: Labels) -> bool:
    """Whether all labels are str."""
    return labels.dtype.kind == "U" or (labels.dtype.kind == "O" and all(isinstance(label, str) for label in labels.tolist()))


def _of_one_kind(labels: list[Any]) -> bool:
    """Whether all labels are numbers, or all are of one other type than str."""
    numbers = all(isinstance(label, int | float | np.number | np.bool_) for label in labels)
    return numbers or (len({type(label) for label in labels}) == 1 and not isinstance(labels[0], str))


def classes_of(labels: Labels) -> Labels:
    """The distinct labels, ascending. ValueError if there are fewer than two, TypeError if they cannot be sorted."""
    try:
        classes: Labels = np.unique(labels)
    except TypeError as error:
        raise TypeError(f"{_OWNER}: labels cannot be put into an order ({error}), expected one type") from error
    if len(classes) < 2:
        raise ValueError(f"{_OWNER}: every label is {classes.tolist()[0]!r}, expected two different ones or more")
    return classes


def numbers_of(labels: Labels, classes: Labels, *, name: str = "labels") -> Numbers:
    """The index of each label in `classes`. ValueError names a label that is none of them."""
    numbers = {label: number for number, label in enumerate(classes.tolist())}
    found = np.array([numbers.get(label, -1) for label in labels.tolist()], np.int32)
    if (found < 0).any():
        row = int(np.argmax(found < 0))
        raise ValueError(f"{_OWNER}: {name}[{row}] is {labels.tolist()[row]!r}, expected one of {_listed(classes)}")
    return found


def weights_of(sample_weight: object, rows: int, *, name: str = "sample_weight") -> Weights:
    """The weight of each row [N]; all 1 if `sample_weight` is None."""
    if sample_weight is None:
        return np.ones(rows)
    found = np.asarray(sample_weight)
    if found.dtype.kind not in "biuf":
        raise TypeError(f"{_OWNER}: {name} has dtype {found.dtype}, expected numbers")
    if found.shape != (rows,):
        raise ValueError(f"{_OWNER}: {name} has shape {found.shape}, expected ({rows},), one for each text")
    if not np.isfinite(found).all() or (found < 0).any() or not found.any():
        raise ValueError(f"{_OWNER}: {name} has numbers that are negative or not finite, or is 0 everywhere")
    return _below_one(found.astype(np.float64))


def _below_one(weights: Weights) -> Weights:
    """The weights divided by a power of two, which is exact, so that they are below 1 and no sum of them overflows."""
    return np.asarray(np.ldexp(weights, -np.frexp(weights.max())[1]))


def weights_of_classes(class_weight: object, classes: Labels, numbers: Numbers, weights_of_rows: Weights) -> Weights:
    """The weight of each class, [classes], up to a common factor.

    All 1; with "balanced" inversely proportional to the total weight of the class's rows, as in scikit-learn; or what a dict
    says, 1 for labels that it lacks.
    """
    weights = np.ones(len(classes))
    if class_weight is None:
        return weights
    if isinstance(class_weight, str) and class_weight == "balanced":
        counts = np.bincount(numbers, weights_of_rows, minlength=len(classes))
        return _below_one(np.divide(counts.sum(), len(classes) * counts, out=weights, where=counts > 0))
    if not isinstance(class_weight, Mapping):
        raise TypeError(f"{_OWNER}: class_weight is {class_weight!r}, expected None, 'balanced' or a dict by label")
    known = classes.tolist()
    for label, weight in class_weight.items():
        if label not in known:
            raise ValueError(f"{_OWNER}: class_weight has the label {label!r}, expected one of {_listed(classes)}")
        if not isinstance(weight, int | float | np.number) or not 0 <= weight <= sys.float_info.max:
            raise ValueError(f"{_OWNER}: class_weight has {weight!r} for {label!r}, expected a number from 0 on")
        weights[known.index(label)] = weight
    return _below_one(weights)


def _listed(classes: Labels) -> str:
    return ", ".join(map(repr, classes.tolist()[:20])) + (", ..." if len(classes) > 20 else "")


# ---------------------------------------------------------------- to JSON and back


def to_json(classes: Labels) -> dict[str, Any]:
    """Classes as JSON can hold them. TypeError for objects that are not strings."""
    values = classes.tolist()
    if classes.dtype.kind == "O" and not all(isinstance(value, str) for value in values):
        raise TypeError(
            f"{_OWNER}: labels are of type {type(values[0]).__name__}, expected str, int, bool or float to be saved"
        )
    return {"labels": values, "dtype": "object" if classes.dtype.kind == "O" else classes.dtype.str.lstrip("<>=|")}


def from_json(content: Mapping[str, Any]) -> Labels:
    """The classes that `to_json` described. ValueError if they are not what it writes."""
    labels, dtype = content["labels"], np.dtype(content.get("dtype", "U"))
    kinds: dict[str, tuple[type, ...]] = {"b": (bool,), "i": (int,), "u": (int,), "f": (float,), "U": (str,), "O": (str,)}
    if not isinstance(labels, list) or len(labels) < 2:
        raise ValueError("expected two labels or more")
    if dtype.kind not in kinds or not all(type(label) in kinds[dtype.kind] for label in labels):
        raise ValueError(f"labels are not of dtype {dtype}")
    classes = np.array(labels, dtype)
    if len(set(classes.tolist())) != len(labels):
        raise ValueError("a label is there twice")
    if classes.tolist() != labels:  # cut off by a dtype, or NaN
        raise ValueError(f"labels are not what {dtype} can hold")
    return classes
