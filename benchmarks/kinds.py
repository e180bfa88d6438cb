"""The requests that the throughput is measured with: a route, and the Lua script of ``wrk`` that sends them.

The same iris rows in every dialect; ``traceparent`` is another one in each request, so that no two heads are equal.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path

import harness
import numpy as np

N_BINARY_ROWS = 1_000

_TENSOR = {"name": "rows", "datatype": "FP64", "shape": [1, 4], "data": list(harness.ROW.values())}

_TRACES = """
local number = 0
local prefix = string.format('00-%08x%08x%08x', {seeds})
request = function()
  number = number + 1
  wrk.headers['traceparent'] = string.format('%s%08x-%016x-00', prefix, number, number)
  return wrk.format()
end
"""


@dataclass(frozen=True)
class Kind:
    """Requests of one kind.

    Attributes:
        title: What they are called in tables.
        path: Where they go.
        script: The script that sends them.
        n_rows: Rows in each.
    """

    title: str
    path: str
    script: Path
    n_rows: int = 1


def usual(folder: Path) -> Kind:
    """One named row."""
    return Kind("one row", "/api/v1/predict", harness.write_script(folder))


def others(folder: Path, model: str) -> list[Kind]:
    """One row in the other dialects and with a trace, and many rows in binary."""
    values = list(harness.ROW.values())
    instances = json.dumps({"instances": [values]})
    return [
        Kind("traceparent", "/api/v1/predict", _traces(folder)),
        Kind("instances", "/api/v1/predict", _script(folder, "instances", instances)),
        Kind("V1", f"/v1/models/{model}:predict", _script(folder, "v1", instances)),
        Kind("V2 JSON", f"/v2/models/{model}/infer", _script(folder, "v2", json.dumps({"inputs": [_TENSOR]}))),
        Kind(f"V2 binary, {N_BINARY_ROWS:,} rows", f"/v2/models/{model}/infer", _binary(folder), N_BINARY_ROWS),
    ]


def _script(folder: Path, name: str, body: str) -> Path:
    inside = folder / name
    inside.mkdir(exist_ok=True)
    return harness.write_script(inside, body)


def _traces(folder: Path) -> Path:
    script = folder / "traces.lua"
    seeds = ", ".join(str(random.getrandbits(31)) for _ in range(3))
    script.write_text(harness.write_script(folder).read_text() + _TRACES.format(seeds=seeds))
    return script


def _binary(folder: Path) -> Path:
    """Rows around the usual one, in and out as binary tensors."""
    rows = np.tile(np.array(list(harness.ROW.values())), (N_BINARY_ROWS, 1))
    rows += np.linspace(0.0, 0.1, N_BINARY_ROWS)[:, None]
    tensor = {
        "name": "rows",
        "datatype": "FP64",
        "shape": list(rows.shape),
        "parameters": {"binary_data_size": rows.nbytes},
    }
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    body, script = folder / "binary.body", folder / "binary.lua"
    body.write_bytes(head + rows.astype("<f8").tobytes())
    script.write_text(
        "wrk.method = 'POST'\n"
        "wrk.headers['Content-Type'] = 'application/octet-stream'\n"
        f"wrk.headers['Inference-Header-Content-Length'] = '{len(head)}'\n"
        f"local file = io.open('{body}', 'rb')\nwrk.body = file:read('*a')\nfile:close()\n"
    )
    return script
