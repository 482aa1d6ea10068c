"""Where the labels of the Pareto view stand: beside their points, on no marker and on no other label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

CHARACTER, LINE = 6.2, 12.0  # pixels that a character and a line of a label (11 px) take
MARKER = 7.5  # half the size of the largest marker, and of the ring around a compared run
_DIAGONAL, _BESIDE, _ABOVE = (6, 12), 10, 15


@dataclass(frozen=True, slots=True)
class Place:
    """A position beside a point: pixels to the right and down to the text's anchor, and which end that is.

    Whole pixels: traitlets before 5.15 refuses a float where bqplot says Int, also 6.0.
    """

    dx: int
    dy: int
    align: str  # "start", "middle", "end"


PLACES = (
    Place(_DIAGONAL[0], -_DIAGONAL[1], "start"),
    Place(-_DIAGONAL[0], -_DIAGONAL[1], "end"),
    Place(_DIAGONAL[0], _DIAGONAL[1], "start"),
    Place(-_DIAGONAL[0], _DIAGONAL[1], "end"),
    Place(_BESIDE, 0, "start"),
    Place(-_BESIDE, 0, "end"),
    Place(0, -_ABOVE, "middle"),
    Place(0, _ABOVE, "middle"),
)
_SHIFT = {"start": 0.0, "middle": 0.5, "end": 1.0}
Boxes = npt.NDArray[np.float64]  # [n, 4]: left, top, right, bottom


def place(
    points: Sequence[tuple[float, float]],
    texts: Sequence[str],
    order: Sequence[int],
    line: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
) -> dict[int, Place]:
    """Which points get their label, and where.

    Args:
        points: positions as shares of the figure's inner width (from the left) and height (from the bottom).
        texts: their labels; an empty one is not placed.
        order: which point chooses first.
        line: the corners of the line through the best points, as `points`; labels keep off it where they can.
        sizes: widths and heights of the figure in pixels, at all of which the labels have to fit.
    """
    planes = [_Plane(points, line, width, height) for width, height in sizes]
    found: dict[int, Place] = {}
    for index in order:
        if not texts[index] or not all(0 <= share <= 1 for share in points[index]):
            continue
        width = CHARACTER * len(texts[index])
        free = [one for one in PLACES if all(plane.is_free(index, one, width) for plane in planes)]
        off_line = [one for one in free if all(plane.is_off_line(index, one, width) for plane in planes)]
        if free:
            found[index] = (off_line or free)[0]
            for plane in planes:
                plane.take(index, found[index], width)
    return found


class _Plane:
    """The figure at one size, with what is taken of it."""

    def __init__(
        self, points: Sequence[tuple[float, float]], line: Sequence[tuple[float, float]], width: float, height: float
    ) -> None:
        self._size = np.array([width, height])
        self._at = self._pixels(points)
        self._taken: Boxes = np.concatenate([self._at - MARKER, self._at + MARKER], axis=1)
        corners = self._pixels(line)
        steps = np.linspace(0.0, 1.0, 24)[:, None]
        parts = [a + (b - a) * steps for a, b in pairwise(corners)]
        self._line = np.concatenate(parts) if parts else np.empty((0, 2))

    def _pixels(self, shares: Sequence[tuple[float, float]]) -> npt.NDArray[np.float64]:
        x, y = np.asarray(shares, dtype=np.float64).reshape(-1, 2).T
        pixels: Boxes = np.stack([x, 1 - y], axis=1) * self._size
        return pixels

    def _box(self, index: int, where: Place, width: float) -> tuple[float, float, float, float]:
        x, y = self._at[index]
        left = float(x) + where.dx - _SHIFT[where.align] * width
        top = float(y) + where.dy - LINE / 2
        return left, top, left + width, top + LINE

    def is_free(self, index: int, where: Place, width: float) -> bool:
        left, top, right, bottom = self._box(index, where, width)
        if left < 0 or top < 0 or right > self._size[0] or bottom > self._size[1]:
            return False
        taken = self._taken
        hits = (taken[:, 0] < right) & (taken[:, 2] > left) & (taken[:, 1] < bottom) & (taken[:, 3] > top)
        hits[index] = False  # its own marker: the places keep clear of it
        return not hits.any()

    def is_off_line(self, index: int, where: Place, width: float) -> bool:
        left, top, right, bottom = self._box(index, where, width)
        x, y = self._line.T
        return not ((x > left) & (x < right) & (y > top) & (y < bottom)).any()

    def take(self, index: int, where: Place, width: float) -> None:
        self._taken = np.concatenate([self._taken, [self._box(index, where, width)]])
