"""`python -m tests.fuzz [--minutes 60] [--kind onnx] [--seed 0] [--corpus DIR]`: fuzz for long; `make fuzz` calls it.

Inputs with an outcome not seen before are kept in the corpus and changed further. A failing input is kept there too,
and printed with its kind and its file; `python -m tests.fuzz --again FILE` reads it once more.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import sys
import time
from pathlib import Path

from tests.fuzz.harness import attempt, changed, failure_of
from tests.fuzz.subjects import SUBJECTS


def main() -> int:
    """Fuzz until the time is up; return 1 where anything failed."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--kind", choices=sorted(SUBJECTS), action="append")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the first try; it is printed")
    parser.add_argument("--corpus", type=Path, default=cache / "edgecnn-fuzz", metavar="DIR")
    parser.add_argument("--again", type=Path, metavar="FILE", help="a file of the corpus, in the folder of its kind")
    given = parser.parse_args()
    if given.again:
        print(attempt(given.again.resolve().parent.name.removesuffix("-failed"), given.again.read_bytes()) or "read")
        return 0
    print(f"corpus {given.corpus}, seeds from {given.seed}", flush=True)
    return fuzz(given.kind or sorted(SUBJECTS), given.seed, time.monotonic() + 60 * given.minutes, given.corpus)


def fuzz(kinds: list[str], seed: int, end_s: float, corpus: Path) -> int:
    """Try one seed after the other until *end_s*; return 1 where anything failed."""
    bases = {kind: [path.read_bytes() for path in sorted((corpus / kind).glob("*"))] for kind in kinds}
    seen: dict[str, set[str]] = {kind: set() for kind in kinds}
    failures: set[str] = set()
    tries = 0
    while time.monotonic() < end_s:
        kind = kinds[tries % len(kinds)]
        content = changed(kind, seed + tries, bases[kind])
        tries += 1
        trace = failure_of(kind, content)
        if trace is not None:
            where = "".join(re.findall(r'File ".*", line \d+', trace)[-1:])
            if where not in failures:
                failures.add(where)
                path = _kept(corpus / f"{kind}-failed", content, SUBJECTS[kind].suffix)
                print(f"seed {seed + tries - 1}, {kind}: {path}\n{trace}", flush=True)
            continue
        outcome = re.sub(r"\d+|'[^']*'", "*", attempt(kind, content))
        if outcome not in seen[kind]:
            seen[kind].add(outcome)
            bases[kind].append(content)
            _kept(corpus / kind, content, SUBJECTS[kind].suffix)
    print(f"{tries} tries, {sum(map(len, seen.values()))} outcomes, {len(failures)} failures")
    return 1 if failures else 0


def _kept(folder: Path, content: bytes, suffix: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{hashlib.sha256(content).hexdigest()[:16]}{suffix}"
    path.write_bytes(content)
    return path


if __name__ == "__main__":
    sys.exit(main())
