"""Compress the networks of the table, judge what comes out, and draw the table.

    python benchmarks/tables/layer-optimization/networks.py compress vgg16 FOLDER
    python benchmarks/tables/layer-optimization/networks.py again vgg16 FOLDER
    python benchmarks/tables/layer-optimization/networks.py judge vgg16 FOLDER
    python benchmarks/tables/layer-optimization/networks.py render

FOLDER holds the baseline: what `baselines.py` has trained, or the given weights as `resnet56.safetensors`. A
compression that was stopped goes on where it is started again; all its choices are made on a tenth of the training
images, which our own baselines have not seen. `again` keeps to the cuts of the table's plan, and trains as the row says
now, longer or by other teachers. `judge` exports both networks, runs the files over the whole test part, and measures
the latency of both in one run: do it on a quiet machine. What it writes lies beside this script.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from edgecnn.artifact import Artifact
from edgecnn.benchmarks.plan import measure_files
from edgecnn.checkpoint import Checkpoint
from edgecnn.datasets import open_dataset
from edgecnn.export.tflite import to_tflite
from edgecnn.files import write_whole
from edgecnn.nets.network import Network, build
from edgecnn.pipeline import Budget, CompressResult, ExportResult, Plan, Search, Training, compress_model, export_model
from edgecnn.pipeline.subject import load_subject
from edgecnn.pipeline.teachers import described, load_teachers
from edgecnn.recipe import Recipe
from edgecnn.tasks.score import accuracy_to_json

HERE = Path(__file__).resolve().parent
DATA = "cifar10"
LARGEST_KEPT = 10**6  # bytes of a file that is kept beside the table

#: The two files whose latency the table has.
SHOWN = (("before", "fp32"), ("after", "w8a8"))

#: Both precisions of both networks, each run over the whole test part.
FILES = Recipe("table", "the files of the table", {"tflite": ("fp32", "w8a8")}, evaluation_samples=10_000)


@dataclass(frozen=True)
class Study:
    """One row: what the study reached, what is to be reached, and how it is tried."""

    published: str
    to_reach: str
    times_smaller: float | None = None  # bytes of the fp32 file over those of the compressed w8a8 file
    macs: float | None = None  # share that may be left
    params: float | None = None
    drop: float | None = 1.0  # points between the fp32 file before and the w8a8 file after
    faster: float | None = None  # latency of the fp32 file before over that of the w8a8 file after
    baseline: float | None = None  # least accuracy of the original
    as_float: float | None = None  # least accuracy of the compressed network in torch
    as_int8: float | None = None  # and of its w8a8 file
    share: float = 0.5  # that a round takes
    epochs_between: int = 1
    epochs: int = 40
    teachers: tuple[str, ...] = ()  # baselines that teach in the original's place
    all_images: bool = False  # once the cuts are chosen, all is trained again on the images that chose them as well
    training: dict[str, Any] = field(default_factory=lambda: {"learning_rate": 0.05, "optimizer": "sgd"})


STUDIES = {
    # Without batch norm, steps have to be shorter.
    "alexnet": Study(
        "47.28x, < 1 point",
        "150x, at most 1 point",
        times_smaller=150,
        epochs=30,
        training={"learning_rate": 0.02, "optimizer": "sgd"},
    ),
    # The share of MACs is our own choice; on the way to the size it is met anyway.
    "vgg16": Study(
        "35.21x, < 1 point",
        "300x, at most 1 point; baseline at least 93.0 %",
        times_smaller=300,
        macs=0.4,
        baseline=0.93,
        epochs=48,
        teachers=("vgg16", "resnet56"),
    ),
    "vgg16-compact": Study(
        "OTOv2: 95.0 % of parameters, 73.4 % of MACs gone, 93.1 %",
        "97 % of parameters, 80 % of MACs gone, at most 1 point below its baseline; latency at least 12x better",
        macs=0.2,
        params=0.03,
        faster=12,
        epochs=48,
        teachers=("vgg16-compact", "resnet56"),
    ),
    "resnet56": Study(
        "DepGraph: 2.57x fewer MACs, +0.11",
        "2.57x fewer MACs, at least 93.4 % in float, at least 93.2 % as int8",
        macs=1 / 2.57,
        drop=None,
        as_float=0.934,
        as_int8=0.932,
        share=0.25,
        teachers=("resnet56", "vgg16"),
        all_images=True,  # the given weights had seen them all
    ),
}


def compress(name: str, folder: Path) -> None:
    """Search for the cuts within the budget of *name*, and train what is left."""
    study = STUDIES[name]
    network = baseline(name, folder)
    out = folder / f"{name}-{'found' if study.all_images else 'small'}.safetensors"
    size_bytes = None
    if study.times_smaller is not None:
        plain = to_tflite(network.module, folder / f"{name}.fp32.tflite", open_dataset(DATA).shape)
        size_bytes = int(plain.size_bytes / study.times_smaller)
    if _was_stopped(out) or not out.exists():
        result = compress_model(
            network,
            out,
            Budget(
                max_macs_ratio=study.macs,
                max_params_ratio=study.params,
                size_bytes=size_bytes,
                search=Search(share=study.share, epochs_between=study.epochs_between),
            ),
            data=DATA,
            resume=_was_stopped(out),
            progress=_told,
            training=Training(
                epochs=0 if study.all_images else study.epochs, teachers=_teachers(study, folder), batch_size=128
            ),
            **study.training,
        )
        _write(result, folder / f"{out.stem}.json")
    if study.all_images:
        again(name, folder, out.with_suffix(".plan.toml"))


def again(name: str, folder: Path, plan: Path | None = None) -> None:
    """Make the cuts of *plan* once more, the table's if there is no other, and train what is left as the row says now.

    What comes out takes the place of the network before it if it does better on the validation part, or none is left.
    """
    study, network, out = STUDIES[name], baseline(name, folder), folder / f"{name}-again.safetensors"
    written = Plan.read(plan or HERE / f"network-{name}.plan.toml")
    teachers = _teachers(study, folder)
    validation_split = 0.0 if study.all_images else written.method.validation_split
    wanted = replace(
        written,
        method=replace(written.method, validation_split=validation_split),
        epochs=study.epochs,
        teachers=described(load_teachers(teachers, load_subject(network, data=DATA))),
    )
    wanted.write(folder / f"{name}-wanted.plan.toml")
    result = compress_model(
        network,
        out,
        folder / f"{name}-wanted.plan.toml",
        data=DATA,
        resume=_was_stopped(out),
        progress=_told,
        training=Training(teachers=teachers),
    )
    instead: dict[str, Any] = {"path": f"{name}-small.safetensors", "plan": f"{name}-small.plan.toml"}
    if study.all_images:  # the rounds are told as the search judged them: now there is nothing to judge by
        document = json.loads((folder / f"{name}-found.json").read_text())
        instead |= {key: document[key] for key in ("rounds", "stopped", "unmet")}
    _write(result, folder / f"{out.stem}.json", instead)
    small = folder / f"{name}-small.json"
    if small.exists() and result.after.score is not None:
        earlier = json.loads(small.read_text())["validation_accuracy"]["after"]["top1"]
        print(f"validation part: {result.after.score.value:.2%}, before {earlier:.2%}")
        if earlier >= result.after.score.value:
            return
    for suffix in (".safetensors", ".json", ".plan.toml"):
        out.with_suffix(suffix).replace(folder / f"{name}-small{suffix}")


def _teachers(study: Study, folder: Path) -> list[Network]:
    return [baseline(teacher, folder) for teacher in study.teachers]


def _was_stopped(path: Path) -> bool:
    return path.with_name(f"{path.name}.run").exists()


def _write(result: CompressResult, path: Path, instead: Mapping[str, Any] | None = None) -> None:
    """Write *result*'s document; the figures on the test part are for `judge`: nothing is to be chosen by them."""
    names = {"path": result.path.name, "plan": None if result.plan is None else result.plan.name}
    document = result.to_json() | names | {"accuracy": None} | dict(instead or {})
    write_whole(path, json.dumps(document, indent=1) + "\n")


