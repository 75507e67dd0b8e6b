"""Public weights, exported: accuracy of every file on the whole CIFAR-10 test file, against the network in torch.

    EDGECNN_DATA=DIR python benchmarks/real_weights.py FOLDER

FOLDER holds resnet20-cifar10.safetensors and resnet56-cifar10.safetensors. Writes benchmarks/tables/spine/
real_weights.json and .md. Takes about 4 minutes on two cores.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from edgecnn.files import write_whole
from edgecnn.pipeline import export_model
from edgecnn.units import format_bytes, format_share

TABLE = Path(__file__).parent / "tables" / "spine" / "real_weights"
PUBLISHED = {"resnet20": 0.9173, "resnet56": 0.9339}  # by the author of the weights
ALLOWED = {"fp32": 0.0005, "w8a8": 0.006}


def main(weights: Path) -> None:
    """Export both networks and write the table."""
    rows = []
    for name, published in PUBLISHED.items():
        with tempfile.TemporaryDirectory() as folder:
            result = export_model(
                f"edgecnn:{name}",
                folder,
                weights=weights / f"{name}-cifar10.safetensors",
                data="cifar10",
                evaluation_samples=10_000,
            )
        assert result.reference is not None
        reference = result.reference
        for file in result.files:
            assert file.score is not None
            holds = abs(file.score.value - reference.value) <= ALLOWED[file.artifact.precision]
            document = {key: value for key, value in file.to_json().items() if key not in ("path", "rejected")}
            rows.append({"network": name, "published": published, "torch": reference.value, "holds": holds, **document})
            print(name, file.artifact.format, file.artifact.precision, format_share(file.score.value), holds)
    write_whole(TABLE.with_suffix(".json"), json.dumps({"schema_version": 1, "rows": rows}, indent=2) + "\n")
    lines = [
        "| network | published | torch | file | size | accuracy of 10 000, measured | SQNR |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {row['network']} | {format_share(row['published'])} | {format_share(row['torch'])} "
        f"| {row['format']} {row['precision']} | {format_bytes(row['size_bytes'])} "
        f"| {format_share(row['accuracy']['top1'])} | {row['parity']['sqnr_db']:.1f} dB |"
        for row in rows
    ]
    write_whole(TABLE.with_suffix(".md"), "\n".join(lines) + "\n")
    if not all(row["holds"] for row in rows):
        sys.exit("a file is further from its network than allowed")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
