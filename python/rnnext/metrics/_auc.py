"""Areas under curves of true and false positives over all thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from rnnext._checks import whole_number
from rnnext.losses import weights_of_losses
from rnnext.metrics._metric import Metric, as_pair, ratio
from rnnext.parameters import Array

_EPSILON = 1e-7  # by which the outermost thresholds lie outside of 0 to 1, as in Keras
_SLACK = 1e-6  # what probabilities, computed in float32, may be outside of 0 to 1


class AUC(Metric):
    """The area under the ROC or the precision-recall curve, from counts between `num_thresholds` thresholds, as in Keras.

    The thresholds are evenly spaced from 0 to 1 unless `thresholds` names those between the two. `summation_method` says how
    the curve goes on between its points: "interpolation", or the lower ("minoring") or higher ("majoring") of the two.
    `from_logits`: the sigmoid of `y_pred` is taken first. With `multi_label` each of the L outputs has its own curve, and the
    result is the mean of the areas, weighted by `label_weights` `[L]`; otherwise these weigh the outputs in the one curve.
    """

    def __init__(
        self,
        num_thresholds: int = 200,
        curve: Literal["ROC", "PR"] = "ROC",
        summation_method: Literal["interpolation", "minoring", "majoring"] = "interpolation",
        name: str = "auc",
        *,
        thresholds: Sequence[float] | None = None,
        multi_label: bool = False,
        num_labels: int | None = None,
        label_weights: Sequence[float] | None = None,
        from_logits: bool = False,
    ) -> None:
        super().__init__(name)
        if str(curve).upper() not in ("ROC", "PR"):
            raise ValueError(f"AUC: curve is {curve!r}, expected 'ROC' or 'PR'")
        if summation_method not in ("interpolation", "minoring", "majoring"):
            raise ValueError(
                f"AUC: summation_method is {summation_method!r}, expected 'interpolation', 'minoring' or 'majoring'"
            )
        if thresholds is not None:
            try:
                inner = np.sort(np.asarray(thresholds, np.float64).reshape(-1))
            except (TypeError, ValueError) as error:
                raise TypeError(f"AUC: thresholds is {thresholds!r}, expected numbers from 0 to 1") from error
            if not inner.size or not (inner[0] >= 0 and inner[-1] <= 1):
                raise ValueError(f"AUC: thresholds is {thresholds!r}, expected numbers from 0 to 1")
        else:
            whole_number("AUC", "num_thresholds", num_thresholds, 2)
            inner = np.arange(1, num_thresholds - 1) / (num_thresholds - 1)
        if num_labels is not None and not multi_label:
            raise ValueError(f"AUC: num_labels is {num_labels}, expected None unless multi_label is True")
        self.curve = str(curve).upper()
        self.summation_method = summation_method
        self.multi_label = multi_label
        self.num_labels = num_labels
        self.label_weights = None if label_weights is None else [float(weight) for weight in label_weights]
        self.from_logits = from_logits
        self.num_thresholds = len(inner) + 2
        self._given = None if thresholds is None else inner.tolist()
        self._thresholds = np.array([-_EPSILON, *inner, 1 + _EPSILON], np.float32)
        even = np.linspace(0, 1, self.num_thresholds)
        self._even = self._given is None or (len(inner) > 0 and bool(np.allclose(self._thresholds, even, atol=2 * _EPSILON)))
        # counts[l, y, k]: weight of the outputs l that are labelled y and lie above exactly k of the thresholds
        self._counts: npt.NDArray[np.float64] | None = None

    @property
    def thresholds(self) -> list[float]:
        """All thresholds, the two outermost ones included."""
        return [-_EPSILON, *(float(threshold) for threshold in self._thresholds[1:-1]), 1 + _EPSILON]

    def _above(self, p: Array) -> npt.NDArray[np.intp]:
        """How many of the thresholds each probability lies above."""
        if not self._even:
            return np.asarray(np.searchsorted(self._thresholds, p, side="left"), np.intp)
        steps = np.ceil(np.minimum(np.maximum(p, 0), 1) * np.float32(self.num_thresholds - 1))
        return np.asarray(np.maximum(steps, 1), np.intp)

    def update_state(self, y_true: npt.ArrayLike, y_pred: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None) -> None:
        labels, p = as_pair("AUC", y_true, y_pred)
        if not p.size:
            return
        least, most = np.minimum.reduce(p, axis=None), np.maximum.reduce(p, axis=None)
        if np.isnan(least):
            raise ValueError("AUC: y_pred has NaN, expected numbers")
        if self.from_logits:
            e = np.exp(-np.abs(p))
            p = np.where(p >= 0, np.float32(1), e) / (1 + e)
        elif least < -_SLACK or most > 1 + _SLACK:
            raise ValueError(
                f"AUC: y_pred has values from {least:g} to {most:g}, expected 0 to 1; from_logits=True takes logits"
            )
        L = 1
        if self.multi_label:
            if p.ndim != 2 or self.num_labels not in (None, p.shape[1]):
                expected = "L" if self.num_labels is None else self.num_labels
                raise ValueError(f"AUC: y_pred has shape {p.shape}, expected [B, {expected}] with multi_label")
            L = p.shape[1]
        weights = None if sample_weight is None else weights_of_losses("AUC", sample_weight, p.shape)
        if self.label_weights is not None:
            if p.ndim < 2 or p.shape[-1] != len(self.label_weights):
                raise ValueError(
                    f"AUC: y_pred has shape {p.shape}, expected one output for each of {len(self.label_weights)} label_weights"
                )
            if not self.multi_label:
                weights = (1 if weights is None else weights) * np.broadcast_to(
                    np.asarray(self.label_weights, np.float32), p.shape
                )
        if self._counts is None or len(self._counts) != L:
            if self._counts is not None:
                raise ValueError(f"AUC: y_pred has {L} outputs, expected {len(self._counts)} as before")
            self._counts = np.zeros((L, 2, self.num_thresholds + 1))
        width = self.num_thresholds + 1
        cells = self._above(p) + width * (labels != 0)
        if L > 1:
            cells = cells + 2 * width * np.arange(L)
        found = np.bincount(cells.reshape(-1), None if weights is None else weights.reshape(-1), L * 2 * width)
        self._counts += found.reshape(self._counts.shape)

    def result(self) -> float:
        if self._counts is None:
            return 0.0
        above = np.flip(np.cumsum(np.flip(self._counts[:, :, 1:], axis=-1), axis=-1), axis=-1)  # [L, 2, num_thresholds]
        total = self._counts.sum(axis=-1)  # [L, 2]
        areas = self._areas(above[:, 1], above[:, 0], total[:, 1:], total[:, :1])
        if not self.multi_label or self.label_weights is None:
            return float(areas.mean())
        return float(ratio(areas @ self.label_weights, sum(self.label_weights)))

    def _areas(
        self,
        tp: npt.NDArray[np.float64],
        fp: npt.NDArray[np.float64],
        positives: npt.NDArray[np.float64],
        negatives: npt.NDArray[np.float64],
    ) -> npt.NDArray[np.float64]:
        """Areas `[L]` from true and false positives `[L, num_thresholds]` and the labels' totals `[L, 1]`."""
        if self.curve == "PR" and self.summation_method == "interpolation":
            # Davis and Goadrich 2006: between two thresholds, true and all positives grow in proportion. With P = tp + fp and
            # tp = slope P + intercept, the integral of tp/P dtp is slope (Δtp + intercept log(P_a / P_b)).
            P = tp + fp
            d_tp = tp[:, :-1] - tp[:, 1:]
            slope = ratio(d_tp, P[:, :-1] - P[:, 1:])
            intercept = tp[:, 1:] - slope * P[:, 1:]
            both = (P[:, :-1] > 0) & (P[:, 1:] > 0)
            growth = np.where(both, ratio(P[:, :-1], P[:, 1:]), 1.0)
            return np.asarray(ratio(slope * (d_tp + intercept * np.log(growth)), positives).sum(axis=-1), np.float64)
        recall = ratio(tp, positives)
        x, y = (ratio(fp, negatives), recall) if self.curve == "ROC" else (recall, ratio(tp, tp + fp))
        match self.summation_method:
            case "interpolation":
                heights = (y[:, :-1] + y[:, 1:]) / 2
            case "minoring":
                heights = np.minimum(y[:, :-1], y[:, 1:])
            case _:
                heights = np.maximum(y[:, :-1], y[:, 1:])
        return np.asarray(np.sum((x[:, :-1] - x[:, 1:]) * heights, axis=-1), np.float64)

    def reset_state(self) -> None:
        self._counts = None

    def get_config(self) -> dict[str, Any]:
        config = {
            **super().get_config(),
            "num_thresholds": self.num_thresholds,
            "curve": self.curve,
            "summation_method": self.summation_method,
            "multi_label": self.multi_label,
            "num_labels": self.num_labels,
            "label_weights": self.label_weights,
            "from_logits": self.from_logits,
        }
        if self._given is not None:
            config["thresholds"] = self._given
        return config