def judge(name: str, folder: Path) -> None:
    """Export *name* and what it became, run both over the test part, measure both, and write what was seen."""
    study = STUDIES[name]
    original, small = baseline(name, folder), build(str(folder / f"{name}-small.safetensors"))
    before = export_model(original, folder / "before", recipe=FILES, data=DATA, name=name, progress=_told)
    after = export_model(small, folder / "after", recipe=FILES, data=DATA, name=f"{name}-small", progress=_told)
    files = [_artifact(result, precision) for result in (before, after) for precision in ("fp32", "w8a8")]
    latency = [measured.to_json() for measured in measure_files([one.path for one in files], runtimes=["litert"])]
    run = json.loads((folder / f"{name}-small.json").read_text())
    checkpoint = original.checkpoint
    document = {
        "name": name,
        "data": DATA,
        "published": study.published,
        "to_reach": study.to_reach,
        "study": asdict(study),
        "baseline_history": [] if checkpoint is None else list(checkpoint.history),
        "before": _figures(before),
        "after": _figures(after),
        "compression": run,
        "latency": {
            Path(one["file"]).name: {
                key: one[key] for key in ("p50_ns", "runtime", "threads", "conditions", "warnings")
            }
            for one in latency
        },
    }
    (HERE / f"network-{name}.json").write_text(json.dumps(document, indent=1) + "\n")
    shutil.copy(folder / f"{name}-small.plan.toml", HERE / f"network-{name}.plan.toml")
    smallest = _artifact(after, "w8a8").path
    if smallest.stat().st_size < LARGEST_KEPT:
        shutil.copy(smallest, HERE / smallest.name)
    render()


