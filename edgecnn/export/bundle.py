"""What lies beside the exported files for those who build them into an app or a firmware."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from edgecnn.artifact import Artifact
from edgecnn.export.c_header import c_header, c_source
from edgecnn.export.firmware import Firmware
from edgecnn.files import write_whole
from edgecnn.recipe import Recipe

#: What the names of the C source file and header of a TFLite file end in, behind its own name.
COMPANIONS = (".cc", ".h")


def write_bundle(
    artifacts: Sequence[Artifact],
    recipe: Recipe,
    folder: Path,
    name: str,
    labels: Sequence[str] | None,
    firmware: Mapping[Path, Firmware] | None = None,
) -> list[Path]:
    """Write the parts that *recipe* asks for into *folder* and return their paths.

    `labels`: NAME.labels.txt, one class name a line, in the order of the output. `c_array`: each TFLite file as a C
    source file and header, as TFLite Micro's examples include them; the header has all that *firmware* (file → facts)
    says of the file.
    """
    written = []
    if "labels" in recipe.bundle and labels:
        written.append(folder / f"{name}.labels.txt")
        write_whole(written[-1], "\n".join(labels) + "\n")
    for artifact in artifacts:
        facts = (firmware or {}).get(artifact.path)
        if facts is not None:
            source, header = (artifact.path.with_name(artifact.path.name + end) for end in COMPANIONS)
            write_whole(source, c_source(facts, artifact.path.read_bytes(), header.name))
            write_whole(header, c_header(facts))
            written += [source, header]
    return written
