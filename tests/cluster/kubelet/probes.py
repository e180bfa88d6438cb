"""Probes and hooks: what asks a container whether it has started, is ready and is alive."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.cluster.kubelet.api import Object
from tests.cluster.kubelet.environment import UnsupportedError

Execute = Callable[[list[str]], Awaitable[int]]
"""Runs a command in the container and returns its exit code."""

USER_AGENT = "kube-probe/1.36"


def port(container: Object, wanted: int | str) -> int:
    """A port by its number or its name.

    Raises:
        KeyError: The container has no port of that name.
    """
    if isinstance(wanted, int):
        return wanted
    named = {each.get("name"): int(each["containerPort"]) for each in container.get("ports", [])}
    return named[wanted]


async def passes(probe: Object, container: Object, address: str, execute: Execute) -> bool:
    """Whether the container passes one try of a probe, or of a hook of the same form."""
    try:
        async with asyncio.timeout(probe.get("timeoutSeconds", 1)):
            return await _asked(probe, container, address, execute)
    except (TimeoutError, OSError, ValueError, grpc.aio.AioRpcError):
        return False


async def _asked(probe: Object, container: Object, address: str, execute: Execute) -> bool:
    if "httpGet" in probe:
        return await _http(probe["httpGet"], container, address)
    if "grpc" in probe:
        async with grpc.aio.insecure_channel(f"{address}:{probe['grpc']['port']}") as channel:
            request = health_pb2.HealthCheckRequest(service=probe["grpc"].get("service") or "")
            stub = health_pb2_grpc.HealthStub(channel)  # type: ignore[no-untyped-call, unused-ignore]
            answer = await stub.Check(request)  # type: ignore[attr-defined]
            return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
    if "exec" in probe:
        return await execute(probe["exec"]["command"]) == 0
    if "tcpSocket" in probe:
        _, writer = await asyncio.open_connection(address, port(container, probe["tcpSocket"]["port"]))
        writer.close()
        return True
    raise UnsupportedError(f"a probe of the form {', '.join(probe)}")


async def _http(action: Object, container: Object, address: str) -> bool:
    host, number = action.get("host") or address, port(container, action["port"])
    headers = {"Host": f"{host}:{number}", "User-Agent": USER_AGENT, "Connection": "close"}
    headers |= {each["name"]: each["value"] for each in action.get("httpHeaders", [])}
    # As kubelet: certificates are not checked.
    context = ssl._create_unverified_context() if action.get("scheme") == "HTTPS" else None  # noqa: S323
    reader, writer = await asyncio.open_connection(host, number, ssl=context)
    try:
        fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        writer.write(f"GET {action.get('path', '/')} HTTP/1.1\r\n{fields}\r\n".encode())
        status = (await reader.readline()).split()
        return len(status) > 1 and 200 <= int(status[1]) < 400
    finally:
        writer.close()


async def watch(
    probe: Object,
    ask: Callable[[Object], Awaitable[bool]],
    outcome: Callable[[bool], Awaitable[bool]],
) -> None:
    """Try a probe for ever, or until ``outcome`` returns true.

    ``outcome`` gets each verdict once a threshold is reached: success after ``successThreshold`` passes in a row,
    failure after ``failureThreshold`` failures in a row.
    """
    await asyncio.sleep(probe.get("initialDelaySeconds", 0))
    row: tuple[bool, int] = (True, 0)
    while True:
        passed = await ask(probe)
        row = (passed, row[1] + 1) if passed == row[0] else (passed, 1)
        threshold = probe.get("successThreshold", 1) if passed else probe.get("failureThreshold", 3)
        if row[1] >= threshold and await outcome(passed):
            return
        await asyncio.sleep(probe.get("periodSeconds", 10))
