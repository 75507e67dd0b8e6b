"""Smaller blocks beside fewer filters: one network, the same share of its MACs, the same training.

    python benchmarks/substitution.py compress MODELS FOLDER --epochs 20 --between 0.5
    python benchmarks/substitution.py judge MODELS FOLDER

MODELS holds the given weights, resnet56-cifar10.safetensors. `compress` brings it to half of its MACs twice, once by
`edgecnn compress --substitute` alone and once by filters alone; each run goes on where it was stopped. The cuts are
chosen without the test part, in the same way for both. `judge` exports what came of them, runs the w8a8 TFLite files
over the whole test part and measures them beside the original's in one run: do it on a quiet machine. The table goes to
benchmarks/tables/architecture-study/substitution.md, and what it is drawn from to the JSON beside it.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from edgecnn.benchmarks.plan import measure_files
from edgecnn.checkpoint import SUBSTITUTES
from edgecnn.files import write_whole
from edgecnn.nets.network import Network, build
from edgecnn.pipeline import Budget, Search, Training, compress_model, export_model
from edgecnn.recipe import Recipe
from edgecnn.tasks.score import accuracy_to_json

RESULT = Path(__file__).parent / "tables" / "architecture-study" / "substitution.json"
DATA = "cifar10"
FILES = Recipe("table", "the files of the table", {"tflite": ("w8a8",)}, evaluation_samples=10_000)

#: What may go in each run, beside the row's name.
WAYS: dict[str, dict[str, Any]] = {
    "blocks": {"filters": False, "substitutes": tuple(SUBSTITUTES.names())},
    "filters": {},
}


def original(models: Path, name: str) -> Network:
    """Return the network with the given weights."""
    return build(f"edgecnn:{name}", weights=models / f"{name}-cifar10.safetensors", classes=10, channels=3)


def compress(models: Path, folder: Path, name: str, macs: float, epochs: float, between: float) -> None:
    """Bring the network to the share *macs* in each way, and write what came of it to *folder*."""
    folder.mkdir(parents=True, exist_ok=True)
    for way, allowed in WAYS.items():
        out = folder / f"{name}-{way}.safetensors"
        if out.with_suffix(".json").exists():
            continue
        result = compress_model(
            original(models, name),
            out,
            Budget(max_macs_ratio=macs, search=Search(layers=False, epochs_between=between, **allowed)),
            data=DATA,
            training=Training(epochs=epochs),
            resume=out.with_name(f"{out.name}.run").exists(),
            progress=_told,
        )
        document = result.to_json() | {"path": out.name, "plan": None, "epochs": epochs, "epochs_between": between}
        write_whole(out.with_suffix(".json"), json.dumps(document, indent=1) + "\n")


def judge(models: Path, folder: Path, name: str) -> None:
    """Export the original and what came of both runs, and write the table."""
    networks = {"original": original(models, name)}
    networks |= {way: build(str(folder / f"{name}-{way}.safetensors")) for way in WAYS}
    rows: dict[str, dict[str, Any]] = {}
    paths: dict[str, Path] = {}
    for way, network in networks.items():
        file = export_model(network, folder / way, recipe=FILES, data=DATA, name=f"{name}-{way}").files[0]
        paths[way] = file.artifact.path
        run = {} if way == "original" else json.loads((folder / f"{name}-{way}.json").read_text())
        score = None if file.score is None else accuracy_to_json(file.score)
        rows[way] = {"bytes": file.artifact.size_bytes, "accuracy": score, "compression": run}
    for way, measured in zip(paths, measure_files(list(paths.values()), runtimes=["litert"]), strict=True):
        found = measured.to_json()
        rows[way]["latency"] = {key: found[key] for key in ("p50_ns", "runtime", "threads", "conditions", "warnings")}
    write_whole(RESULT, json.dumps({"network": name, "data": DATA, "rows": rows}, indent=1) + "\n")
    write_whole(RESULT.with_suffix(".md"), table(name, rows))


def table(name: str, rows: dict[str, dict[str, Any]]) -> str:
    """Return the table of *rows*, in Markdown."""
    run = rows["blocks"]["compression"]
    lines = [
        f"# {name}, {DATA}: smaller blocks beside fewer filters",
        "",
        "| what | parameters | MACs | w8a8 TFLite | top-1 of that file | p50 | epochs |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for way, row in rows.items():
        of = row["compression"]
        counts = [(of or run)[what]["after" if of else "before"] for what in ("params", "macs")]
        top1 = "" if row["accuracy"] is None else f"{row['accuracy']['top1']:.2%} of {row['accuracy']['n']}"
        trained = f"{of['epochs']:g} at the end, {of['epochs_between']:g} after each round" if of else ""
        p50_ms = row["latency"]["p50_ns"] / 1e6
        lines.append(
            f"| {way} | {counts[0]:,} | {counts[1]:,} | {row['bytes']:,} bytes | {top1} | {p50_ms:.3f} ms | {trained} |"
        )
    unsteady = sorted({warning for row in rows.values() for warning in row["latency"]["warnings"]})
    return "\n".join([*lines, *(f"\nOf the latencies: {warning}." for warning in unsteady)]) + "\n"


def _told(step: str, done: int = 0, total: int | None = None) -> None:
    if total is None or done % max(1, total // 10) == 0:
        print(step, *(() if total is None else (done, "of", total)), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("compress", "judge"))
    parser.add_argument("models", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--network", default="resnet56")
    parser.add_argument("--macs", type=float, default=0.5, help="share of the MACs that is left")
    parser.add_argument("--epochs", type=float, default=20, help="of the training at the end")
    parser.add_argument("--between", type=float, default=0.5, help="of the training after each round")
    given = parser.parse_args()
    if given.what == "compress":
        compress(given.models, given.folder, given.network, given.macs, given.epochs, given.between)
    else:
        judge(given.models, given.folder, given.network)
