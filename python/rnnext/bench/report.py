"""Results for people: lines, a comparison of two runs, drawings. Measures nothing."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rnnext.bench import PEERS, SUITES
from rnnext.bench.harness import Row, Spread, read_json

_CELLS = {"gru_after": "GRU", "gru_before": "GRU, reset before", "lstm": "LSTM"}  # as the drawings call them

_FACTS = {
    "gflops": "{:.0f} GF/s",
    "share_of_peak": "{:.0%} of peak",
    "tokens_per_row": "{:.0f} tokens a row",
    "padding": "{:.0%} padding",
}


def _number(value: float) -> str:
    """Three digits or more."""
    return f"{value:,.{0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3}f}"


def _spread(value: Spread) -> str:
    return (
        _number(value.median)
        if value.low == value.high
        else f"{_number(value.median)} ({_number(value.low)}–{_number(value.high)})"
    )


def headline(machine: Mapping[str, Any]) -> str:
    """The machine that was measured on, and how to read the lines below."""
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return (
        f"{machine['processor']}, {machine['isa']}, threads: {machine['threads']};"
        f" FMA peak {machine['fma_peak_gflops']:.0f} GF/s, median {machine['fma_median_gflops']:.0f},"
        f" memory {machine['read_gbytes']:.0f} GB/s\n{versions}\n"
        "median (least–greatest) of rnnext; then the median of each other and how many times better rnnext's is"
    )


def line(row: Row) -> str:
    """One case: our value with its spread, further facts, and each other contender with the ratio to ours."""
    ours, *others = row.values.items()
    facts = "".join(f"  {form.format(row.facts[name]):>12}" for name, form in _FACTS.items() if name in row.facts)
    beside = "".join(f"   {name} {_number(value.median)} ({row.times_better(value):.2f}x)" for name, value in others)
    return f"{row.case:<28} {_spread(ours[1]) + ' ' + row.unit:>28}{facts}{beside}"


def comparison(before: Path, after: Path) -> Iterator[str]:
    """Our values in two files, case by case: 1.10x is better by a tenth.

    Changes of the other contenders, which are the machine's doing unless their versions differ, stand beside ours; a change
    within the spread is marked.
    """
    (machine_before, rows_before), (machine_after, rows_after) = read_json(before), read_json(after)
    facts_before, facts_after = (
        {name: machine.get(name) for name in ("processor", "isa", "threads", "compiler")} | machine.get("versions", {})
        for machine in (machine_before, machine_after)
    )
    for name in facts_before | facts_after:
        if facts_before.get(name) != facts_after.get(name):
            yield f"another {name}: {facts_before.get(name)} before, {facts_after.get(name)} after"
    old = {row.name: row for row in rows_before}
    for row in rows_after:
        if (was := old.pop(row.name, None)) is None:
            yield f"{row.name}: only in {after}"
            continue
        ours, *_ = row.values.values()
        earlier = next(iter(was.values.values()))
        within = earlier.low <= ours.median <= earlier.high and ours.low <= earlier.median <= ours.high
        text = f"{row.name:<44} {_spread(earlier):>24} -> {_spread(ours):>24}  {row.times_better(earlier):.2f}x"
        text += "  within the spread" if within else ""
        for name, value in list(row.values.items())[1:]:
            if name in was.values:
                moved = Row(row.suite, row.case, row.unit, {name: value}).times_better(was.values[name])
                text += f"   {name} {moved:.2f}x"
        yield text
    yield from (f"{name}: only in {before}" for name in old)


# ---------------------------------------------------------------- drawings


def require_matplotlib() -> None:
    """ValueError, before anything is measured, if matplotlib is not installed."""
    if importlib.util.find_spec("matplotlib") is None:
        raise ValueError("bench: --plot needs matplotlib: pip install 'rnnext[bench]'")


def plot(folder: Path, machine: Mapping[str, Any], rows: Sequence[Row]) -> list[Path]:
    """Draw bars for each suite and a roofline of the layers. Returns the files that were written."""
    folder.mkdir(parents=True, exist_ok=True)
    title = f"{machine['processor']}, {machine['isa']}, threads: {machine['threads']}"
    written = []
    for suite in dict.fromkeys(row.suite for row in rows):
        shown = [row for row in rows if row.suite == suite and len(row.values) > 1]
        if shown:
            written.append(_bars(folder / f"{suite}.png", f"{SUITES.get(suite, suite)}\n{title}", shown))
    points = [row for row in rows if "operations_per_byte" in row.facts]
    if points:
        written.append(_roofline(folder / "roofline.png", title, machine, points))
    return written


def _spelled_out(name: str, words: Mapping[str, str]) -> str:
    """The name, with those of its parts that are in `words` as people say them."""
    return re.sub(r"[\w-]+", lambda found: words.get(found[0], found[0]), name)


def _bars(path: Path, title: str, rows: Sequence[Row]) -> Path:
    """Each other contender's median over ours (rates: ours over theirs), on a logarithmic scale; the line at 1 is ours."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    names = list(dict.fromkeys(name for row in rows for name in list(row.values)[1:]))
    figure = Figure(figsize=(9, 1.5 + len(rows) * (0.2 + 0.2 * len(names))), layout="constrained")
    axes = figure.subplots()
    height = 0.8 / len(names)
    for number, name in enumerate(names):
        shown = [(place, row) for place, row in enumerate(rows) if name in row.values]
        ratios = [row.times_better(row.values[name]) for _, row in shown]
        places = [place - 0.4 + (number + 0.5) * height for place, _ in shown]
        bars = axes.barh(places, ratios, height, label=_spelled_out(name, PEERS))
        labels = [
            f"{_number(row.values[name].median)} {row.unit}, {row.times_better(row.values[name]):.2f}×" for _, row in shown
        ]
        axes.bar_label(bars, labels, padding=3, fontsize=8)
    axes.axvline(1, color="black", linewidth=1)
    ours = [
        f"{_spelled_out(row.case, _CELLS)}\nrnnext {_number(next(iter(row.values.values())).median)} {row.unit}" for row in rows
    ]
    axes.set_yticks(range(len(rows)), ours, fontsize=8)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    ratios = [row.times_better(value) for row in rows for value in list(row.values.values())[1:]]
    low, high = min(0.8, 0.8 * min(ratios)), max(1.0, *ratios)
    axes.set_xlim(low, high * max(3, (high / low) ** 0.3))  # room for the labels: a quarter of the width or more
    axes.set_xlabel("how many times better rnnext's median is")
    axes.set_title(title, fontsize=9)
    figure.legend(loc="outside lower center", ncols=len(names), fontsize=8)
    figure.savefig(path, dpi=150)
    return path


