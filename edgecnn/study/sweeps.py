"""The runs that start from trained networks of a study: pruning by iterations, and static int8."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecnn.checkpoint import Checkpoint
from edgecnn.errors import EdgecnnError
from edgecnn.evaluate.files import evaluate
from edgecnn.progress import Progress, with_prefix
from edgecnn.study.definition import Pruning
from edgecnn.study.pruning import nonzero_after
from edgecnn.study.training import Settings, TrainingRun, checkpoint_of, normalization_of, save
from edgecnn.tasks.score import accuracy_to_json

if TYPE_CHECKING:
    from edgecnn.nets.network import Network

_CALIBRATION_SAMPLES = 256


@dataclass(frozen=True)
class PruningRun:
    """All iterations of pruning one trained network: each sets the smallest weights to zero and trains what is left."""

    base: TrainingRun
    pruning: Pruning

    @property
    def name(self) -> str:
        """`resnet101-v11.c-20-0.pruned`."""
        return f"{self.base.name}.pruned"

    @property
    def cost(self) -> float:
        """The cost of an epoch of the network, times the epochs at most."""
        return self.base.cost * self.pruning.iterations * max(1, self.pruning.epochs)

    def identity(self) -> Mapping[str, Any]:
        """Return that of the dense network, and how it is pruned."""
        pruning = self.pruning
        how = {"iterations": pruning.iterations, "share": pruning.share, "pruning_epochs": pruning.epochs}
        return {**self.base.identity(), "kind": "pruning", **how}

    def execute(self, folder: Path, progress: Progress) -> Mapping[str, Any]:
        """Prune and train again and again; what an iteration left is taken up where the run was stopped."""
        from edgecnn.nets.network import build

        network = build(checkpoint_of(folder, self.base.name))
        total, iterations = convolution_weights(network), []
        for index, left in enumerate(nonzero_after(total, self.pruning.iterations, self.pruning.share)):
            if index:
                path = folder / f"{self.name}{index}.safetensors"
                if not path.is_file():
                    where = with_prefix(progress, f"iteration {index} of {self.pruning.iterations}")
                    self._iterate(network, total - left, path, where)
                network = build(path)
            assert network.checkpoint is not None
            iterations.append(
                {"iteration": index, "convolution_weights": left, "accuracy": dict(network.checkpoint.accuracy or {})}
            )
        return {"iterations": iterations, "accuracy": iterations[-1]["accuracy"]}

    def _iterate(self, network: Network, zeros: int, path: Path, progress: Progress) -> None:
        from edgecnn.compress.magnitude import apply_masks, convolution_masks
        from edgecnn.compress.protocols import FINE_TUNING
        from edgecnn.compress.train import train

        settings, data = self.base.settings, self.base.settings.dataset()
        normalization = normalization_of(settings.protocol, data)
        apply_masks(network.module, convolution_masks(network.module, zeros))
        config = replace(FINE_TUNING, epochs=self.pruning.epochs, seed=settings.seed)
        if data.shape[1] < 32:
            config = replace(config, augmentation=replace(config.augmentation, shift=0, flip=False))
        training = data.training if settings.samples is None else data.training.take(settings.samples)
        state = path.with_suffix(".training.safetensors")
        module = train(network.module, training, config, normalization, progress, state=state)
        save(replace(network, module=module), data, normalization, path, progress)
        state.unlink(missing_ok=True)


def convolution_weights(network: Network) -> int:
    """Return how many weights the convolutions of *network* have."""
    from edgecnn.compress.magnitude import convolution_masks

    return sum(mask.numel() for mask in convolution_masks(network.module, 0).values())


@dataclass(frozen=True)
class QuantizationRun:
    """The static int8 TFLite file of one trained network, calibrated on training images.

    Beside it, the same calibrated on the images that it is judged by, as the papers do: shown as what it is. Their
    unfused batch norms and their sums in float are not reproduced.
    """

    checkpoint: str  # name of the run, and of the iteration of pruning: `resnet101-v11.c-20-0.pruned6`
    settings: Settings
    cost: float = 1.0

    @property
    def name(self) -> str:
        """`resnet101-v11.c-20-0.w8a8`."""
        return f"{self.checkpoint}.w8a8"

    def identity(self) -> Mapping[str, Any]:
        """Return the checkpoint and the settings that it was trained by."""
        return {"kind": "quantization", "checkpoint": self.checkpoint, **self.settings.of_results()}

    def execute(self, folder: Path, progress: Progress) -> Mapping[str, Any]:
        """Write both files and judge them on all evaluation samples; the one calibrated on those is removed."""
        from edgecnn.export import CalibrationInputs, FileFacts, quantize
        from edgecnn.export.tflite import to_tflite
        from edgecnn.nets.network import build

        data = self.settings.dataset()
        source = checkpoint_of(folder, self.checkpoint)
        network, stored = build(source), Checkpoint.read(source)
        assert stored is not None
        facts = FileFacts(self.checkpoint, stored.normalization, stored.labels, network.weights_sha256())
        progress("writing the float file")
        dense = to_tflite(network.module, folder / f"{self.checkpoint}.fp32.tflite", self.settings.input_shape, facts)
        figures: dict[str, Any] = {
            "float": {"accuracy": dict(stored.accuracy or {}), "size_bytes": dense.size_bytes},
        }
        for key, samples in (
            ("calibrated_on_training", data.calibration(_CALIBRATION_SAMPLES)),
            ("calibrated_on_evaluation", data.evaluation.take(_CALIBRATION_SAMPLES)),
        ):
            path = folder / f"{self.name}{'' if key.endswith('training') else '-evaluation'}.tflite"
            calibration = CalibrationInputs(samples, stored.normalization, data.name)
            artifact = quantize(dense, path, "w8a8", calibration=calibration, progress=progress)
            score = evaluate(artifact, data, task="classification", progress=progress).score
            if score is None:
                raise EdgecnnError(f"{path}: no accuracy: data set '{data.name}' has no labels")
            figures[key] = {"accuracy": accuracy_to_json(score), "size_bytes": artifact.size_bytes}
            if not key.endswith("training"):
                path.unlink()
        dense.path.unlink()
        return {**figures, "accuracy": figures["calibrated_on_training"]["accuracy"]}
