"""What the order of cuts does to the accuracy: the same goal, the same training after each round, four orders.

    python benchmarks/tables/layer-optimization/orders.py resnet20 FOLDER
    python benchmarks/tables/layer-optimization/orders.py render

FOLDER holds the baseline (see `networks.py`). Each order cuts the same share of the MACs in rounds of the same share,
with an epoch of training after each and a few at the end. Runs that are done are not done again.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from networks import DATA, HERE, baseline

from edgecnn.pipeline import Budget, Search, Training, compress_model

MACS = 0.3
SHARE = 0.3
EPOCHS = 3
ORDERS = ("greedy", "backward", "forward", "random")


def main(name: str, folder: Path) -> None:
    """Compress *name* in each order, and draw the table of all that was done so far."""
    network = baseline(name, folder)
    for order in ORDERS:
        out = folder / f"{name}-{order}.safetensors"
        written = folder / f"{name}-{order}.json"
        if not written.exists():
            result = compress_model(
                network,
                out,
                Budget(max_macs_ratio=MACS, search=Search(order=order, share=SHARE)),
                data=DATA,
                resume=out.with_name(f"{out.name}.run").exists(),
                progress=_told,
                training=Training(epochs=EPOCHS, batch_size=128, learning_rate=0.02, optimizer="sgd"),
            )
            document = result.to_json() | {"path": out.name, "plan": None}
            written.write_text(json.dumps(document, indent=1) + "\n")
        runs = {one: folder / f"{name}-{one}.json" for one in ORDERS}
        results = {one: json.loads(path.read_text()) for one, path in runs.items() if path.exists()}
        document = {"name": name, "data": DATA, "macs": MACS, "share": SHARE, "epochs": EPOCHS, "orders": results}
        (HERE / f"orders-{name}.json").write_text(json.dumps(document, indent=1) + "\n")
        render()


def render() -> None:
    """Write the table and the plot of all results that lie beside this script."""
    lines = [
        "| network | order | rounds | MACs left | parameters left | before the last training, validation | "
        "after it, validation | test part | drop |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    documents = [json.loads(path.read_text()) for path in sorted(HERE.glob("orders-*.json"))]
    for document in documents:
        lines += [_row(document["name"], order, run) for order, run in document["orders"].items()]
    (HERE / "orders.md").write_text("\n".join(lines) + "\n\n" + NOTE)
    if documents:
        draw(documents)


def _row(name: str, order: str, run: dict[str, Any]) -> str:
    macs, params = (run[what]["after"] / run[what]["before"] for what in ("macs", "params"))
    rounds = [one["validation_accuracy"] for one in run["rounds"] if one["kept"]]
    last = rounds[-1] if rounds else run["validation_accuracy"]["before"]
    before, after = (run["accuracy"][when]["top1"] for when in ("before", "after"))
    return (
        f"| {name} | {order} | {len(rounds)} | {macs:.1%} | {params:.1%} | {last['top1']:.2%} | "
        f"{run['validation_accuracy']['after']['top1']:.2%} | {after:.2%} | {100 * (before - after):.2f} points |"
    )


NOTE = f"""CIFAR-10. Each order has the same goal ({MACS:g} of the MACs), the same share a round ({SHARE:g}), one
epoch between rounds and {EPOCHS} at the end, the original as teacher. `greedy` takes the cut that loses least for
what it saves, ranked anew each round; `forward` and `backward` go by where a layer stands; `random` by a drawn number.
The given weights of resnet20 have been trained on the validation part as well: its figures there are too high, alike.
"""


def draw(documents: list[dict[str, Any]]) -> None:
    """Draw the accuracy on the validation part over the MACs left, round by round, up to the last training."""
    import matplotlib.pyplot as plt
    from matplotlib.ticker import PercentFormatter

    figure, axes = plt.subplots(1, len(documents), figsize=(7 * len(documents), 4), squeeze=False)
    for axis, document in zip(axes[0], documents, strict=True):
        for order, run in document["orders"].items():
            total, judged = run["macs"]["before"], run["validation_accuracy"]
            rounds = [(one["macs"], one["validation_accuracy"]) for one in run["rounds"] if one["kept"]]
            points = [(total, judged["before"]), *rounds]
            (line,) = axis.plot(*_curve(points, total), "-", label=order)
            last = (run["macs"]["after"], judged["after"])
            axis.plot(*_curve([points[-1], last], total), ":", color=line.get_color())
            for part, mark in ((points, "o"), ([last], "*")):
                errors = zip(*((one["top1"] - one["low"], one["high"] - one["top1"]) for _, one in part), strict=True)
                axis.errorbar(
                    *_curve(part, total),
                    yerr=list(errors),
                    fmt=mark,
                    markersize=3 if mark == "o" else 11,
                    capsize=2,
                    color=line.get_color(),
                )
        axis.set(xlabel="MACs left", ylabel="accuracy, validation part (95 %)")
        axis.set_title(f"{document['name']}: after each round, and (star) after the last training")
        axis.xaxis.set_major_formatter(PercentFormatter(1, 0))
        axis.yaxis.set_major_formatter(PercentFormatter(1, 0))
        axis.invert_xaxis()
        axis.legend(title="order of cuts")
    figure.tight_layout()
    figure.savefig(HERE / "orders.png", dpi=120)


def _curve(points: list[tuple[float, dict[str, float]]], total: float) -> tuple[list[float], list[float]]:
    return [macs / total for macs, _ in points], [accuracy["top1"] for _, accuracy in points]


def _told(step: str, done: int = 0, total: int | None = None) -> None:
    if total is None or done % max(1, total // 4) == 0:
        print(step if total is None else f"{step} {done} of {total}", flush=True)


if __name__ == "__main__":
    if sys.argv[1:] == ["render"]:
        render()
    else:
        main(sys.argv[1], Path(sys.argv[2]))
