"""The script that starts a container: an overlay of this machine's root, the pod's mounts, its user, its limits.

It runs as process 1 of namespaces of its own (mount, PID, UTS, IPC), as root, and becomes the container's process. The
network is this machine's: a pod has a loopback address instead of a network namespace.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from pathlib import Path

UNSHARE = ["/usr/bin/unshare", "--mount", "--pid", "--fork", "--kill-child", "--uts", "--ipc"]
"""Ends its child when it is ended itself."""
WITH_PARENT = ["/usr/bin/setpriv", "--pdeathsig", "KILL"]
"""A program that starts with this is ended when the process that has started it ends."""


@dataclass(frozen=True)
class Mount:
    """A folder or a file of this machine at a path of the container."""

    source: Path
    target: str
    read_only: bool = False


@dataclass(frozen=True)
class Privileges:
    """What a container's process may do, from the security contexts of its pod and of itself.

    Attributes:
        user: Its user; ``None``: root.
        group: Its group.
        groups: Further groups.
        read_only: Whether its root is read-only.
        escalation: Whether it may gain privileges by running another program.
        capabilities: Whether it keeps root's capabilities.
    """

    user: int | None = None
    group: int = 0
    groups: list[int] = field(default_factory=list)
    read_only: bool = False
    escalation: bool = True
    capabilities: bool = True

    @property
    def words(self) -> list[str]:
        """The command that takes the others away."""
        words = ["/usr/bin/setpriv"]
        if self.user is not None:
            groups = ["--groups", ",".join(map(str, self.groups))] if self.groups else ["--clear-groups"]
            words += ["--reuid", str(self.user), "--regid", str(self.group), *groups]
        if not self.escalation:
            words.append("--no-new-privs")
        if not self.capabilities:
            words += ["--bounding-set", "-all", "--inh-caps", "-all"]
        return [*words, "--"]


def script(
    command: list[str],
    folder: Path,
    mounts: list[Mount],
    privileges: Privileges,
    hostname: str,
    workdir: str,
    member_files: list[Path],
) -> str:
    """The script; ``folder`` is the container's own and holds its root.

    A pod sees its own control group where a container would. Folders of mounts are made in the overlay, whose changes
    are in memory and end with the container.
    """
    root, layers = folder / "root", folder / "layers"
    lines = ["set -eu"]
    lines += [f"echo 0 > {_quoted(path)}" for path in member_files]
    lines += [
        f"mkdir -p {_quoted(root)} {_quoted(layers)}",
        f"mount -t tmpfs layers {_quoted(layers)}",
        f"mkdir {_quoted(layers / 'upper')} {_quoted(layers / 'work')}",
        f"mount -t overlay -o lowerdir=/,upperdir={layers}/upper,workdir={layers}/work overlay {_quoted(root)}",
        f"mount -t proc proc {_quoted(root)}/proc",
        f"mount --rbind /dev {_quoted(root)}/dev",
        f"mount --rbind /sys {_quoted(root)}/sys",
        # A program below /root (pyenv's Python) is for everybody, as it is in an image.
        f"chmod o+x {_quoted(root)}/root",
        f"mkdir -p {_quoted(str(root) + workdir)}",
    ]
    for path in member_files:
        lines.append(f"mount --bind {_quoted(path.parent)} {_quoted(str(root) + str(_controller(path)))}")
    for mount in mounts:
        target = _quoted(str(root) + mount.target)
        if mount.source.is_dir():
            lines.append(f"mkdir -p {target}")
        else:
            lines.append(f"mkdir -p {_quoted(str(Path(str(root) + mount.target).parent))}; touch {target}")
        lines.append(f"mount --bind {_quoted(mount.source)} {target}")
        if mount.read_only:
            lines.append(f"mount -o remount,bind,ro {target}")
    if privileges.read_only:
        lines.append(f"mount -o remount,ro {_quoted(root)}")
    lines += [
        f"hostname {_quoted(hostname)}",
        f"cd {_quoted(root)}",
        "pivot_root . .",
        "umount -l .",
        f"cd {_quoted(workdir)}",
        'PATH="$CONTAINER_PATH"; unset CONTAINER_PATH',
        f"exec {shlex.join([*privileges.words, *command])}",
    ]
    return "\n".join(lines) + "\n"


def inside(process: int, privileges: Privileges, command: list[str]) -> list[str]:
    """The command that runs another one beside the container's process 1, whose id on this machine is given."""
    target = str(process)
    entering = ["/usr/bin/nsenter", "--target", target, "--mount", "--pid", "--uts", "--ipc", "--root", "--wd"]
    return [*entering, *privileges.words, *command]


def _controller(path: Path) -> Path:
    """The mount of a group's hierarchy: the folder directly below /sys/fs/cgroup, or that itself in version 2."""
    parts = path.parts[:5] if path.parts[4] in {"cpu", "cpuacct", "memory"} else path.parts[:4]
    return Path(*parts)


def _quoted(text: object) -> str:
    return shlex.quote(str(text))
