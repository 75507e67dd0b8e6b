"""Compare `edgecnn fit` for microcontrollers with TFLite Micro's own interpreter, on every file of some folders.

    python benchmarks/fit_micro.py FOLDER... [-o benchmarks/tables/fit/micro.json]

Needs `pip install 'edgecnn[mcu]'`. Prints a table and ends with 1 where `fit` says of a file that it runs and the
interpreter refuses it, or where the told arena is too small; the files themselves are not kept.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from edgecnn.errors import EdgecnnError
from edgecnn.files import write_whole
from edgecnn.fit.micro import plan_micro
from edgecnn.fit.micro_support import unsupported_by_micro
from edgecnn.formats import read_graph

KEPT = ("file", "head", "total", "fit_head", "fit_total", "verdict")
ORACLE = Path(__file__).parents[1] / "tests/micro_oracle.py"


def compare(path: Path) -> dict[str, Any]:
    """Return what the interpreter and `fit` say of one file; totals for 8-byte pointers, as on this machine."""
    said: dict[str, Any] = {"file": path.name}
    arena_bytes, refused = None, None
    try:
        graph = read_graph(path)
        kinds = {operator.kind for part in (graph, *graph.further) for operator in part.operators}
        arena, refused = plan_micro(graph, 8), list(unsupported_by_micro(graph))
        arena_bytes = arena.total_bytes
        said |= {"kinds": sorted(kinds), "fit_head": arena.head_bytes, "fit_total": arena_bytes, "unsupported": refused}
    except EdgecnnError as error:
        said["unsupported"] = [str(error).partition(": ")[2]]
    target = str(path) if arena_bytes is None else f"{path}@{arena_bytes}"
    run = subprocess.run([sys.executable, ORACLE, target], capture_output=True, text=True, check=True)
    answer = json.loads(run.stdout)
    total = None if answer["tail"] is None else answer["head"] + answer["tail"]
    said |= {"runs": answer["runs"], "head": answer["head"], "total": total, "why": answer["why"]}
    return said | {"verdict": _verdict(said, answer)}


def _verdict(said: dict[str, Any], answer: dict[str, Any]) -> str:
    if not answer["runs"]:
        return "refused by both" if said["unsupported"] else "WRONG: refused, fit says it runs"
    if said["unsupported"]:
        return "fit refuses what runs"
    if not answer["runs_in"]:
        return "WRONG: the told arena is too small"
    return "exact" if said["fit_total"] == said["total"] else "runs"


def main() -> int:
    """Compare the files and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("-o", type=Path, help="write the result here, as JSON")
    arguments = parser.parse_args()
    files = sorted({path for folder in arguments.folders for path in folder.rglob("*.tflite")}, key=lambda p: p.name)
    rows = []
    for path in files:
        rows.append(compare(path))
        row = rows[-1]
        cells = (row["file"], len(row.get("kinds", ())), row["head"], row["total"])
        print(*cells, row.get("fit_head"), row.get("fit_total"), row["verdict"], sep="  ", flush=True)
    verdicts = Counter(row["verdict"] for row in rows)
    kinds = {kind for row in rows for kind in row.get("kinds", ())}
    print(f"{len(rows)} files, {len(kinds)} operators: " + ", ".join(f"{n} {name}" for name, n in verdicts.items()))
    if arguments.o:
        kept = [{key: row.get(key) for key in KEPT} for row in rows]
        document = {"pointer_bytes": 8, "verdicts": dict(verdicts), "operators": sorted(kinds), "files": kept}
        write_whole(arguments.o, json.dumps(document, indent=1) + "\n")
    return int(any(name.startswith("WRONG") for name in verdicts))


if __name__ == "__main__":
    sys.exit(main())
