"""Generated data of the table of tasks: heartbeats [1, 256] of four kinds, and gauges [1, 48, 48] with a needle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
TRAINING, EVALUATION = 4000, 1000


def beat(rng: np.random.Generator, kind: int) -> Array:
    """Return one heartbeat in noise: normal, without its first wave, with a wide or with an early main wave."""
    time = np.arange(256)
    at = 128 + rng.normal(0, 8) - (22 if kind == 3 else 0)
    width = rng.uniform(4, 6) * (2.1 if kind == 2 else 1)
    waves = [(at, width, rng.uniform(0.8, 1.2)), (at + 60, 14, rng.uniform(0.2, 0.35))]
    waves += [(at + 1.9 * width, 0.8 * width, -0.25)]
    if kind != 1:
        waves.append((128 - 45 + rng.normal(0, 4), 8, rng.uniform(0.12, 0.22)))
    signal = sum(high * np.exp(-(((time - place) / size) ** 2)) for place, size, high in waves)
    drift = rng.normal(0, 0.15) * np.sin(time / rng.uniform(30, 60) + rng.uniform(0, 6))
    return np.asarray(signal + drift + rng.normal(0, 0.09, 256), np.float32)[None]


def gauge(rng: np.random.Generator, angle: float, kind: int) -> npt.NDArray[np.uint8]:
    """Return a gauge [1, 48, 48]: a needle at *angle* on a dial whose rim is whole, dashed or double."""
    y, x = np.mgrid[:48, :48] + rng.uniform(-2, 2, 2).reshape(2, 1, 1) - 23.5
    radius, turn = np.hypot(x, y), np.arctan2(y, x)
    rim = np.exp(-(((radius - 20) / 1.2) ** 2))
    if kind == 1:
        rim = rim * (np.sin(12 * turn) > 0)
    if kind == 2:
        rim = rim + np.exp(-(((radius - 15.5) / 1.0) ** 2))
    along, across = x * np.cos(angle) + y * np.sin(angle), -x * np.sin(angle) + y * np.cos(angle)
    needle = np.exp(-((across / 1.3) ** 2)) * ((along > -3) & (along < rng.uniform(12, 15)))
    light = rng.uniform(30, 90) + rng.uniform(-1, 1, 2) @ np.stack([x, y]).reshape(2, -1)
    bright = light.reshape(48, 48) + rng.uniform(90, 150) * np.maximum(rim, needle) + rng.normal(0, 14, (48, 48))
    return bright.clip(0, 255).astype(np.uint8)[None]


def beats_of(count: int, seed: int) -> tuple[Array, npt.NDArray[np.int64]]:
    """Return beats [n, 1, 256] and their kinds [n]."""
    rng = np.random.default_rng((1, seed))
    kinds = rng.integers(0, 4, count)
    return np.stack([beat(rng, int(kind)) for kind in kinds]), kinds


def gauges_of(count: int, seed: int) -> tuple[npt.NDArray[np.uint8], Array, npt.NDArray[np.int64]]:
    """Return gauges [n, 1, 48, 48], sine and cosine of their angles [n, 2], and their kinds [n]."""
    rng = np.random.default_rng((2, seed))
    angles, kinds = rng.uniform(0, 2 * np.pi, count), rng.integers(0, 3, count)
    images = np.stack([gauge(rng, *one) for one in zip(angles, kinds.tolist(), strict=True)])
    return images, np.stack([np.sin(angles), np.cos(angles)], 1).astype(np.float32), kinds


def write(folder: Path) -> None:
    """Write beats.npz, gauge.npz and gauge_and_kind.npz; the last one's targets are sine, cosine and kind, [n, 3]."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = {"train": (TRAINING, 0), "test": (EVALUATION, 1)}
    arrays: dict[str, dict[str, npt.NDArray[np.generic]]] = {"beats": {}, "gauge": {}, "gauge_and_kind": {}}
    for part, (count, seed) in parts.items():
        x, kinds = beats_of(count, seed)
        arrays["beats"] |= {f"x_{part}": x, f"y_{part}": kinds}
        images, turns, kinds = gauges_of(count, seed)
        arrays["gauge"] |= {f"x_{part}": images, f"y_{part}": turns}
        both = np.concatenate([turns, kinds[:, None]], axis=1).astype(np.float32)
        arrays["gauge_and_kind"] |= {f"x_{part}": images, f"y_{part}": both}
    arrays["gauge"]["task"] = np.asarray("regression")
    for name, content in arrays.items():
        np.savez(folder / f"{name}.npz", **content)  # type: ignore[arg-type]
