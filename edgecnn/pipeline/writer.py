"""Write the files of a recipe for a network and its data, not yet verified."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgecnn.artifact import Artifact
from edgecnn.datasets.noise import NOISE
from edgecnn.evaluate.choice import size_of_input
from edgecnn.evaluate.inputs import shapes_of_inputs
from edgecnn.evaluate.judge import Judge
from edgecnn.export import CalibrationInputs, FileFacts, quantize
from edgecnn.export.calibration import check_calibration, check_halves
from edgecnn.formats.precision import PRECISIONS
from edgecnn.locks import PrivateFolder
from edgecnn.pipeline.int8_search import HELD, Found, hold_back, search_int8
from edgecnn.pipeline.mixed import search_mixed
from edgecnn.pipeline.reference import HeldBack
from edgecnn.pipeline.subject import Subject
from edgecnn.progress import Progress
from edgecnn.recipe import AUTO, Limits, Recipe
from edgecnn.samples import Samples
from edgecnn.tasks.task import Task


def _facts(subject: Subject) -> FileFacts:
    source = subject.source.metadata.get("weights_sha256") or subject.source.sha256 if subject.source else None
    return FileFacts(
        model=subject.name,
        normalization=subject.normalization,
        labels=subject.labels,
        weights_sha256=subject.network.weights_sha256() if subject.network else source,
        judged_by=subject.choice.to_json(size_of_input(subject.shape)),
    )


def _write_float(subject: Subject, format_name: str, staging: Path) -> Artifact:
    path = staging / f"{subject.name}.fp32.{format_name}"
    facts = _facts(subject)
    if format_name == "onnx":
        from edgecnn.export.onnx import can_be_quantized, simplify_onnx, to_onnx

        if subject.source is not None and can_be_quantized(subject.source):
            return simplify_onnx(subject.source, path, facts)
        return to_onnx(_module(subject), path, subject.shape, facts)
    from edgecnn.export.tflite import to_tflite

    return to_tflite(_module(subject), path, subject.shape, facts)


def _module(subject: Subject) -> Any:
    """Return the network as a module of torch; an ONNX file is read into one."""
    if subject.network is not None:
        return subject.network.module
    from edgecnn.nets.onnx import read_onnx_network

    assert subject.source is not None
    module = read_onnx_network(subject.source)
    if len(module.input_names) == 1:
        return module
    from edgecnn.nets.several import SeveralInputs

    return SeveralInputs(module, shapes_of_inputs(subject.source))


@dataclass(frozen=True)
class Writer:
    """Writes the files of a recipe into a folder; each format's float file is made once, or fails once."""

    subject: Subject
    recipe: Recipe
    folder: Path
    progress: Progress
    floats: dict[str, Artifact | Exception] = field(default_factory=dict)
    device: str | None = None  # that latency is estimated for; None: it is measured on this machine
    found: dict[Path, Found] = field(default_factory=dict)  # w8a8 file that was searched for → the best one so far
    warnings: list[str] = field(default_factory=list)  # of the calibration samples
    checked: list[Artifact] = field(default_factory=list)  # the float file that they were checked with

    def write(self, format_name: str, precision: str) -> Artifact:
        """Return the file of *precision*, written, not yet verified."""
        subject, float_file = self.subject, self._float_file(format_name)
        if precision == "fp32":
            return float_file
        path = self.folder / f"{subject.name}.{precision}.{format_name}"
        if PRECISIONS[precision].calibrated:
            self._check(float_file)
        if precision == "w8a8" and self.recipe.quantize == AUTO:
            return self._search(float_file, path)
        calibration = self._inputs(subject.data.calibration(self.recipe.calibration.samples))
        artifact = quantize(
            float_file, path, precision, recipe=self.recipe, calibration=calibration, progress=self.progress
        )
        place = self._place(artifact, path.suffix)
        path.rename(place)
        return Artifact.open(place)

    def found_for(self, artifact: Artifact) -> Found | None:
        """Return the search that *artifact* came of; None where there was none."""
        return next((found for found in self.found.values() if found.artifact.path == artifact.path), None)

    def found_so_far(self, format_name: str, precision: str, interruption: KeyboardInterrupt) -> Artifact:
        """Return the best file of a search that was interrupted.

        Raises:
            KeyboardInterrupt: *interruption* itself, where there is none.
        """
        found = self.found.get(self.folder / f"{self.subject.name}.{precision}.{format_name}")
        if found is None:
            raise interruption
        return found.artifact

    def _check(self, float_file: Artifact) -> None:
        """Remember what is odd about the calibration samples; told once for all formats.

        Raises:
            EdgecnnError: they cannot be calibrated with.
        """
        data = self.subject.data
        if self.checked or data.name == NOISE:
            return
        asked = self.recipe.calibration.samples
        calibration = CalibrationInputs(data.calibration(asked), self.subject.normalization)
        self.progress("checking the calibration samples")
        told = check_calibration(calibration, asked, len(data.labels) if data.labels else None)
        self.warnings.extend((*told, *check_halves(float_file, calibration)))
        self.checked.append(float_file)

    def _inputs(self, samples: Samples) -> CalibrationInputs:
        return CalibrationInputs(samples, self.subject.normalization, self.subject.data.name)

    def _search(self, float_file: Artifact, path: Path) -> Artifact:
        """Write the best w8a8 file that is found on samples held back from calibration.

        Stopped by Ctrl-C, it leaves the best one so far in `found`.
        """
        recipe, subject = self.recipe, self.subject
        limits = recipe.limits.get("w8a8", Limits())
        may_mix = limits != Limits() and recipe.runtime is None and subject.data.name != NOISE
        may_mix = may_mix and len(float_file.inputs) == 1  # noise of layers is known of one input
        count = max(HELD, recipe.evaluation_samples) if may_mix else HELD
        calibration, rest = hold_back(subject.data.training, recipe.calibration.samples, count)
        inputs = self._inputs(calibration)

        def write(method: str, place: Path, /, in_float: Sequence[str] = ()) -> Artifact:
            own = replace(recipe, quantize=method)
            return quantize(
                float_file, place, "w8a8", recipe=own, calibration=inputs, in_float=in_float, progress=self.progress
            )

        with PrivateFolder(self.folder) as place:
            folder = Path(place)
            same = None if subject.judge.decode else subject.judge.task.answers
            unjudged = Judge(Task("none", "nothing", (), same))
            held = HeldBack.take(float_file, rest.take(HELD, seed=1), subject.normalization, unjudged, folder / "held")
            for found in search_int8(held, write, folder, self.progress):
                self._keep(path, found)
            if may_mix:
                judged = HeldBack.take(float_file, rest, subject.normalization, subject.judge, folder / "judged")
                for found in search_mixed(
                    *(self.found[path], held, judged, limits, write, folder, self.progress),
                    device=self.device,
                    is_integer_only=recipe.integer_only,
                ):
                    self._keep(path, found)
        return self.found[path].artifact

    def _keep(self, wanted: Path, found: Found) -> None:
        """Give the best file so far its name in place of an earlier one: its precision may be another than *wanted*."""
        artifact = found.artifact
        earlier = self.found.get(wanted)
        if earlier is not None and earlier.artifact.sha256 == artifact.sha256:
            artifact = earlier.artifact
        else:
            artifact = artifact.copied_to(self._place(artifact, wanted.suffix))
            if earlier is not None and earlier.artifact.path != artifact.path:
                earlier.artifact.path.unlink()
        self.found[wanted] = replace(found, artifact=artifact)

    def _place(self, artifact: Artifact, suffix: str) -> Path:
        """Return where a file belongs by its precision, which may be another than was asked for: `mixed`."""
        return self.folder / f"{self.subject.name}.{artifact.metadata['precision']}{suffix}"

    def _float_file(self, format_name: str) -> Artifact:
        if format_name not in self.floats:
            try:
                self.floats[format_name] = _write_float(self.subject, format_name, self.folder)
            except Exception as error:
                self.floats[format_name] = error
        found = self.floats[format_name]
        if isinstance(found, Exception):
            raise found
        return found


__all__ = ["Writer"]
