"""Tests of probes: thresholds, and each form against a real server."""

from __future__ import annotations

import asyncio

import pytest

from tests.cluster.kubelet import probes
from tests.cluster.kubelet.api import Object
from tests.servers import Server


def test_a_verdict_needs_as_many_tries_in_a_row_as_its_threshold() -> None:
    """A success counts after ``successThreshold`` passes in a row, a failure after ``failureThreshold`` failures."""
    answers = [False, True, False, True, True, False, False, True, False, False, False]
    verdicts: list[bool] = []

    async def ask(_: Object) -> bool:
        return answers.pop(0)

    async def outcome(passed: bool) -> bool:
        verdicts.append(passed)
        return not answers

    probe = {"periodSeconds": 0, "successThreshold": 2, "failureThreshold": 3}
    asyncio.run(probes.watch(probe, ask, outcome))
    assert verdicts == [True, False]


@pytest.mark.parametrize(
    ("probe", "expected"),
    [
        ({"httpGet": {"path": "/ready", "port": "http"}}, True),
        ({"httpGet": {"path": "/none", "port": "http"}}, False),
        ({"tcpSocket": {"port": "http"}}, True),
        ({"tcpSocket": {"port": 1}}, False),
        ({"exec": {"command": ["true"]}}, True),
        ({"exec": {"command": ["false"]}}, False),
        ({"exec": {"command": ["hang"]}, "timeoutSeconds": 0.01}, False),
    ],
)
def test_probes_ask_a_server(probe: Object, expected: bool, server: Server) -> None:
    """Each form of a probe passes or fails as the server answers; one that takes too long fails."""

    async def execute(command: list[str]) -> int:
        if command == ["hang"]:
            await asyncio.sleep(60)
        return int(command != ["true"])

    container = {"ports": [{"name": "http", "containerPort": server.port}]}
    probe = {"timeoutSeconds": 5, **probe}
    assert asyncio.run(probes.passes(probe, container, "127.0.0.1", execute)) == expected
