"""Write the API reference to site/, with pdoc: `make docs`."""

from __future__ import annotations

import sys
from pathlib import Path

import pdoc

import edgecnn


def main(folder: Path) -> None:
    """Write one page of all public names into *folder*."""
    for name in edgecnn.__all__:  # they are loaded on first use, and pdoc looks at what is there
        setattr(edgecnn, name, getattr(edgecnn, name))
    pdoc.render.configure(docformat="google", search=False)
    pdoc.pdoc("edgecnn", "edgecnn.testing", output_directory=folder)
    print(f"open {folder / 'edgecnn.html'}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "site"))
