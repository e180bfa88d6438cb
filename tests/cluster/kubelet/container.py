"""A container: one process after another, each in namespaces and control groups of its own."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from pathlib import Path

from tests.cluster.kubelet import probes
from tests.cluster.kubelet.api import Object
from tests.cluster.kubelet.cgroups import Group, Hierarchy
from tests.cluster.kubelet.environment import UnsupportedError, expanded
from tests.cluster.kubelet.images import Image
from tests.cluster.kubelet.launch import UNSHARE, WITH_PARENT, Mount, Privileges, inside, script
from tests.cluster.kubelet.quantities import number
from tests.cluster.kubelet.status import ContainerStatus, now

GROUP = f"orris-kubelet-{os.getpid()}"
"""Control group of all containers of this process."""
SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
LEAST_GRACE_SECONDS = 2.0
"""After a preStop hook has used up the grace period, as kubelet gives it."""


def privileges(pod: Object, container: Object, image: Image) -> Privileges:
    """What the container may do: its own security context, the pod's, the image's user.

    Raises:
        UnsupportedError: ``runAsNonRoot`` with a root user: Kubernetes refuses to start it.
    """
    context = (pod["spec"].get("securityContext") or {}) | (container.get("securityContext") or {})
    user = context.get("runAsUser", image.user if image.user >= 0 else None)
    if context.get("runAsNonRoot") and not user:
        raise UnsupportedError("container has runAsNonRoot and image will run as root")
    groups = [*context.get("supplementalGroups", []), *([context["fsGroup"]] if "fsGroup" in context else [])]
    return Privileges(
        user=user,
        group=context.get("runAsGroup", user or 0),
        groups=groups,
        read_only=context.get("readOnlyRootFilesystem", False),
        escalation=context.get("allowPrivilegeEscalation", True),
        capabilities="ALL" not in (context.get("capabilities") or {}).get("drop", []),
    )


class Container:
    """One container of a pod; ``start`` may be called again after its process has ended.

    Attributes:
        status: What the pod's status says of it.
        group: Its control group while it runs.
    """

    def __init__(self, pod: Object, spec: Object, address: str, folder: Path, status: ContainerStatus) -> None:
        self.spec = spec
        self.status = status
        self.group: Group | None = None
        self._pod = pod
        self._address = address
        self._folder = folder
        self._privileges = Privileges()
        self._environ: dict[str, str] = {}
        self._unshare: asyncio.subprocess.Process | None = None
        self._begun = ""

    @property
    def log(self) -> Path:
        """Its standard output and standard error, of the last process."""
        return self._folder / f"{self.status.restarts}.log"

    async def start(self, image: Image, environ: dict[str, str], mounts: list[Mount], hierarchy: Hierarchy) -> None:
        """Start its process with all its variables.

        Raises:
            UnsupportedError: Something that this kubelet does not do.
        """
        self._privileges = privileges(self._pod, self.spec, image)
        self._environ = environ
        defaults = [] if "command" in self.spec else image.command
        words = [*self.spec.get("command", image.entrypoint), *self.spec.get("args", defaults)]
        home = self._folder / str(self.status.restarts)
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        self.group = hierarchy.group(
            f"{GROUP}/{self._pod['metadata']['uid']}-{self.spec['name']}-{self.status.restarts}"
        )
        limits = (self.spec.get("resources") or {}).get("limits", {})
        cpu, memory = (number(limits[name]) if name in limits else None for name in ("cpu", "memory"))
        self.group.limit(cpu, memory)
        folders = [Mount(Path(source), target, read_only=True) for target, source in image.folders.items()]
        path = home / "start.sh"
        path.touch(0o600)
        path.write_text(
            script(
                [expanded(word, environ) for word in words],
                home,
                [*folders, *mounts],
                self._privileges,
                self._pod["metadata"]["name"][:63],
                self.spec.get("workingDir", image.workdir),
                self.group.member_files,
            ),
            "utf-8",
        )
        with self.log.open("ab") as log:
            self._unshare = await asyncio.create_subprocess_exec(
                *(*WITH_PARENT, *UNSHARE, "/bin/sh", str(path)),
                env=environ | {"PATH": SYSTEM_PATH, "CONTAINER_PATH": environ.get("PATH", "")},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._begun = now()
        self.status.state = {"running": {"startedAt": self._begun}}

    async def ended(self) -> int:
        """Wait until its process has ended; returns its exit code, 128 and the signal's number for a signal."""
        assert self._unshare is not None
        assert self.group is not None
        code = await self._unshare.wait()
        code = 128 - code if code < 0 else code
        killed = self.group.killed_for_memory
        self.group.kill()
        self.group.remove()
        self.group = None
        reason = "OOMKilled" if killed else "Error" if code else "Completed"
        self.status.state = {
            "terminated": {"exitCode": code, "reason": reason, "startedAt": self._begun, "finishedAt": now()}
        }
        self.status.ready = self.status.started = False
        return code

    def signal(self, number_of_signal: signal.Signals) -> None:
        """Send a signal to its process 1; nothing if it has ended."""
        process = self._first_process()
        if process:
            try:
                os.kill(process, number_of_signal)
            except ProcessLookupError:
                return

    async def probe(self, probe: Object) -> bool:
        """Whether it passes one try of a probe."""
        return await probes.passes(probe, self.spec, self._address, self.execute)

    async def execute(self, command: list[str]) -> int:
        """Run a command in it, as its user and with its variables; returns the exit code."""
        process = self._first_process()
        if process is None:
            return 1
        running = await asyncio.create_subprocess_exec(
            *WITH_PARENT,
            *inside(process, self._privileges, [expanded(word, {}) for word in command]),
            env=self._environ,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            return await running.wait()
        except asyncio.CancelledError:
            running.kill()
            raise

    async def stop(self, grace_seconds: float) -> None:
        """End it: its preStop hook, SIGTERM, and SIGKILL when the grace period, which the hook is part of, is over."""
        if self._unshare is None or self._unshare.returncode is not None:
            return
        loop = asyncio.get_running_loop()
        until = loop.time() + grace_seconds
        hook = (self.spec.get("lifecycle") or {}).get("preStop")
        if hook:
            try:
                async with asyncio.timeout(grace_seconds):
                    await self._hook(hook)
            except TimeoutError:
                pass
        self.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(max(LEAST_GRACE_SECONDS, until - loop.time())):
                await self._unshare.wait()
        except TimeoutError:
            self.signal(signal.SIGKILL)

    async def _hook(self, hook: Object) -> None:
        if "sleep" in hook:
            waiting = asyncio.ensure_future(asyncio.sleep(hook["sleep"]["seconds"]))
            assert self._unshare is not None
            ending = asyncio.ensure_future(self._unshare.wait())
            await asyncio.wait({waiting, ending}, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            ending.cancel()
        else:
            await probes.passes({**hook, "timeoutSeconds": 3600}, self.spec, self._address, self.execute)

    def _first_process(self) -> int | None:
        if self._unshare is None or self._unshare.returncode is not None:
            return None
        pid = self._unshare.pid
        children = Path(f"/proc/{pid}/task/{pid}/children")
        try:
            words = children.read_text().split()
        except OSError:
            return None
        return int(words[0]) if words else None
