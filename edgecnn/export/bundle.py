"""What lies beside the exported files for those who build them into an app or a firmware."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgecnn.artifact import Artifact
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
    arenas: Mapping[Path, int] | None = None,
) -> list[Path]:
    """Write the parts that *recipe* asks for into *folder* and return their paths.

    `labels`: NAME.labels.txt, one class name a line, in the order of the output. `c_array`: each TFLite file as a C
    source file and header, as TFLite Micro's examples include them; the header says the size to set the arena to, where
    *arenas* (file → bytes) has one.
    """
    written = []
    if "labels" in recipe.bundle and labels:
        written.append(folder / f"{name}.labels.txt")
        write_whole(written[-1], "\n".join(labels) + "\n")
    if "c_array" in recipe.bundle:
        for artifact in artifacts:
            if artifact.format == "tflite":
                written += _write_c_array(artifact, (arenas or {}).get(artifact.path))
    return written


def _write_c_array(artifact: Artifact, arena_bytes: int | None) -> list[Path]:
    symbol = re.sub(r"\W", "_", artifact.path.name)
    symbol = f"g_{symbol}"
    content = artifact.path.read_bytes()
    lines = [", ".join(f"0x{byte:02x}" for byte in content[i : i + 16]) for i in range(0, len(content), 16)]
    source, header = (artifact.path.with_name(artifact.path.name + end) for end in COMPANIONS)
    # TFLite Micro reads the flatbuffer in place: it wants 16-byte alignment, and const keeps it in flash.
    array = f"alignas(16) const unsigned char {symbol}[] = {{\n  " + ",\n  ".join(lines) + "\n};\n"
    write_whole(source, f'#include "{header.name}"\n\n{array}const unsigned int {symbol}_len = {len(content)};\n')
    guard = symbol.upper() + "_H_"
    declarations = f"extern const unsigned char {symbol}[];\nextern const unsigned int {symbol}_len;\n"
    if arena_bytes is not None:
        how = "// The arena on a Cortex-M, with CMSIS-NN's kernels or without; estimated, as `edgecnn fit` says it."
        declarations += f"\n{how}\n#define {symbol.upper()}_ARENA_BYTES {arena_bytes}\n"
    write_whole(header, f"#ifndef {guard}\n#define {guard}\n\n{declarations}\n#endif  // {guard}\n")
    return [source, header]
