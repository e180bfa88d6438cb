"""The array types that every stage after the schema passes on."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
"""float64 of any shape; encoded rows are ``(n_rows, n_columns)``."""

IntArray = npt.NDArray[np.int64]
"""int64 of any shape."""

BoolArray = npt.NDArray[np.bool_]
"""bool of any shape."""
