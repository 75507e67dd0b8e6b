"""Write the files of a recipe for a network and its data, not yet verified."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgecnn.artifact import Artifact
from edgecnn.datasets.noise import NOISE
from edgecnn.evaluate.choice import size_of_input
from edgecnn.evaluate.inputs import shapes_of_inputs
from edgecnn.evaluate.verify import Attempt
from edgecnn.export import CalibrationInputs, FileFacts, quantize
from edgecnn.export.calibration import check_calibration, check_halves
from edgecnn.pipeline.int8_search import hold_back, search_int8
from edgecnn.pipeline.subject import Subject
from edgecnn.progress import Progress
from edgecnn.recipe import AUTO, Recipe
from edgecnn.samples import Samples


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
    attempts: dict[Path, tuple[Attempt, ...]] = field(default_factory=dict)  # w8a8 file → how it was found
    warnings: list[str] = field(default_factory=list)  # of the calibration samples
    checked: list[Artifact] = field(default_factory=list)  # the float file that they were checked with

    def write(self, format_name: str, precision: str) -> Artifact:
        """Return the file of *precision*, written, not yet verified."""
        subject, float_file = self.subject, self._float_file(format_name)
        if precision == "fp32":
            return float_file
        path = self.folder / f"{subject.name}.{precision}.{format_name}"
        if precision == "w8a8":
            self._check(float_file)
        if precision == "w8a8" and self.recipe.quantize == AUTO:
            return self._search(float_file, path)
        samples = subject.data.calibration(self.recipe.calibration.samples)
        return self._quantized(float_file, path, precision, self.recipe, samples)

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

    def _quantized(
        self, float_file: Artifact, path: Path, precision: str, recipe: Recipe, samples: Samples
    ) -> Artifact:
        calibration = CalibrationInputs(samples, self.subject.normalization, self.subject.data.name)
        return quantize(float_file, path, precision, recipe=recipe, calibration=calibration, progress=self.progress)

    def _search(self, float_file: Artifact, path: Path) -> Artifact:
        """Write the best w8a8 file that is found on samples held back from calibration."""
        calibration, held = hold_back(self.subject.data.training, self.recipe.calibration.samples)

        def write(method: str, place: Path) -> Artifact:
            recipe = replace(self.recipe, quantize=method)
            return self._quantized(float_file, place, "w8a8", recipe, calibration)

        subject = self.subject
        answers = None if subject.judge.decode else subject.judge.task.answers
        best, attempts = search_int8(
            float_file, write, held, self.folder, subject.normalization, self.progress, answers=answers
        )
        self.attempts[path] = attempts
        best.path.rename(path)
        return Artifact.open(path)

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
