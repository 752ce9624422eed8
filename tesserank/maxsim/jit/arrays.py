"""Arrays as the kernels take them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray


def frozen(array: NDArray[Any], dtype: DTypeLike) -> NDArray[Any]:
    """The array as contiguous, of this type and read-only; copied only if it must be.

    numba compiles a function anew for arrays that may be written and for such that may not, as those of a file that is
    mapped into memory: seconds, which a request would pay. So all of them may not.
    """
    view = np.ascontiguousarray(array, dtype=dtype).view()
    view.flags.writeable = False
    return view
