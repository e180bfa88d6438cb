"""Runs the kubelet: ``python -m tests.cluster.kubelet --kubeconfig FILE --home FOLDER --images FILE``."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
from pathlib import Path

from tests.cluster.kubelet.addresses import PodNetwork
from tests.cluster.kubelet.agent import Agent, fresh
from tests.cluster.kubelet.api import Api
from tests.cluster.kubelet.images import Images
from tests.cluster.kubelet.metrics import Endpoint, Metrics


def main() -> None:
    """Run until SIGTERM, which also ends all pods."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster.kubelet", description=__doc__)
    parser.add_argument(
        "--kubeconfig", type=Path, required=True, help="of an administrator, with certificates as files"
    )
    parser.add_argument("--home", type=Path, required=True, help="folder for pods, logs and proxies; it is emptied")
    parser.add_argument("--images", type=Path, required=True, help="JSON file: what each image stands for")
    parser.add_argument("--pod-cidr", default="10.244.0.0/16", help="addresses of pods, of 10.0.0.0/8")
    parser.add_argument(
        "--metrics-seconds", type=float, default=15, help="between two samples of CPU, as metrics-server"
    )
    parser.add_argument("--proxy-seconds", type=float, default=0, help="until Services follow a change of endpoints")
    asyncio.run(_run(parser.parse_args()))


async def _run(options: argparse.Namespace) -> None:
    api = Api(options.kubeconfig)
    home = fresh(options.home)
    agent = Agent(api, home, Images(options.images), PodNetwork(options.pod_cidr), options.proxy_seconds)
    metrics = Metrics(agent.pods, options.metrics_seconds)
    endpoint = Endpoint(metrics, agent.pods, home)
    agent.port = endpoint.port
    await endpoint.register(api)
    tasks = [asyncio.create_task(agent.run()), asyncio.create_task(metrics.run())]
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, lambda: [task.cancel() for task in tasks])
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.gather(*tasks)
    await api.close()


main()