def _roofline(path: Path, title: str, machine: Mapping[str, Any], rows: Sequence[Row]) -> Path:
    """GF/s of each layer over its operations for each byte that it has to move, below the machine's limits."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), layout="constrained")
    axes = figure.subplots()
    peak, bandwidth = machine["fma_peak_gflops"], machine["read_gbytes"]
    intensities = [row.facts["operations_per_byte"] for row in rows]
    ends = [min(1.0, *intensities), 2 * max(peak / bandwidth, *intensities)]
    knee = [ends[0], peak / bandwidth, ends[1]]
    axes.plot(knee, [min(peak, x * bandwidth) for x in knee], color="black", label="what the machine can do")
    for cell, marker in (("lstm", "o"), ("gru_after", "s"), ("gru_before", "^")):
        shown = [row for row in rows if cell in row.case.replace(",", "").split()]
        if shown:
            x, y = ([row.facts[fact] for row in shown] for fact in ("operations_per_byte", "gflops"))
            axes.scatter(x, y, marker=marker, label=cell, zorder=3)
            for row in shown:
                where = (row.facts["operations_per_byte"], row.facts["gflops"])
                axes.annotate(row.case.split()[0], where, xytext=(4, 4), textcoords="offset points", fontsize=8)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("operations for each byte of memory traffic that cannot be avoided")
    axes.set_ylabel("GF/s, forward and backward")
    axes.set_title(f"roofline: FMA peak {peak:.0f} GF/s, memory {bandwidth:.0f} GB/s\n{title}", fontsize=9)
    axes.grid(which="both", alpha=0.2)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=150)
    return path
