"""Which files suit which devices, and the table of what each file takes there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from edgecnn.artifact import Artifact
from edgecnn.benchmarks.predict import Prediction, predict_files
from edgecnn.device import DeviceProfile, load_device
from edgecnn.errors import EdgecnnError
from edgecnn.estimate import NoCoefficientsError, estimate_latency
from edgecnn.fit import FitReport
from edgecnn.progress import Progress, silent
from edgecnn.report.facts import ReportedFile
from edgecnn.report.markup import Markup, element, join
from edgecnn.report.memory import MEMORIES
from edgecnn.units import format_bytes, format_ns

#: A small and a large board with an operating system, and microcontrollers from large to small.
USUAL_DEVICES = ("rpi4", "rpizero2w", "stm32h7a3", "stm32f746", "nrf5340")


def predict_on(
    files: Sequence[ReportedFile], devices: Sequence[DeviceProfile], progress: Progress = silent
) -> tuple[Prediction, ...]:
    """Return the estimate and the memory check of each of *files* on each of *devices* that may run it.

    A microcontroller runs TFLite files alone. Without *devices* it is those of `USUAL_DEVICES` that suit the files,
    where a microcontroller gets int8 TFLite files that are no larger than its flash.

    Raises:
        EdgecnnError: one of *devices* runs none of the files.
    """
    found: list[Prediction] = []
    for profile in devices or map(load_device, USUAL_DEVICES):
        progress("estimating on devices", len(found))
        able = [file for file in files if _may_run(profile, file.artifact, usual=not devices)]
        if not able and devices:
            raise EdgecnnError(f"{profile.name} runs TFLite Micro, which only reads .tflite files; none is given")
        if able:
            found += [_estimated(one, profile) for one in predict_files([file.path for file in able], profile)]
    return tuple(found)


def _estimated(one: Prediction, profile: DeviceProfile) -> Prediction:
    """Return *one* with the estimate of another runtime where there are no coefficients for the usual one."""
    for runtime in dict.fromkeys(model.runtime for model in profile.latency) if one.estimate is None else ():
        with suppress(NoCoefficientsError):
            return replace(one, estimate=estimate_latency(one.artifact.path, profile, threads=None, runtime=runtime))
    return one


def _may_run(profile: DeviceProfile, artifact: Artifact, *, usual: bool) -> bool:
    if profile.kind != "mcu":
        return True
    if artifact.format != "tflite":
        return False
    flash = profile.region("flash")
    is_small = flash is None or artifact.size_bytes <= flash.limit_bytes
    is_int8 = artifact.precision.endswith("a8") and all(tensor.dtype != "uint8" for tensor in artifact.graph.tensors)
    return not usual or (is_int8 and is_small)


def devices_table(predictions: Sequence[Prediction], names: Mapping[str, str]) -> Markup:
    """Return a table with a row for each file and a column for each device: latency with its band, memory, verdict.

    Args:
        predictions: what is estimated of files on devices.
        names: path of a file → what it is called; in this order.
    """
    devices = list(dict.fromkeys(one.device for one in predictions))
    by_place = {(str(one.artifact.path), one.device): one for one in predictions}
    head = [element("th", "file", scope="col", class_="name")]
    head += [element("th", device, element("small", "estimated"), scope="col", class_="figure") for device in devices]
    body = [
        element(
            "tr",
            element("td", element("span", element("strong", name)), class_="name", data_label="file"),
            [_cell(by_place.get((path, device)), device) for device in devices],
        )
        for path, name in names.items()
    ]
    table = element("table", element("thead", element("tr", head)), element("tbody", body), class_="files on-devices")
    return join([element("div", table, class_="wide"), *_how_to_read(predictions)])


def _cell(one: Prediction | None, device: str) -> Markup:
    label = f"{device} (estimated)"
    if one is None:  # left out on a narrow screen
        return element("td", element("small", "not for this device"), class_="figure absent", data_label=label)
    return element("td", element("span", _latency(one), *_memory(one.fit)), class_="figure", data_label=label)


def _latency(one: Prediction) -> Markup:
    if one.estimate is None:
        return element("small", "no latency estimate")
    band = f"{format_ns(one.estimate.low_ns)} to {format_ns(one.estimate.high_ns)}"
    runtime = [element("small", f"with {one.estimate.runtime}")] if one.reason else []
    return join([f"~{format_ns(one.estimate.p50_ns)}", element("small", band), *runtime])


def _memory(fit: FitReport | None) -> Iterator[Markup]:
    if fit is None:
        return
    for region in fit.regions:
        role = "muted" if region.fits else "bad"
        yield element(
            "small", f"{MEMORIES.get(region.name, region.name)} {format_bytes(region.used_bytes)}", class_=role
        )
    if fit.unsupported_operators:
        count = len(fit.unsupported_operators)
        yield element("small", f"cannot run {count} kind{'s' * (count > 1)} of operators", class_="bad")
    verdict = "fits" if fit.fits else "does not fit"
    yield element("small", verdict, class_="good" if fit.fits else "bad")


def _how_to_read(predictions: Sequence[Prediction]) -> Iterator[Markup]:
    estimates = [one.estimate for one in predictions if one.estimate]
    if not estimates:
        return
    shares = dict.fromkeys(f"{100 * estimate.coverage:.0f} %" for estimate in estimates)
    kinds = dict.fromkeys(
        f"{estimate.runtime} with {estimate.threads} thread{'s' * (estimate.threads > 1)} on {estimate.device}"
        for estimate in estimates
    )
    text = (
        "Latency is the estimated median, and the band in which the measured median lies for "
        f"{', '.join(shares)} of networks that the fit never saw; of {', '.join(kinds)}."
    )
    yield element("p", text, class_="muted")


def latency_notes(one: Prediction) -> Iterator[str]:
    """Yield what the latency estimate rests on and assumes, or why there is none."""
    if one.estimate is not None:
        yield from (f"the estimate's coefficients: {source}" for source in one.estimate.rests_on)
        yield from one.estimate.notes
    if one.reason is not None:
        instead = f"with {one.estimate.runtime} instead" if one.estimate else "no estimate"
        yield f"{instead}: {one.reason.removeprefix(f'{one.device}: ')}"


def smallest_each(predictions: Sequence[Prediction]) -> list[Prediction]:
    """Return for each device whose memory is known that of *predictions* which takes the least RAM."""
    least: dict[str, Prediction] = {}
    for one in predictions:
        if one.fit is not None and (one.device not in least or _rank(one.fit) < _rank(least[one.device].fit)):
            least[one.device] = one
    return list(least.values())


def _rank(fit: FitReport | None) -> tuple[bool, int]:
    regions = fit.regions if fit else ()
    used = next((region.used_bytes for region in regions if region.name == "ram"), 0)
    return bool(fit and fit.unsupported_operators), used
