"""Memory of each device: use by parts against the limit, and what lives while the network runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from edgecnn.fit import FitReport, RegionUse
from edgecnn.report.drawing import (
    COLOURS,
    SMALL,
    WIDTH,
    add_axes,
    grid,
    new_figure,
    scale_axis,
    title_axis,
    to_svg,
    write,
)
from edgecnn.report.facts import shorten
from edgecnn.report.markup import Markup, element
from edgecnn.units import format_bytes

MEMORIES = {"ram": "RAM"}  # name of a memory → how it is written, where that differs
NEAR = 2.5  # times the peak: a limit further up is written as text, not drawn

_LEFT, _BOTTOM, _HEIGHT, _LINE = 58.0, 38.0, 170.0, 14.0


def device_cards(fits: Sequence[FitReport], names: Mapping[str, str]) -> Markup:
    """Return a card for each of *fits*: its verdict, a bar for each memory, and what would help.

    Args:
        fits: what the files take.
        names: path of a file → what it is called.
    """
    return element("div", [_card(fit, names[fit.file]) for fit in fits], class_="devices")


def _card(fit: FitReport, name: str) -> Markup:
    verdict = element("strong", "fits" if fit.fits else "does not fit", class_="good" if fit.fits else "bad")
    head = element("h3", f"{fit.device}: ", verdict)
    rest = []
    if fit.unsupported_operators:
        rest.append(element("p", "Operators it cannot run: ", ", ".join(fit.unsupported_operators), class_="bad"))
    if fit.next_steps:
        rest.append(element("ul", [element("li", step) for step in fit.next_steps]))
    file = element("small", f"{name}, estimated")
    return element("article", head, file, [_region(region) for region in fit.regions], rest, class_="device")


def _region(region: RegionUse) -> Markup:
    """Return the bar of one memory; a full bar is the limit, or where that is broken, the use with the limit marked."""
    whole, used = max(region.used_bytes, region.limit_bytes, 1), max(region.used_bytes, 1)
    parts = sorted(region.parts.items(), key=lambda part: -part[1])
    bar = [element("i", style=f"width:{100 * size / used:.2f}%") for _, size in parts if size]
    limit = [] if region.fits else [element("u", style=f"left:{100 * region.limit_bytes / whole:.2f}%")]
    figures = f"{format_bytes(region.used_bytes)} of {format_bytes(region.limit_bytes)}"
    parts_text = " · ".join(f"{format_bytes(size)} {part}" for part, size in parts if size)
    over = "" if region.fits else f"; {format_bytes(-region.headroom_bytes)} too much"
    return element(
        "div",
        element("div", element("span", MEMORIES.get(region.name, region.name)), element("span", figures + over)),
        element(
            "div",
            element("b", bar, style=f"width:{100 * region.used_bytes / whole:.2f}%"),
            limit,
            class_="meter" if region.fits else "meter over",
            aria_hidden="true",
        ),
        element("small", parts_text),
        class_="region",
    )


def room_bytes(fit: FitReport) -> int | None:
    """Return what the device leaves of its RAM for activations, once all else is in it; None: nothing is known."""
    ram = next((region for region in fit.regions if region.name == "ram"), None)
    return None if ram is None or fit.peak is None else ram.headroom_bytes + fit.peak.live_bytes


def equal_plots(fits: Sequence[FitReport]) -> list[list[FitReport]]:
    """Return *fits* in groups of the same file and the same live bytes: what one plot shows."""
    groups: dict[tuple[str, tuple[int, ...]], list[FitReport]] = {}
    for fit in fits:
        if fit.live_bytes and fit.peak is not None:
            groups.setdefault((fit.file, fit.live_bytes), []).append(fit)
    return list(groups.values())


def draw_live_bytes(fits: Sequence[FitReport], name: str) -> Markup:
    """Draw the live bytes of *fits*, which are equal, over the operators; limits above `NEAR` peaks are text."""
    live, rooms = fits[0].live_bytes, {fit.device: room_bytes(fit) for fit in fits}
    peak = max(*live, 1)
    near = {device: room for device, room in rooms.items() if room is not None and 0 < room <= NEAR * peak}
    far = [line for device, room in rooms.items() if device not in near for line in _far(device, room, peak)]
    figure = new_figure(_BOTTOM + _HEIGHT + _LINE * (len(far) + 1))
    axes = add_axes(figure, _LEFT, _BOTTOM, WIDTH - _LEFT - 10, _HEIGHT)
    most = 1.22 * max(peak, *near.values()) if near else 1.22 * peak
    axes.set_xlim(-0.5, len(live) - 0.5)
    axes.set_ylim(0, most)
    scale_axis(axes.yaxis, "bytes", most)
    locator_step = max(1, -(-len(live) // 10))
    axes.set_xticks(range(0, len(live), locator_step))
    grid(axes, "y")
    title_axis(axes, "operator, in the order they run")
    edges = [index - 0.5 for index in range(len(live) + 1)]
    axes.stairs(live, edges, fill=True, color=COLOURS["float"], alpha=0.25, linewidth=0)
    axes.stairs(live, edges, baseline=None, color=COLOURS["float"], linewidth=1.6)
    _mark_peak(axes, fits[0], most)
    _draw_near(axes, near, peak, most, on_right=fits[0].peak is not None and fits[0].peak.step < len(live) / 2)
    for index, line in enumerate(far):
        place = 1 + (_LINE * (len(far) - index) - 2) / _HEIGHT
        write(
            axes,
            -_LEFT / (WIDTH - _LEFT - 10),
            place,
            line,
            "muted",
            fontsize=SMALL,
            transform=axes.transAxes,
            clip_on=False,
        )
    return to_svg(figure, name, "Live bytes of each operator")


def _far(device: str, room: int | None, peak: int) -> Iterator[str]:
    if room is not None:
        times = f"{room / peak:.0f}" if room < 1000 * peak else "over 1000"
        amount = f"{format_bytes(room)}, {times} times the peak" if room > 0 else "nothing"
        yield f"{'↑' if room > 0 else '↓'} {shorten(device)} leaves {amount}"


def _mark_peak(axes: Any, fit: FitReport, most: float) -> None:
    assert fit.peak is not None  # fits without operators are not drawn
    share = (fit.peak.step + 0.5) / len(fit.live_bytes)
    side = "left" if share < 0.35 else "right" if share > 0.65 else "center"
    at = fit.peak.step + {"left": -0.5, "right": 0.5, "center": 0}[side]
    top = fit.live_bytes[fit.peak.step]
    text = f"peak {format_bytes(fit.peak.live_bytes)}, operator {fit.peak.step}"
    write(axes, at, top + 0.05 * most, text, ha=side)


def _draw_near(axes: Any, near: dict[str, int], peak: int, most: float, *, on_right: bool) -> None:
    """Draw a dashed line at each limit, its label at the end away from the peak, no label on another."""
    below = float("inf")
    for device, room in sorted(near.items(), key=lambda item: -item[1]):
        role = "bad" if room < peak else "ink"
        axes.axhline(room, color=COLOURS[role], linewidth=1, linestyle=(0, (4, 3)))
        at = min(room + 0.04 * most, below - 0.07 * most)
        below = at
        place, side = (0.995, "right") if on_right else (0.005, "left")
        text = f"{shorten(device)} leaves {format_bytes(room)}"
        write(axes, place, at, text, role, fontsize=SMALL, ha=side, transform=axes.get_yaxis_transform())
