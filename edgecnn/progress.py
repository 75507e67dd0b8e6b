"""How long work reports how far it is, without knowing who listens."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called as `progress("calibrating", 64, 256)`: the step, what is done of it, and its total (None: unknown)."""

    def __call__(self, step: str, done: int = 0, total: int | None = None) -> None: ...  # noqa: D102


def silent(step: str, done: int = 0, total: int | None = None) -> None:
    """Report to nobody."""


def with_prefix(progress: Progress, where: str) -> Progress:
    """Return *progress*, called with what is done in which step."""

    def prefixed(step: str, done: int = 0, total: int | None = None) -> None:
        progress(f"{where}: {step}", done, total)

    return prefixed
