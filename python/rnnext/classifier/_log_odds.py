"""What the words of a text say about its label, counted before anything is learned. Knows ids and labels; knows no model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

_PRIOR = 2.0  # as if each id had been in so many more texts, divided between the labels like all texts
_DOUBT = 3.0  # an id that is in so many texts counts half


def log_odds(
    rows: Sequence[npt.NDArray[np.integer]], ids: int, labels: npt.NDArray[np.integer], weights: npt.NDArray[np.floating]
) -> npt.NDArray[np.float32]:
    """[ids]: the logarithm of how many times as likely each id is in texts of the greater of two labels as in the others.

    `rows` are the ids of each text; negative ones are none. How often an id is in one text does not matter (Wang & Manning
    2012). What few texts tell is drawn towards 0, and 0 is what an id has that is in none.
    """
    words = np.concatenate([np.zeros(0, np.int64), *rows]).astype(np.int64)
    texts = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
    text, word = np.divmod(np.unique((texts * ids + words)[words >= 0]), ids)
    greater = weights * (labels == labels.max(initial=0))
    share = greater.sum() / weights.sum()
    if not 0 < share < 1:
        return np.zeros(ids, np.float32)
    with_it, all_with_it = (np.bincount(word, each[text], ids) for each in (greater, weights))
    odds = (with_it + _PRIOR * share) / (all_with_it - with_it + _PRIOR * (1 - share))
    found: npt.NDArray[np.float64] = np.log(odds * (1 - share) / share) * all_with_it / (all_with_it + _DOUBT)
    return found.astype(np.float32)
