"""Tables in memory, of whatever library -> a pandas DataFrame or an array, for ``package`` and ``Model.predict``.

pandas and pyarrow are imported only for what needs them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from orris.errors import TableError


def as_rows(data: Any) -> Any:
    """A DataFrame or a 2-d array of what a caller calls rows.

    Args:
        data: A DataFrame of pandas or polars, a pyarrow table, an array, a Series as one row, a mapping (a list of
            values per column, or one value per column for one row), or a list of mappings or of lists.

    Returns:
        The same object if it is a pandas DataFrame or an array; otherwise a pandas DataFrame where columns have names,
        and an array where they have none. A DataFrame without one name that is text becomes an array, too:
        scikit-learn knows its columns by their positions.

    Raises:
        TableError: A sparse matrix, or nothing of the above.
    """
    if isinstance(data, np.ndarray):
        return data
    if _is_of(data, "pandas", "DataFrame"):
        named = any(isinstance(name, str) for name in data.columns)
        return data if named or not data.shape[1] else data.to_numpy()
    if hasattr(data, "toarray") and hasattr(data, "nnz"):
        raise TableError("the rows are a sparse matrix, and Orris serves dense rows: pass X.toarray()")
    if hasattr(data, "collect") and type(data).__name__ == "LazyFrame":
        data = data.collect()
    if hasattr(data, "__arrow_c_stream__") and not _is_of(data, "pandas", "Series"):
        import pyarrow as pa  # noqa: PLC0415

        frame = pa.table(data).to_pandas()
        # scikit-learn reads polars' missing text as None, and pandas' as NaN: an encoder tells them apart.
        for column in frame.columns if type(data).__module__.startswith("polars") else ():
            if frame[column].dtype.kind not in "biufcmM":
                frame[column] = frame[column].astype(object).where(frame[column].notna(), None)
        return frame
    if hasattr(data, "index") and hasattr(data, "to_dict") and hasattr(data, "name"):
        data = [data.to_dict()]
    if isinstance(data, Mapping):
        data = dict(data) if any(_is_column(value) for value in data.values()) else [dict(data)]
    return _from_lists(data)


def as_targets(y: Any) -> npt.NDArray[Any]:
    """The targets ``(n_rows,)`` of what a caller calls ``y``: also a column vector, or a frame of one column.

    Raises:
        TableError: More than one target per row.
    """
    targets = np.asarray(y)
    if targets.ndim == 2 and targets.shape[1] == 1:
        targets = targets[:, 0]
    if targets.ndim != 1:
        raise TableError(f"one target per row is needed, an array of shape (n_rows,), not {targets.shape}")
    return targets


def _from_lists(data: Any) -> Any:
    if isinstance(data, Mapping) or (isinstance(data, list | tuple) and data and isinstance(data[0], Mapping)):
        import pandas as pd  # noqa: PLC0415

        return pd.DataFrame(data)
    if isinstance(data, list | tuple):
        numbers = not any(isinstance(value, str) or value is None for row in data for value in _values(row))
        try:
            return np.asarray(data) if numbers else np.array(data, dtype=object)
        except ValueError as error:
            raise TableError(f"the rows are lists of different lengths ({error})") from None
    if hasattr(data, "__array__"):
        return np.asarray(data)
    raise TableError(f"rows are needed as a DataFrame, an array or a list, not {type(data).__name__}")


def _values(row: Any) -> Any:
    return row if isinstance(row, list | tuple) else ()


def _is_column(value: Any) -> bool:
    return hasattr(value, "__len__") and not isinstance(value, str | bytes)


def _is_of(data: Any, library: str, name: str) -> bool:
    """Whether it is of a library's class or a subclass, without importing the library."""
    return any(kind.__name__ == name and kind.__module__.split(".")[0] == library for kind in type(data).__mro__)
