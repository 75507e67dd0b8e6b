"""What `edgecnn bench` prints for a device that is not at hand."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

from edgecnn.benchmarks.choice import Choice, choose_predicted
from edgecnn.benchmarks.predict import Prediction, how_to_measure, to_document
from edgecnn.cli.shared import print_json
from edgecnn.cli.table import print_table, say, warn
from edgecnn.evaluate.files import chance_warning
from edgecnn.files import write_whole
from edgecnn.tasks.score import title_of
from edgecnn.units import format_bytes, format_ns

_COLUMNS = (
    "file",
    "runtime",
    "threads",
    "estimate",
    "band",
    "RAM, estimated",
    "RAM left",
    "fits",
    "size",
)  # and the score
_RIGHT = (2, 3, 5, 6, 8, 9)
_SPARE = (8, 1, 2, 5, 6)


def show_estimates(device: str, predicted: Sequence[Prediction], output: Path | None, as_json: bool) -> None:
    """Print what was *predicted* on *device*, and write it to *output* where it is given.

    Args:
        device: for the title.
        predicted: one for each file.
        output: a file for the JSON; None: none.
        as_json: whether to print the JSON in place of tables.
    """
    document = to_document(predicted) | {"choices": [one.to_json() for one in choose_predicted(predicted)]}
    if output is not None:
        write_whole(output, json.dumps(document, indent=1) + "\n")
    if as_json:
        print_json(document)
    else:
        print_estimates(device, predicted, choose_predicted(predicted))


def print_estimates(device: str, predicted: Sequence[Prediction], choices: Sequence[Choice]) -> None:
    """Print one table of what was *predicted* on *device*, the fastest first, what it rests on, and what to ship."""
    fastest = sorted(predicted, key=lambda one: one.estimate.p50_ns if one.estimate else math.inf)
    estimates = [one.estimate for one in fastest if one.estimate]
    title = title_of(one.evaluation.score for one in fastest)
    print_table(
        f"Estimated for {device}, not measured",
        (*_COLUMNS, title),
        [_row(one) for one in fastest],
        right=_RIGHT,
        spare=_SPARE,
    )
    if estimates:
        share = f"{100 * estimates[0].coverage:.0f} %"
        say(f"band: contains the measured median for {share} of held-out networks")
    evaluations = [one.evaluation for one in fastest]
    if any(evaluation.scores for evaluation in evaluations):
        say(f"{title}: measured on this machine, not on {device}, whose kernels may round otherwise")
    for text in dict.fromkeys(text for evaluation in evaluations for text in evaluation.assumptions):
        say(text)
    for one in fastest:
        for text in chance_warning(one.artifact.path.name, one.evaluation.score):
            warn(text)
    for text in dict.fromkeys(one.reason for one in fastest if one.reason):
        say(f"no estimate: {text}")
    for text in dict.fromkeys(text for one in fastest for text in one.artifact.contradictions):
        warn(text)
    # A source is a chain, as from a kind of core to another: its links are shown once, one a line.
    sources = [source for estimate in estimates for source in estimate.rests_on]
    for link in dict.fromkeys(link for source in sources for link in source.split("; ")):
        say(f"rests on: {link}")
    for text in dict.fromkeys(text for estimate in estimates for text in estimate.notes):
        say(f"note: {text}")
    say(f"to measure: {how_to_measure(fastest[0].artifact.path, device)}")
    for choice in choices:
        say(str(choice))


def _row(one: Prediction) -> tuple[str, ...]:
    estimate, fit = one.estimate, one.fit
    ram = next((region for region in fit.regions if region.name == "ram"), None) if fit else None
    return (
        str(one.artifact.path),
        estimate.runtime if estimate else "-",
        str(estimate.threads) if estimate else "-",
        f"~{format_ns(estimate.p50_ns)}" if estimate else "-",
        f"{format_ns(estimate.low_ns)} … {format_ns(estimate.high_ns)}" if estimate else "-",
        format_bytes(ram.used_bytes if ram else None),
        format_bytes(ram.headroom_bytes if ram else None),
        "-" if fit is None or ram is None else "yes" if fit.fits else "no",
        format_bytes(one.artifact.size_bytes),
        one.evaluation.score.text if one.evaluation.score else "-",
    )
