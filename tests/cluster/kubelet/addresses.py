"""Addresses: Kubernetes refuses loopback addresses in EndpointSlices, so each 10.x.y.z stands for 127.x.y.z."""

from __future__ import annotations

import ipaddress


def loopback(address: str) -> str:
    """The loopback address where a pod or a Service with a cluster address ``10.x.y.z`` really listens.

    Raises:
        ValueError: An address outside 10.0.0.0/8.
    """
    if ipaddress.ip_address(address) not in ipaddress.ip_network("10.0.0.0/8"):
        raise ValueError(f"{address} is not in 10.0.0.0/8, for which loopback addresses stand in")
    return "127." + address.partition(".")[2]


class PodNetwork:
    """Gives each pod an address of its own; the oldest freed address is used again last."""

    def __init__(self, cidr: str = "10.244.0.0/16") -> None:
        self._free = [str(host) for host in ipaddress.ip_network(cidr).hosts()]

    def take(self) -> str:
        """An address that no pod has."""
        return self._free.pop(0)

    def free(self, address: str) -> None:
        """Take an address back."""
        self._free.append(address)
