"""Where the files of a data set lie, and what to say when they do not."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from edgecnn.datasets import DataRequest
from edgecnn.errors import EdgecnnError, require


def find_files(
    request: DataRequest, name: str, layouts: Sequence[Sequence[str]], *, source: str = "--download fetches it there"
) -> list[Path]:
    """Return the files of the first layout (a list of relative paths) that is there whole; *source* says how they come.

    Raises:
        EdgecnnError: none is; the message names the folders searched and how to get the data.
    """
    given = request.data_dir or (Path(os.environ["EDGECNN_DATA"]) if os.environ.get("EDGECNN_DATA") else None)
    if given is None:
        raise EdgecnnError(f"data set '{name}' needs a folder: give --data-dir DIR or set EDGECNN_DATA ({source})")
    for layout in layouts:
        # Either the folder that holds the publisher's folder, or that folder itself.
        for root in (given, given / name):
            paths = [root / relative for relative in layout]
            if all(path.is_file() for path in paths):
                return paths
    first = ", ".join(str(given / relative) for relative in layouts[0][:2])
    raise EdgecnnError(f"data set '{name}' is not in {given} (looked for {first}, …); {source}")


def download_with_torchvision(request: DataRequest, class_name: str, name: str) -> None:
    """Let torchvision fetch and check its data set *class_name* into the data folder, if `--download` was given.

    Raises:
        EdgecnnError: no folder given, or the download failed.
    """
    if not request.download:
        return
    folder = request.data_dir or Path(os.environ.get("EDGECNN_DATA", ""))
    if str(folder) in ("", "."):
        raise EdgecnnError("--download needs a folder: give --data-dir DIR or set EDGECNN_DATA")
    datasets = require("torchvision.datasets", "torch")
    try:
        for train in (True, False):
            getattr(datasets, class_name)(str(folder), train=train, download=True)
    except (OSError, RuntimeError) as error:
        raise EdgecnnError(f"data set '{name}' could not be downloaded to {folder}: {error}") from None
