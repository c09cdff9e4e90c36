"""Plots that stay readable in grayscale: series differ by marker and dash, not by color alone."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle, product
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

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

_HATCHES = ("", "///", "xxx", "...", "---", "ooo", "|||")

Points = tuple[Sequence[float], Sequence[float]]


def looks() -> Iterator[dict[str, Any]]:
    """The look of one series after the other."""
    return ({"marker": marker, "linestyle": dash, "color": color} for marker, dash, color in cycle(_LOOKS))


def marks() -> Iterator[dict[str, Any]]:
    """The mark of one crowd of points after the other: thirty of them differ."""
    several = product(("white", "gray", "black"), "osD^v<>PX*")
    return ({"marker": mark, "markerfacecolor": fill} for fill, mark in cycle(several))


def panels(count: int, columns: int = 3, width: float = 3.6, height: float = 3.0) -> tuple[Figure, list[Axes]]:
    """A figure of so many panels, row by row."""
    columns = min(count, columns)
    rows = -(-count // columns)
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    return figure, [figure.add_subplot(rows, columns, number) for number in range(1, count + 1)]


def lines(series: Mapping[str, Points], x: str, y: str, *, top: float, markers: bool = True) -> Figure:
    """A line for each series, named beside the axes, where the legend hides none of them."""
    figure, (axes,) = panels(1, width=8, height=4.5)
    _draw(axes, series, markers)
    axes.set(xlabel=x, ylabel=y, ylim=(-0.02 * top, 1.02 * top))
    figure.legend(loc="outside right upper")
    return figure


def lines_in_panels(several: Mapping[str, Mapping[str, Points]], x: str, y: str, *, top: float) -> Figure:
    """The same lines in each panel, named once below all."""
    figure, drawn = panels(len(several), width=4.2, height=3.8)
    for axes, (title, series) in zip(drawn, several.items(), strict=True):
        _draw(axes, series, markers=True)
        axes.set(title=title, xlabel=x, ylabel=y, ylim=(-0.02 * top, 1.02 * top))
    figure.legend(*drawn[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def _draw(axes: Axes, series: Mapping[str, Points], markers: bool) -> None:
    for (name, points), look in zip(series.items(), looks(), strict=False):
        axes.plot(*points, label=name, markersize=5, **look | ({} if markers else {"marker": ""}))
    axes.grid(alpha=0.3)


def bars(
    places: Sequence[str], series: Mapping[str, Sequence[float]], x: str, y: str, *, chance: float | None = None
) -> Figure:
    """Groups of bars, one of each series at each place, told apart by hatches; and what chance would give, if known."""
    figure, (axes,) = panels(1, width=11, height=4.5)
    width = 0.8 / len(series)
    for number, ((name, heights), hatch) in enumerate(zip(series.items(), cycle(_HATCHES), strict=False)):
        at = [place + (number - (len(series) - 1) / 2) * width for place in range(len(places))]
        axes.bar(at, heights, width, label=name, hatch=hatch, facecolor="white", edgecolor="black")
    if chance is not None:
        axes.axhline(chance, label="chance", color="#d1495b", linestyle="--")
    axes.set(xlabel=x, ylabel=y, ylim=(0, 1.02))
    axes.set_xticks(range(len(places)), places)
    figure.legend(loc="outside right upper")
    return figure


def boxes(axes: Axes, summaries: Mapping[str, Mapping[str, Any]]) -> None:
    """A box for each `Summary`, as a dictionary, at its place; a cross is the mean, a line the median."""
    cross = {"marker": "x", "markeredgecolor": "black"}
    drawn = [_box(summary, place) for place, summary in summaries.items()]
    axes.bxp(drawn, showmeans=True, meanprops=cross, medianprops={"color": "black"})


def _box(summary: Mapping[str, Any], label: str) -> dict[str, object]:
    low, middle, high = summary["quartiles"]
    ends = {"whislo": summary["least"], "whishi": summary["most"], "mean": summary["mean"], "fliers": []}
    return {"label": label, "q1": low, "med": middle, "q3": high, **ends}