def baseline(name: str, folder: Path) -> Network:
    """Return the baseline in *folder*: a checkpoint of ours, or weights alone."""
    path = folder / f"{name}.safetensors"
    if Checkpoint.read(path) is not None:
        return build(str(path))
    return build(f"edgecnn:{name}", weights=path, classes=10, channels=3)


def _artifact(result: ExportResult, precision: str) -> Artifact:
    return next(file.artifact for file in result.files if file.artifact.precision == precision)


def _figures(result: ExportResult) -> dict[str, Any]:
    """Return sizes and accuracies of both files, and the accuracy of the network in torch."""
    assert result.reference is not None
    files = {file.artifact.precision: file for file in result.files}
    return {
        "torch": accuracy_to_json(result.reference),
        **{
            precision: {
                "file": file.path.name,
                "bytes": file.artifact.size_bytes,
                "accuracy": None if file.score is None else accuracy_to_json(file.score),
            }
            for precision, file in files.items()
        },
    }


def render() -> None:
    """Write the table and the plot of all results that lie beside this script."""
    results = [json.loads(path.read_text()) for path in sorted(HERE.glob("network-*.json"))]
    lines = [
        "| network | the study | to reach | baseline, fp32 file | compressed, float | compressed, w8a8 file | drop | "
        "fp32 to w8a8 bytes | smaller | parameters left | MACs left | latency | faster | reached |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for result in results:
        before, after, run = result["before"], result["after"], result["compression"]
        was, now = before["fp32"]["accuracy"]["top1"], after["w8a8"]["accuracy"]["top1"]
        sizes = before["fp32"]["bytes"], after["w8a8"]["bytes"]
        times = [result["latency"][result[when][kind]["file"]]["p50_ns"] / 1e6 for when, kind in SHOWN]
        left = {what: run[what]["after"] / run[what]["before"] for what in ("params", "macs")}
        study = STUDIES[result["name"]]
        within = {
            "baseline": study.baseline is None or was >= study.baseline,
            "drop": study.drop is None or round(100 * (was - now), 2) <= study.drop,
            "accuracy as float": study.as_float is None or after["torch"]["top1"] >= study.as_float,
            "accuracy as int8": study.as_int8 is None or now >= study.as_int8,
            "size": study.times_smaller is None or sizes[0] / sizes[1] >= study.times_smaller,
            "parameters": study.params is None or left["params"] <= study.params,
            "MACs": study.macs is None or left["macs"] <= study.macs,
            "latency": study.faster is None or times[0] / times[1] >= study.faster,
        }
        missed = [goal for goal, is_reached in within.items() if not is_reached]
        lines.append(
            f"| {result['name']} | {result['published']} | {result['to_reach']} | {was:.2%} | "
            f"{after['torch']['top1']:.2%} | {now:.2%} | {100 * (was - now):.2f} points | "
            f"{sizes[0]:,} to {sizes[1]:,} | {sizes[0] / sizes[1]:.1f}x | {left['params']:.2%} | {left['macs']:.1%} | "
            f"{times[0]:.3f} to {times[1]:.3f} ms | {times[0] / times[1]:.1f}x | "
            f"{'not the ' + ', '.join(missed) if missed else 'yes'} |"
        )
    (HERE / "networks.md").write_text("\n".join(lines) + "\n\n" + NOTE + _unsteady(results))
    if results:
        draw(results)


NOTE = """Accuracy: CIFAR-10, the whole test part (10,000 images), in LiteRT but where it says float, which is torch.
Each figure is sure to about half a point (95 %), AlexNet's to 0.7. Parameters and MACs are counted on the torch
networks. Latency: LiteRT with XNNPACK, one thread, the fp32 file of the original and the w8a8 file of the compressed
network in one run on one x86-64 core with AMX; the JSON has that of the other two files as well. The given weights of
resnet56 had seen all training images: its cuts are chosen on a tenth of them, and it is trained on all. The plan
beside each JSON does the compression again: `edgecnn compress BASELINE --data cifar10 --plan network-NAME.plan.toml -o
small.safetensors`, and `--teacher` for each that it names. Both VGG16 were trained at their end by their original
alone at first: vgg16 for as many epochs, and with more dropout in the rounds before, came to 92.07 % (validation part:
92.38 %, now 92.70 %), vgg16-compact for 24 epochs to 91.85 % (91.74 %, now 92.98 %). The given weights of resnet56,
which teaches them now as well, had seen the validation part; the students are not shown it, but their accuracy there
may be a bit too high.
"""


def _unsteady(results: list[dict[str, Any]]) -> str:
    """Return what was to be said of the latencies in the table, a line each."""
    files = [(result, result[when][kind]["file"]) for result in results for when, kind in SHOWN]
    said = [(file, warning) for result, file in files for warning in result["latency"][file]["warnings"]]
    return "".join(f"\nOf the latency of {file}: {warning}.\n" for file, warning in said)


def draw(results: list[dict[str, Any]]) -> None:
    """Draw the accuracy on the validation part over the parameters left, round by round, up to the last training."""
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(7, 4))
    for result in results:
        run = result["compression"]
        total, judged = run["params"]["before"], run["validation_accuracy"]
        points = [(one["params"] / total, one["validation_accuracy"]["top1"]) for one in run["rounds"] if one["kept"]]
        if judged["before"] is None:  # the last training left no images to judge by
            axis.plot(*zip(*points, strict=True), "o-", markersize=3, label=result["name"])
            continue
        points = [(1.0, judged["before"]["top1"]), *points]
        (line,) = axis.plot(*zip(*points, strict=True), "o-", markersize=3, label=result["name"])
        last = run["params"]["after"] / total, judged["after"]["top1"]
        axis.plot(*zip(points[-1], last, strict=True), ":", color=line.get_color())
        axis.plot(*last, "*", markersize=11, color=line.get_color())
    axis.set(xscale="log", xlabel="parameters left", ylabel="accuracy, validation part")
    axis.set_title("After each round, and (star) after the last training")
    axis.invert_xaxis()
    axis.legend()
    figure.tight_layout()
    figure.savefig(HERE / "networks.png", dpi=120)


def _told(step: str, done: int = 0, total: int | None = None) -> None:
    if total is None or done % max(1, total // 10) == 0:
        print(step if total is None else f"{step} {done} of {total}", flush=True)


if __name__ == "__main__":
    if sys.argv[1:] == ["render"]:
        render()
    else:
        {"compress": compress, "again": again, "judge": judge}[sys.argv[1]](sys.argv[2], Path(sys.argv[3]))
