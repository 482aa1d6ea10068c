"""What a ranking must be, whatever the last bit of a sum: matrix products differ between processors."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt


def assert_ranked(
    indices: Sequence[int] | npt.NDArray[Any],
    values: Sequence[float] | npt.NDArray[Any],
    every: npt.ArrayLike,
    *,
    atol: float = 1e-5,
) -> None:
    """`indices` are the places of the largest of `every`, the largest first, and `values` what is there.

    Two whose values differ by less than `atol` may stand in either order, and either may be the last.
    """
    wanted, chosen = np.asarray(every, dtype=np.float64), np.asarray(indices)
    assert len(np.unique(chosen)) == len(chosen) == len(values)
    best = -np.sort(-wanted)[: len(chosen)]
    np.testing.assert_allclose(wanted[chosen], best, rtol=0, atol=atol)
    np.testing.assert_allclose(np.asarray(values, dtype=np.float64), best, rtol=0, atol=atol)
