"""Small line charts as inline SVG. Knows numbers and their places in a picture; does not know what they mean."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

_WIDTH, _HEIGHT = 380, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 12, 40

_LARGEST = 1e300  # beyond, differences overflow

Points = Sequence[tuple[float, float]]


def ticks(low: float, high: float, count: int = 5, *, whole: bool = False) -> list[float]:
    """About `count` round numbers from `low` to `high`; with `whole` only whole numbers."""
    span = max(high - low, 1e-12)
    step = 10 ** math.floor(math.log10(span / count))
    step *= next(factor for factor in (1, 2, 5, 10) if span / (step * factor) <= count)
    if whole:
        step = max(1, round(step))
    first = math.ceil(low / step - 1e-9)
    return [n * step for n in range(first, math.floor(high / step + 1e-9) + 1)]


class Chart:
    """Axes of the given ranges, to be filled with lines."""

    def __init__(
        self, x: tuple[float, float], y: tuple[float, float], *, x_label: str, y_label: str, whole_x: bool = False
    ) -> None:
        self.x, self.y = _wide(*x), _wide(*y)
        self.parts: list[str] = []
        right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
        for value in ticks(*self.x, whole=whole_x):
            at = self._at(value, 0)[0]
            self.parts.append(f'<line class="grid" x1="{at}" y1="{_TOP}" x2="{at}" y2="{bottom}"/>')
            self.parts.append(f'<text x="{at}" y="{bottom + 15}" text-anchor="middle">{_number(value)}</text>')
        for value in ticks(*self.y):
            at = self._at(0, value)[1]
            self.parts.append(f'<line class="grid" x1="{_LEFT}" y1="{at}" x2="{right}" y2="{at}"/>')
            self.parts.append(f'<text x="{_LEFT - 6}" y="{at + 4}" text-anchor="end">{_number(value)}</text>')
        self.parts.append(f'<text x="{(_LEFT + right) / 2}" y="{_HEIGHT - 6}" text-anchor="middle">{escape(x_label)}</text>')
        middle = (_TOP + bottom) / 2
        self.parts.append(f'<text transform="translate(12 {middle}) rotate(-90)" text-anchor="middle">{escape(y_label)}</text>')

    def _at(self, x: float, y: float) -> tuple[float, float]:
        (x0, x1), (y0, y1) = self.x, self.y
        across = _LEFT + (_limited(x) - x0) / (x1 - x0) * (_WIDTH - _LEFT - _RIGHT)
        down = _TOP + (y1 - _limited(y)) / (y1 - y0) * (_HEIGHT - _TOP - _BOTTOM)
        return round(across, 1), round(down, 1)

    def line(self, points: Points, style: str, *, dots: bool = False) -> None:
        """A line through points of finite numbers; `style` names its class in the page's style sheet."""
        placed = [self._at(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]
        self.parts.append(f'<polyline class="{style}" points="{" ".join(f"{x},{y}" for x, y in placed)}"/>')
        if dots:
            self.parts += [f'<circle class="{style}" cx="{x}" cy="{y}" r="2.5"/>' for x, y in placed]

    def bar(self, x: float, low: float, high: float, style: str) -> None:
        """A vertical line: an interval."""
        (across, bottom), (_, top) = self._at(x, low), self._at(x, high)
        self.parts.append(f'<line class="{style}" x1="{across}" y1="{bottom}" x2="{across}" y2="{top}"/>')

    def svg(self, description: str) -> str:
        """The picture; `description` is for those who cannot see it."""
        said = escape(description)
        return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{said}">{"".join(self.parts)}</svg>'


def _wide(low: float, high: float) -> tuple[float, float]:
    """The range, widened a little if it is empty."""
    low, high = _limited(low), _limited(high)
    spare = max(0.5, abs(low) / 1000)  # more for large numbers, where a half would be lost in rounding
    return (low, high) if high > low else (low - spare, high + spare)


def _limited(value: float) -> float:
    return min(max(value, -_LARGEST), _LARGEST)


def _number(value: float) -> str:
    return f"{value:.6g}"
