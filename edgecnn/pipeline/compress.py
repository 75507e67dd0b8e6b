"""A network in, a smaller one out, as a checkpoint."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecnn.errors import EdgecnnError, telling_missing_packages
from edgecnn.files import check_writable
from edgecnn.measurement import Accuracy
from edgecnn.normalization import Normalization
from edgecnn.pipeline.subject import load_subject
from edgecnn.progress import Progress, silent

if TYPE_CHECKING:
    from edgecnn.compress.prune import PruneConfig, Size
    from edgecnn.compress.train import TrainConfig
    from edgecnn.nets.network import Network


@dataclass(frozen=True)
class CompressResult:
    """A compressed network beside the original, both judged on the same evaluation samples."""

    path: Path
    before: Size
    after: Size
    accuracy_before: Accuracy
    accuracy_after: Accuracy
    warnings: tuple[str, ...] = ()  # what was assumed of the network

    def to_json(self) -> dict[str, Any]:
        """Return the document of `edgecnn compress --json`."""
        return {
            "path": str(self.path),
            "params": {"before": self.before.params, "after": self.after.params},
            "macs": {"before": self.before.macs, "after": self.after.macs},
            "accuracy": {"before": self.accuracy_before.to_json(), "after": self.accuracy_after.to_json()},
        }


@telling_missing_packages()
def compress_model(
    model: str | Network,
    path: Path | str,
    *,
    data: str,
    pruning_ratio: float = 0.5,
    criterion: str = "l2",
    round_to: int = 1,
    epochs: int = 10,
    learning_rate: float = 3e-3,
    weights: str | Path | None = None,
    normalization: Normalization | None = None,
    data_dir: Path | str | None = None,
    download: bool = False,
    progress: Progress = silent,
) -> CompressResult:
    """Prune whole filters of a network, fine-tune it, and write it to *path* as a `Checkpoint`.

    Args:
        model: see `edgecnn.build`; an exported program cannot be pruned.
        path: the `.safetensors` file to write.
        data: a data set's name; its evaluation part is touched at the end alone, to judge both networks.
        pruning_ratio: of the channels of every prunable layer, in [0, 1).
        criterion: `l1` or `l2`.
        round_to: channel counts become multiples of it.
        epochs: of fine-tuning.
        learning_rate: the peak of its one cycle.
        weights: see `edgecnn.build`.
        normalization: how pixels become inputs; None: as the network says, else as the data set does.
        data_dir: where data sets lie.
        download: whether a data set that is not there may be fetched.
        progress: told the epochs.

    Raises:
        EdgecnnError: bad arguments, a network that cannot be rebuilt or pruned, or a loss that is no number.
    """
    from edgecnn.compress.prune import PruneConfig, prune, size_of
    from edgecnn.compress.train import TrainConfig, train
    from edgecnn.nets.evaluate import accuracy_of

    config = PruneConfig(pruning_ratio, criterion, round_to)
    schedule = TrainConfig(epochs=epochs, learning_rate=learning_rate)
    path = Path(path)
    if path.suffix != ".safetensors":
        raise EdgecnnError(f"{path}: a checkpoint's name ends in .safetensors")
    check_writable(path)
    subject = load_subject(
        model, data=data, weights=weights, normalization=normalization, data_dir=data_dir, download=download
    )
    if subject.network is None or subject.network.checkpoint is None:
        raise EdgecnnError(f"{model}: an exported program cannot be pruned; name the network that it was made from")
    network, checkpoint = subject.network, subject.network.checkpoint
    pruned = prune(network.module, subject.shape, config)
    tuned = train(pruned, subject.data.training, schedule, subject.normalization, progress)
    result = CompressResult(
        path,
        size_of(network.module, subject.shape),
        size_of(tuned, subject.shape),
        accuracy_of(network, subject.data.evaluation, subject.normalization),
        accuracy_of(replace(network, module=tuned), subject.data.evaluation, subject.normalization),
        subject.warnings,
    )
    replace(
        checkpoint,
        input_shape=subject.shape,
        normalization=subject.normalization,
        labels=subject.labels,
        accuracy=result.accuracy_after.to_json(),
        data=subject.data.name,
        history=(*checkpoint.history, *_steps(config, schedule, subject.data.name)),
    ).save(path, tuned)
    return result


def _steps(config: PruneConfig, schedule: TrainConfig, data: str) -> list[dict[str, Any]]:
    """Return what was done, for the checkpoint's history; what did nothing is left out."""
    steps: list[dict[str, Any]] = []
    if config.pruning_ratio:
        steps.append({"step": "prune", **asdict(config)})
    if schedule.epochs:
        steps.append({"step": "train", **asdict(schedule), "data": data})
    return steps
