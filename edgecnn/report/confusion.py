"""Which classes a file takes for which: a matrix where they are few, else the pairs confused most often."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from edgecnn.report.drawing import COLOURS, SMALL, WIDTH, add_axes, new_figure, title_axis, to_svg, write
from edgecnn.report.facts import Row, shorten
from edgecnn.report.markup import Markup, element

MOST_CLASSES = 20  # of a matrix that is drawn
MOST_PAIRS = 12  # that are listed

Confusion = Mapping[tuple[int, int], int]  # (true class, class given) → samples

_CHARACTER = 6.2  # width of one of the size SMALL, in points
_TINY = 7.2  # size of the figures in small cells
_TOP, _FOOT = 4.0, 24.0


def confused_pairs(confusion: Confusion) -> list[tuple[int, int, int, int]]:
    """Return (class, class given instead, samples, samples of the class), the most frequent mistakes first."""
    totals: Counter[int] = Counter()
    for (true, _), n in confusion.items():
        totals[true] += n
    wrong = [(true, given, n, totals[true]) for (true, given), n in confusion.items() if true != given]
    return sorted(wrong, key=lambda pair: (-pair[2], -pair[2] / pair[3], pair[:2]))


def class_name(number: int, labels: Sequence[str]) -> str:
    """Return what class *number* is called: its label, else its number.

    Args:
        number: of the class, from 0.
        labels: names of the classes; may be too few, or none.
    """
    return labels[number] if number < len(labels) else str(number)


def confusion_message(row: Row, labels: Sequence[str]) -> str:
    """Return the sentence on the most frequent mistake of the file of *row*."""
    pairs = confused_pairs(row.file.evaluation.confusion)
    if not pairs:
        return f"{row.label} confuses no classes"
    true, given, n, total = pairs[0]
    return f"{row.label} takes {class_name(true, labels)} for {class_name(given, labels)} most often: {n} of {total}"


def list_pairs(confusion: Confusion, labels: Sequence[str]) -> Markup:
    """Return the mistakes made most often, as a table: class, class given, how often.

    Args:
        confusion: (true class, class given) → samples.
        labels: names of the classes.
    """
    rows = [
        element(
            "tr",
            element("td", class_name(true, labels)),
            element("td", class_name(given, labels)),
            element("td", f"{n} of {total}", class_="figure"),
        )
        for true, given, n, total in confused_pairs(confusion)[:MOST_PAIRS]
    ]
    head = element("tr", element("th", "class"), element("th", "taken for"), element("th", "samples", class_="figure"))
    return element("table", element("thead", head), element("tbody", rows), class_="pairs")


def draw_confusion(confusion: Confusion, labels: Sequence[str]) -> Markup:
    """Draw a cell for each pair of classes, the stronger in colour the larger the share of its row is.

    Args:
        confusion: (true class, class given) → samples.
        labels: names of the classes.
    """
    count = 1 + max(max(pair) for pair in confusion)
    names = [shorten(class_name(number, labels), 15) for number in range(max(count, len(labels)))]
    left = 22 + _CHARACTER * max(map(len, names))
    cell = min(36.0, (WIDTH - left - 8) / len(names))
    across = max(map(len, names)) * _CHARACTER < cell - 2
    below = _FOOT + (14 if across else _CHARACTER * max(map(len, names)) + 6)
    side = cell * len(names)
    figure = new_figure(side + below + _TOP)
    axes = add_axes(figure, left, below, side, side)
    axes.set_xlim(-0.5, len(names) - 0.5)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xticks(range(len(names)), names, rotation=0 if across else 90)
    axes.set_yticks(range(len(names)), names)
    title_axis(axes, "predicted class")
    totals: Counter[int] = Counter()
    for (true, _), n in confusion.items():
        totals[true] += n
    for number in range(len(names)):
        axes.axhspan(number - 0.47, number + 0.47, color=COLOURS["line"], alpha=0.35, linewidth=0)
    for (true, given), n in sorted(confusion.items()):
        role = "float" if true == given else "bad"
        alpha = 0.15 + 0.55 * n / totals[true]
        axes.fill_between(
            [given - 0.47, given + 0.47], true - 0.47, true + 0.47, color=COLOURS[role], alpha=alpha, lw=0
        )
        size = SMALL if cell > 18 else _TINY
        if len(str(n)) * _CHARACTER * size / SMALL < cell:
            write(axes, given, true, str(n), ha="center", fontsize=size)
    write(axes, -left / side, 0.5, "true class", "muted", fontsize=SMALL, rotation=90, ha="left",
          transform=axes.transAxes)  # fmt: skip
    return to_svg(figure, "confusion", "Confusion matrix")
