"""The floor of ``rpc.py``: a ``grpc.aio`` server that returns fixed bytes, on uvloop.

Messages are neither read nor made.

What it costs is gRPC's: HTTP/2, a call, a reply. It is one server, as everybody starts one.
"""

from __future__ import annotations

import asyncio
import sys

import grpc
import grpc.aio
import uvloop

ANSWER = bytes.fromhex("0a04697269731205312e302e30")  # a ModelInferResponse of iris 1.0.0 without outputs


async def answer(_body: bytes, _context: object) -> bytes:
    """Any call."""
    return ANSWER


async def serve() -> None:
    """Listen on a free port, and announce it as ``harness.serving`` expects."""
    handlers = {"ModelInfer": grpc.unary_unary_rpc_method_handler(answer)}
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("inference.GRPCInferenceService", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"the floor: gRPC on port {port}", file=sys.stderr, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve())
