"""How close one file's outputs are to another's, or to the network's own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgecnn.artifact import Artifact
from edgecnn.datasets import Data
from edgecnn.datasets.noise import noise
from edgecnn.errors import EdgecnnError
from edgecnn.evaluate.choice import TaskChoice, choose
from edgecnn.evaluate.inputs import image_of, open_for, plan_for
from edgecnn.evaluate.judge import Judge
from edgecnn.evaluate.parity import Parity
from edgecnn.evaluate.run import run_artifact
from edgecnn.normalization import Normalization, Resize
from edgecnn.short_repr import short_repr
from edgecnn.tasks.task import Task


@dataclass(frozen=True)
class Comparison:
    """Two files and their parity."""

    __repr__ = short_repr

    reference: str
    candidate: str
    parity: Parity
    assumptions: tuple[str, ...]


def compare(
    reference: Path | str | Artifact,
    candidate: Path | str | Artifact,
    *,
    data: Data | None = None,
    task: TaskChoice | str | None = None,
    input_shape: tuple[int, ...] | None = None,
    samples: int | None = 1000,
    normalization: Normalization | str | None = None,
    resize: Resize | str | None = None,
    data_dir: Path | str | None = None,
    download: bool = False,
    threads: int = 1,
) -> Comparison:
    """Run two exported files on the same samples, each in its own runtime, and return how far they are apart.

    Args:
        reference: a `.tflite` or `.onnx` file, or an `Artifact`.
        candidate: another one.
        data: the data whose evaluation samples are used, as `open_dataset` takes them; None: noise of *input_shape*.
        task: what the networks do, for the answers that agree; None: as *reference* records, else the data say.
        input_shape: (C, H, W) of the noise.
        samples: how many at most; None: all.
        normalization: for files that do not say what their input expects.
        resize: how images in files come to the size of *reference*; None: they just cover it.
        data_dir: where data sets lie; None: `$EDGECNN_DATA`.
        download: whether a data set that is not there may be fetched.
        threads: for both runtimes.

    Raises:
        EdgecnnError: a broken file, data that are not there or do not fit, outputs of different shapes.

    Example:
        >>> found = edgecnn.compare("classifier.tflite", "classifier.tflite", input_shape=(1, 8, 8), samples=16)
        >>> found.parity.max_abs_diff, found.parity.n
        (0.0, 16)
    """
    files = Artifact.open(reference), Artifact.open(candidate)
    if data is not None:
        dataset = open_for(image_of(files[0]), data, data_dir, download=download, resize=resize)
    elif input_shape is not None:
        dataset = noise(input_shape, samples or 1000)
    else:
        raise EdgecnnError(
            "comparing needs samples: give --data, for example --data digits, or --input 1x3x224x224 for noise"
        )
    chosen = dataset.evaluation.take(samples)
    plans = [plan_for(file, chosen, normalization, dataset.normalization) for file in files]
    runs = [run_artifact(file, chosen, plan, threads=threads) for file, plan in zip(files, plans, strict=True)]
    recorded, _ = TaskChoice.recorded(files[0].metadata, files[0].path.name)
    # Scores are for `measure`; of the task, only what an answer is that may be another one matters here.
    answers = choose(task, recorded, dataset).judge(dataset.facts).task.answers
    judge = Judge(Task("none", "nothing", (), answers))
    originals = (answered.outputs for answered in runs[0])
    parity = judge.judge(runs[1], files[1].path.name, originals=originals, centred=data is not None).parity
    assert parity is not None
    remarks = [text for file in files for text in file.contradictions]
    remarks += [*(text for plan in plans for text in plan.assumptions), *dataset.assumptions]
    if data is None:
        remarks.append(
            "compared on noise: int8 files are calibrated for real data, so this SQNR means little; give --data"
        )
    assumptions = tuple(dict.fromkeys(remarks))
    return Comparison(str(files[0].path), str(files[1].path), parity, assumptions)
