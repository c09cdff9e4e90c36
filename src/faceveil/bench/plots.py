"""Plots that stay readable in grayscale: series differ by marker and dash, not by color alone."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle
from math import isnan
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

_LOOKS = (
    ("o", "-", "#000000"),
    ("s", "--", "#0b5fa5"),
    ("^", "-.", "#d1495b"),
    ("D", ":", "#3a7d44"),
    ("v", (0, (5, 1)), "#e08e0b"),
    ("X", (0, (1, 1)), "#7b4fa3"),
    ("P", (0, (3, 1, 1, 1)), "#5c5c5c"),
    ("*", (0, (5, 3, 1, 3)), "#8c510a"),
)

_FILLS = (("white", ""), ("white", "////"), ("0.7", ""), ("white", "...."), ("0.4", ""), ("0.8", "xxxx"), ("black", ""))

BOXES = "box: quartiles, line: median, cross: mean, ends: least and greatest"

Points = tuple[Sequence[float], Sequence[float]]


def looks() -> Iterator[dict[str, Any]]:
    """The look of one series after the other."""
    rim = {"markeredgecolor": "white", "markeredgewidth": 0.5}
    return ({"marker": marker, "linestyle": dash, "color": color, **rim} for marker, dash, color in cycle(_LOOKS))


def marks() -> Iterator[dict[str, Any]]:
    """The mark of one crowd of points after the other: thirty of them differ, those near each other in two ways."""
    several = zip(cycle("osD^v<>PX*"), cycle(("white", "black", "0.65")), strict=False)
    return ({"marker": mark, "markerfacecolor": fill} for mark, fill in several)


def panels(count: int, columns: int = 3, width: float = 3.6, height: float = 3.0) -> tuple[Figure, list[Axes]]:
    """A figure of so many panels, row by row."""
    columns = min(count, columns)
    rows = -(-count // columns)
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    return figure, [figure.add_subplot(rows, columns, number) for number in range(1, count + 1)]


def lines(series: Mapping[str, Points], x: str, y: str, *, top: float, ticks: Sequence[float] = ()) -> Figure:
    """A line for each series, named beside the axes, where the legend hides none of them."""
    figure, (axes,) = panels(1, width=8, height=4.5)
    _draw(axes, series, ticks)
    axes.set(xlabel=x, ylabel=y, ylim=(-0.02 * top, 1.02 * top))
    figure.legend(loc="outside right upper")
    return figure


def lines_in_panels(
    several: Mapping[str, Mapping[str, Points]],
    x: str,
    y: str,
    *,
    top: float,
    bottom: float = 0.0,
    ticks: Sequence[float] = (),
) -> Figure:
    """The same lines in each panel, over the same range, named once below all."""
    more = 0.02 * (top - bottom)
    figure, drawn = panels(len(several), width=4.2, height=3.6)
    for axes, (title, series) in zip(drawn, several.items(), strict=True):
        axes.sharex(drawn[0])
        _draw(axes, series, ticks)
        axes.set(title=title, xlabel=x, ylabel=y, ylim=(bottom - more, top + more))
    named = {name: line for axes in drawn for line, name in zip(*axes.get_legend_handles_labels(), strict=True)}
    rows = -(-len(named) // (2 * min(len(drawn), 3)))
    figure.legend(named.values(), named, loc="outside lower center", ncols=-(-len(named) // rows))
    return figure


def curves(series: Mapping[str, Points], x: str, y: str) -> Figure:
    """Curves from 0 to 1 on both axes, and the diagonal of chance; later ones narrower, so that they hide no other."""
    figure, (axes,) = panels(1, width=5.6, height=6.0)
    for (name, points), look, width in zip(series.items(), looks(), cycle((3.0, 2.2, 1.5)), strict=False):
        axes.plot(*points, label=name, **look | {"marker": "", "linewidth": width})
    axes.plot([0, 1], [0, 1], label="chance", color="0.5", linewidth=0.8)
    axes.grid(alpha=0.3)
    axes.set(xlabel=x, ylabel=y, xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def _draw(axes: Axes, series: Mapping[str, Points], ticks: Sequence[float]) -> None:
    """Lines, the later ones with smaller marks, so that where several meet all are seen."""
    for number, ((name, points), look) in enumerate(zip(series.items(), looks(), strict=False)):
        axes.plot(*points, label=name, markersize=max(10 - number, 7), **look)
    axes.grid(alpha=0.3)
    if ticks:
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])


def bars(
    places: Sequence[str], series: Mapping[str, Sequence[float]], x: str, y: str, *, chance: float | None = None
) -> Figure:
    """Shares in groups of bars, one of each series at each place; no bar where a share is not a number.

    Fills and hatches tell them apart, each bar bears its percentage, so that 0 is seen, too; and a line shows what
    chance would give, if known. Shares may lie below zero.
    """
    figure, (axes,) = panels(1, width=10, height=4.5)
    width = 0.86 / len(series)
    shown = [[name for name, shares in series.items() if not isnan(shares[place])] for place in range(len(places))]
    for (name, shares), (fill, hatch) in zip(series.items(), cycle(_FILLS), strict=False):
        here = {
            place + (names.index(name) - (len(names) - 1) / 2) * width: shares[place]
            for place, names in enumerate(shown)
            if name in names
        }
        drawn = axes.bar(
            list(here), list(here.values()), width, label=name, facecolor=fill, hatch=hatch, edgecolor="black"
        )
        told = [f"{100 * share:.0f}" for share in here.values()]
        axes.bar_label(drawn, told, fontsize=7, padding=2, rotation=90 if width * 40 < len(places) else 0)
    if chance is not None:
        axes.axhline(chance, label=f"chance: {100 * chance:.1f} %", color="0.45", linestyle="--")
    least = min((share for shares in series.values() for share in shares if not isnan(share)), default=0.0)
    axes.set(xlabel=x, ylabel=y, ylim=(min(0, 1.2 * least), 1.08))
    if least < 0:
        axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xticks(range(len(places)), places)
    axes.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper center", ncols=7, frameon=False)
    return figure


def boxes(axes: Axes, summaries: Mapping[str, Mapping[str, Any]], places: Sequence[str] = ()) -> None:
    """A box for each `Summary`, as a dictionary, at its place; there may be more. `BOXES` says how to read it."""
    places = places or list(summaries)
    cross = {"marker": "x", "markeredgecolor": "black"}
    drawn = [_box(summary, place) for place, summary in summaries.items()]
    at = [places.index(place) for place in summaries]
    axes.bxp(
        drawn, at, widths=min(0.5, 0.1 * len(places)), showmeans=True, meanprops=cross, medianprops={"color": "black"}
    )
    axes.set_xticks(range(len(places)), places)
    axes.set_xlim(-0.5, len(places) - 0.5)
    axes.grid(axis="y", alpha=0.3)


def _box(summary: Mapping[str, Any], label: str) -> dict[str, object]:
    low, middle, high = summary["quartiles"]
    ends = {"whislo": summary["least"], "whishi": summary["most"], "mean": summary["mean"], "fliers": []}
    return {"label": label, "q1": low, "med": middle, "q3": high, **ends}
