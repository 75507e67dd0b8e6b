"""The page: one HTML file that needs no network, no script and no other file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from edgecnn.benchmarks.choice import choose
from edgecnn.benchmarks.gains import likely_reasons, missing_gains, without_gain
from edgecnn.fit import FitReport
from edgecnn.report.devices import devices_table, latency_notes, smallest_each
from edgecnn.report.facts import Contents, ReportFacts, Row, distinct_names, rows_of
from edgecnn.report.figures import confusion_figures, file_figures, layer_figures, memory_figures
from edgecnn.report.header import page_head
from edgecnn.report.markup import Markup, element, join
from edgecnn.report.memory import device_cards
from edgecnn.report.operators import operator_tables
from edgecnn.report.table import files_table, legend


def render_page(contents: Contents) -> str:
    """Return the page as text; the same contents give the same text.

    Raises:
        EdgecnnError: matplotlib is not installed (extra `report`).
    """
    facts, rows = contents.facts, rows_of(contents.files, contents.measurements)
    colours = legend([row.precision for row in rows])
    plots = [*file_figures(rows, facts.before.score), *confusion_figures(rows, contents.labels)]
    paths = [*(row.file.path for row in rows), *(one.artifact.path for one in contents.predictions)]
    names = distinct_names(paths)
    fits = [one.fit for one in smallest_each(contents.predictions) if one.fit]
    predicted = devices_table(contents.predictions, names) if contents.predictions else None
    sections = [
        page_head(contents.title, facts, rows),
        *_section("Every file, fastest first", *((colours, files_table(rows)) if rows else ()), *_choices(contents)),
        *_section("Where a quantized file is not faster", _missing_gains(contents)),
        *_section("Accuracy, latency and size", *((colours, _plots(plots)) if plots else ())),
        *_section("Inside the network", _plots([*layer_figures(rows), *memory_figures(fits, names)])),
        *_section("Operators", operator_tables(contents.profiles, names)),
        *_section("On devices, estimated", predicted),
        *_section("Memory by part", _cards(fits, names)),
        *_section("Warnings and assumptions", *_warnings(contents, rows, fits, names)),
        *_section("How to read this", _reading()),
        *_section("Do it again", *_commands(facts)),
    ]
    style = Markup(Path(__file__).with_name("page.css").read_text(encoding="utf-8"))
    head = [
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", contents.title),
        element("style", style),
    ]
    page = element("html", element("head", head), element("body", element("main", sections)), lang="en")
    return f"<!doctype html>\n{page}\n"


def _section(title: str, *content: Markup | None) -> Iterator[Markup]:
    """Yield a section, or nothing where it has no content."""
    given = [part for part in content if part]
    if given:
        yield element("section", element("h2", title), given)


def _choices(contents: Contents) -> Iterator[Markup]:
    """Yield what to ship, a sentence for each device that several results are of."""
    for choice in choose(contents.measurements):
        yield element("p", str(choice))


def _plots(figures: Sequence[Markup]) -> Markup | None:
    return element("div", figures, class_="plots") if figures else None


def _cards(fits: Sequence[FitReport], names: Mapping[str, str]) -> Markup | None:
    if not fits:
        return None
    lead = element("p", "Each device with the file that takes the least RAM there; all estimated.", class_="muted")
    return join([lead, device_cards(fits, names)])


def _missing_gains(contents: Contents) -> Markup | None:
    """Return each quantized file that is no faster than its fp32 file, with what may be the reason."""
    graphs = {str(file.path): file.artifact.graph for file in contents.files}
    pairs = [pair for pair in without_gain(contents.measurements) if pair[0].file in graphs]
    items = [
        _said(
            list(likely_reasons(result, graphs[result.file])) or ["no reason found in the file or the machine"],
            [sentence],
        )
        for sentence, (result, _) in zip(missing_gains([one for pair in pairs for one in pair]), pairs, strict=True)
    ]
    return element("ul", items, class_="notes") if items else None


def _warnings(
    contents: Contents, rows: Sequence[Row], fits: Sequence[FitReport], names: Mapping[str, str]
) -> Iterator[Markup]:
    """Yield, by whom it is about, everything that was assumed or that speaks against a figure."""
    warnings = {"all files": list(contents.facts.warnings)}
    assumptions: dict[str, list[str]] = {}
    for row in rows:
        warnings.setdefault(row.label, []).extend(_warnings_of(row))
        measured = row.measured.assumptions if row.measured else ()
        assumptions.setdefault(row.label, []).extend((*measured, *row.file.evaluation.assumptions))
    for fit in fits:
        assumptions.setdefault(f"{fit.device}, {names[fit.file]}", []).extend(fit.notes)
    for one in contents.predictions:
        unsupported = one.fit.unsupported_operators if one.fit else ()
        about = f"{names[str(one.artifact.path)]} on {one.device}"
        warnings.setdefault(about, []).extend(f"cannot run {operator}" for operator in unsupported)
        assumptions.setdefault(f"latency on {one.device}", []).extend(latency_notes(one))
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
    found = row.file.verification
    if row.file.failure is not None:
        yield f"not measured: {row.file.failure}"
    if found is not None and found.rejected is not None:
        yield f"rejected: {found.rejected}"
    if found is not None and found.float_operators:
        yield f"operators that still compute in float: {', '.join(found.float_operators)}"
    yield from row.file.artifact.contradictions
    yield from row.measured.warnings if row.measured else ()


def _commands(facts: ReportFacts) -> Iterator[Markup]:
    if facts.commands:
        yield element("pre", element("code", "\n".join(facts.commands)))


_READING = (
    (
        "accuracy",
        "the fraction of evaluation samples whose highest score is the right class. The interval contains the true "
        "fraction with 95 % confidence (Wilson). All files answered the same samples, so that intervals which "
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
