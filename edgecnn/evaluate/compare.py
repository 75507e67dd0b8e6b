"""How close one file's outputs are to another's, or to the network's own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgecnn.artifact import Artifact
from edgecnn.datasets import Data, DataSource
from edgecnn.datasets.noise import noise
from edgecnn.errors import EdgecnnError
from edgecnn.evaluate.choice import TaskChoice, choose
from edgecnn.evaluate.inputs import image_of, open_for, plan_for
from edgecnn.evaluate.judge import Judge
from edgecnn.evaluate.parity import Parity
from edgecnn.evaluate.run import run_artifact
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
    samples: int | None = 1000,
    threads: int = 1,
) -> Comparison:
    """Run two exported files on the same samples, each in its own runtime, and return how far they are apart.

    Args:
        reference: a `.tflite` or `.onnx` file, or an `Artifact`.
        candidate: another one.
        data: the data whose evaluation samples are used, as `open_dataset` takes them; a `DataSource` of nothing but
            an *input_shape* is noise. Its normalization is for files that do not say what their input expects.
        task: what the networks do, for the answers that agree; None: as *reference* records, else the data say.
        samples: how many at most; None: all.
        threads: for both runtimes.

    Raises:
        EdgecnnError: a broken file, data that are not there or do not fit, outputs of different shapes.

    Example:
        >>> noise = edgecnn.DataSource(input_shape=(1, 8, 8))
        >>> found = edgecnn.compare("classifier.tflite", "classifier.tflite", data=noise, samples=16)
        >>> found.parity.max_abs_diff, found.parity.n
        (0.0, 16)
    """
    files = Artifact.open(reference), Artifact.open(candidate)
    source = DataSource.of(data)
    if source.data is not None:
        dataset = open_for(image_of(files[0]), source)
    elif source.input_shape is not None:
        dataset = noise(source.input_shape, samples or 1000)
    else:
        raise EdgecnnError(
            "comparing needs samples: give --data, for example --data digits, or --input 1x3x224x224 for noise"
        )
    chosen = dataset.evaluation.take(samples)
    plans = [plan_for(file, chosen, source.normalization, dataset.normalization) for file in files]
    runs = [run_artifact(file, chosen, plan, threads=threads) for file, plan in zip(files, plans, strict=True)]
    recorded, _ = TaskChoice.recorded(files[0].metadata, files[0].path.name)
    # Scores are for `measure`; of the task, only what an answer is that may be another one matters here.
    answers = choose(task, recorded, dataset).judge(dataset.facts).task.answers
    judge = Judge(Task("none", "nothing", (), answers))
    originals = (answered.outputs for answered in runs[0])
    parity = judge.judge(runs[1], files[1].path.name, originals=originals, centred=source.data is not None).parity
    assert parity is not None
    remarks = [text for file in files for text in file.contradictions]
    remarks += [*(text for plan in plans for text in plan.assumptions), *dataset.assumptions]
    if source.data is None:
        remarks.append(
            "compared on noise: int8 files are calibrated for real data, so this SQNR means little; give --data"
        )
    assumptions = tuple(dict.fromkeys(remarks))
    return Comparison(str(files[0].path), str(files[1].path), parity, assumptions)
