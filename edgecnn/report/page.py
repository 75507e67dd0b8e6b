"""The page: one HTML file that needs no network, no script and no other file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from edgecnn.benchmarks.verify import ExportedFile
from edgecnn.files import write_whole
from edgecnn.fit import FitReport
from edgecnn.measurement import Measurement
from edgecnn.report.facts import ReportFacts, Row, rows_of
from edgecnn.report.figures import file_figures, layer_figures, memory_figures
from edgecnn.report.header import page_head
from edgecnn.report.markup import Markup, element, join
from edgecnn.report.memory import device_cards, told_apart
from edgecnn.report.table import files_table


def write_report(
    path: Path | str,
    *,
    title: str,
    facts: ReportFacts,
    files: Sequence[ExportedFile],
    measurements: Sequence[Measurement] = (),
    fits: Sequence[FitReport] = (),
) -> Path:
    """Write the report to *path*, whole, and return the path.

    A measurement belongs to the file of the same path. The same arguments give the same bytes.

    Raises:
        EdgecnnError: matplotlib is not installed (extra `report`).
    """
    path = Path(path)
    write_whole(path, render_report(title, facts, files, measurements, fits))
    return path


def render_report(
    title: str,
    facts: ReportFacts,
    files: Sequence[ExportedFile],
    measurements: Sequence[Measurement],
    fits: Sequence[FitReport],
) -> str:
    """Return the page as text; arguments as for `write_report`."""
    rows = rows_of(files, measurements)
    sections = [
        page_head(title, facts, rows),
        *_section("Every file, best first", files_table(rows) if rows else None),
        *_section("Accuracy, latency and size", _plots(file_figures(rows, facts.before.accuracy))),
        *_section("Inside the network", _plots([*layer_figures(rows), *memory_figures(fits)])),
        *_section("Does it fit?", device_cards(fits) if fits else None),
        *_section("Warnings and assumptions", *_warnings(facts, rows, fits)),
        *_section("How to read this", _reading()),
        *_section("Do it again", *_commands(facts)),
    ]
    style = Markup(Path(__file__).with_name("page.css").read_text(encoding="utf-8"))
    head = [
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("style", style),
    ]
    page = element("html", element("head", head), element("body", element("main", sections)), lang="en")
    return f"<!doctype html>\n{page}\n"


def _section(title: str, *content: Markup | None) -> Iterator[Markup]:
    """Yield a section, or nothing where it has no content."""
    given = [part for part in content if part]
    if given:
        yield element("section", element("h2", title), given)


def _plots(figures: Sequence[Markup]) -> Markup | None:
    return element("div", figures, class_="plots") if figures else None


def _warnings(facts: ReportFacts, rows: Sequence[Row], fits: Sequence[FitReport]) -> Iterator[Markup]:
    """Yield, by whom it is about, everything that was assumed or that speaks against a figure."""
    warnings = {"the whole": list(facts.warnings)}
    assumptions: dict[str, list[str]] = {}
    for row in rows:
        warnings.setdefault(row.label, []).extend(_warnings_of(row))
        assumptions.setdefault(row.label, []).extend(row.measured.assumptions if row.measured else ())
    names = told_apart(fits)
    for fit in fits:
        assumptions.setdefault(f"{fit.device}, {names[fit.file]}", []).extend(fit.notes)
    for title, found in (("Warnings", warnings), ("Assumptions", assumptions)):
        groups = _same_together({about: tuple(dict.fromkeys(texts)) for about, texts in found.items() if texts})
        if groups:
            yield join(
                [
                    element("h3", title),
                    element("ul", [_said(texts, about) for texts, about in groups.items()], class_="notes"),
                ]
            )


def _same_together(found: Mapping[str, tuple[str, ...]]) -> dict[tuple[str, ...], list[str]]:
    """Return `{texts: all that they are about}`."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for about, texts in found.items():
        groups.setdefault(texts, []).append(about)
    return groups


def _said(texts: Sequence[str], about: Sequence[str]) -> Markup:
    return element("li", element("strong", "; ".join(about)), element("ul", [element("li", text) for text in texts]))


def _warnings_of(row: Row) -> Iterator[str]:
    if row.file is not None and row.file.rejected is not None:
        yield f"rejected: {row.file.rejected}"
    if row.file is not None and row.file.float_operators:
        kept = ", ".join(f"{kind} {output}" for kind, output in row.file.float_operators)
        yield f"operators that still compute in float: {kept}"
    yield from row.measured.warnings if row.measured else ()


def _commands(facts: ReportFacts) -> Iterator[Markup]:
    if facts.commands:
        yield element("pre", element("code", "\n".join(facts.commands)))


_READING = (
    (
        "accuracy",
        "the share of evaluation samples whose highest score is at the right class. The interval says where the "
        "true share lies with 95 % confidence (Wilson). All files answered the same samples, so that intervals which "
        "overlap do not show that two files are equally good. AUC, of files that tell two classes apart, is the chance "
        "that a sample of class 1 has the higher score than one of class 0.",
    ),
    (
        "p50, p90",
        "half, and nine tenths, of the calls took no longer than this. They hold for the machine and the "
        "conditions above, and for no other device.",
    ),
    (
        "peak RSS",
        "all memory that the measuring process ever held: the Python interpreter, numpy and the runtime are in it, "
        "and are most of it for a small network.",
    ),
    (
        "SQNR",
        "how far the outputs' signal stands above their difference from the network's own. "
        "20 dB: the difference is a tenth of the signal; 10 dB more is about a third of that.",
    ),
    ("verdict", "ok: the file is within the accuracy drop and the SQNR that its recipe allows."),
    (
        "measured, estimated",
        "measured: taken by running the file. Estimated: worked out from the file and the facts "
        "known of a device, without running on it; memory on a device is such a figure.",
    ),
)


def _reading() -> Markup:
    return element("dl", [join([element("dt", name), element("dd", text)]) for name, text in _READING])
