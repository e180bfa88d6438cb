"""Ask a gRPC server of the Open Inference Protocol for rows, or write the call down for ``h2load``.

``ask.py ADDRESS ROWS`` prints the labels as JSON, read off ``predict_proba``; ``ask.py --write FILE ROWS`` writes one
gRPC message (flag, length, ``ModelInferRequest``). ROWS is a JSON array of arrays.
"""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path
from typing import Any

import grpc
from mlserver.grpc import dataplane_pb2
from mlserver.grpc.dataplane_pb2_grpc import GRPCInferenceServiceStub


def request(rows: list[list[float]]) -> Any:
    """One tensor of all rows; asks for class and probabilities."""
    asked = dataplane_pb2.ModelInferRequest(model_name="iris")
    tensor = asked.inputs.add(name="rows", datatype="FP64", shape=[len(rows), len(rows[0])])
    tensor.contents.fp64_contents.extend(value for row in rows for value in row)
    for output in ("predict", "predict_proba"):
        asked.outputs.add(name=output)
    return asked


def probabilities(answer: Any) -> list[list[float]]:
    """``predict_proba`` of an answer, typed or raw, one list per row."""
    for i, output in enumerate(answer.outputs):
        if output.name != "predict_proba":
            continue
        width = output.shape[-1]
        if answer.raw_output_contents:
            raw = answer.raw_output_contents[i]
            size = 8 if output.datatype == "FP64" else 4
            values = list(struct.unpack(f"<{len(raw) // size}{'d' if size == 8 else 'f'}", raw))
        else:
            values = list(output.contents.fp64_contents) or list(output.contents.fp32_contents)
        return [values[start : start + width] for start in range(0, len(values), width)]
    raise SystemExit("the answer has no predict_proba")


def main() -> None:
    """See the module."""
    if sys.argv[1] == "--write":
        message = request(json.loads(sys.argv[3])).SerializeToString()
        Path(sys.argv[2]).write_bytes(b"\0" + struct.pack(">I", len(message)) + message)
        return
    with grpc.insecure_channel(sys.argv[1]) as channel:
        answer = GRPCInferenceServiceStub(channel).ModelInfer(request(json.loads(sys.argv[2])), timeout=10)
    print(json.dumps([row.index(max(row)) for row in probabilities(answer)]))


if __name__ == "__main__":
    main()
