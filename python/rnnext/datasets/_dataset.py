"""What a data set is, and how texts are divided so that no text is on both sides."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rnnext._tokens import nfkc

_ENOUGH = 30  # different texts, of which the hash picks some but not all: by chance it would not once in 800 times


@dataclass(frozen=True, eq=False, kw_only=True)
class TextDataset:
    """Texts with the numbers of their labels, in a part to learn from and a part to measure on."""

    name: str
    train_texts: list[str]
    train_labels: npt.NDArray[np.int32]  # [N], indices into label_names
    test_texts: list[str]
    test_labels: npt.NDArray[np.int32]
    label_names: tuple[str, ...]
    licence: str
    source: str

    def __post_init__(self) -> None:
        for part, texts, labels in (
            ("train", self.train_texts, self.train_labels),
            ("test", self.test_texts, self.test_labels),
        ):
            if not texts:
                raise ValueError(f"{self.name}: the {part} part has no rows")
            if labels.shape != (len(texts),):
                raise ValueError(f"{self.name}: {part}_labels has shape {labels.shape}, expected ({len(texts)},), one per text")


def normalised(text: str) -> str:
    """What texts are compared by to find equal ones: NFKC, without case and blanks."""
    return "".join(nfkc(text).casefold().split())


def held_out(texts: Sequence[str], *, one_in: float, purpose: str) -> npt.NDArray[np.bool_]:
    """Mark about one text in `one_in`, as bools [N], by a hash of nothing but the text and the purpose.

    So the same text is always on the same side, whatever else is in the set, and different purposes mark unrelated texts.
    """
    if one_in < 1:
        raise ValueError(f"held_out: one_in is {one_in}, expected 1 or more")

    def marked(text: str) -> bool:
        digest = hashlib.sha256(f"{purpose}\n{normalised(text)}".encode("utf-8", "surrogatepass")).digest()
        number = int.from_bytes(digest[:8], "big")
        return number % int(one_in) == 0 if one_in == int(one_in) else number < 2**64 / one_in

    return np.fromiter((marked(text) for text in texts), np.bool_, len(texts))


def distinct(texts: Sequence[str], labels: Sequence[int]) -> tuple[list[str], list[int]]:
    """Each text once, where it occurs first; texts with two labels are left out."""
    seen: dict[str, tuple[str, int]] = {}
    contested = set()
    for text, label in zip(texts, labels, strict=True):
        key = normalised(text)
        if seen.setdefault(key, (text, label))[1] != label:
            contested.add(key)
    kept = [row for key, row in seen.items() if key not in contested]
    return [text for text, _ in kept], [label for _, label in kept]


def divided(
    texts: Sequence[str], labels: Sequence[int], *, name: str, label_names: tuple[str, ...], licence: str, source: str
) -> TextDataset:
    """A data set with a fifth of the texts held out for the test, except texts whose label the rest would then lack.

    ValueError if there are too few texts for both parts, or if they are one part of an earlier division.
    """
    picked, numbers = held_out(texts, one_in=5, purpose="test"), np.array(labels, np.int32)
    test = picked.copy()
    alone = test & ~np.isin(numbers, numbers[~test])
    wanted = {normalised(text) for text, only in zip(texts, alone, strict=True) if only}
    if wanted:
        test &= [normalised(text) not in wanted for text in texts]
    if len(numbers) > 2 and np.bincount(numbers).max() == 1:
        raise ValueError(
            f"{name}: all {len(numbers)} labels are different, expected some that are alike; is it the right column?"
        )
    if test.all() or not test.any():
        different = len({normalised(text) for text in texts})
        found = f"{len(texts)} rows" if different == len(texts) else f"{len(texts)} rows (different texts: {different})"
        if different < _ENOUGH or (picked.any() and not picked.all()):
            raise ValueError(f"{name}: {found} are too few to hold some out for the test; name a test file")
        share, part = ("all", "test") if picked.all() else ("none", "training")
        raise ValueError(
            f"{name}: {found}, {share} of which the hash picks for the test, as in a {part} part that was divided before;"
            " name a test file"
        )
    return TextDataset(
        name=name,
        train_texts=[text for text, out in zip(texts, test, strict=True) if not out],
        train_labels=numbers[~test],
        test_texts=[text for text, out in zip(texts, test, strict=True) if out],
        test_labels=numbers[test],
        label_names=label_names,
        licence=licence,
        source=source,
    )
