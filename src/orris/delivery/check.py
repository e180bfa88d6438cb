"""``orris check``: one finding for each thing that training, publishing and deploying depend on.

A check that nothing here is configured for (no ``.dvc`` folder, no kubectl context) is unused, unless it is requested
by name.
"""

from __future__ import annotations

import base64
import importlib.util
import json
import platform
import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from orris.errors import OrrisError
from orris.installation import install_extra

TIMEOUT_SECONDS = 20
"""For a command or a connection; nothing here waits longer."""

EXTRAS = {
    "serve": "onnxruntime",
    "train": "sklearn",
    "gcs": "gcsfs",
    "s3": "s3fs",
    "azure": "adlfs",
    "jwt": "jwt",
    "sign": "model_signing",
    "otel": "opentelemetry.sdk",
    "dvc": "dvc",
    "load": "hdrh",
    "experiment": "simpy",
    "loadtest": "locust",
}
"""The module whose presence shows that an extra is installed."""

State = Literal["ok", "failed", "unused"]


@dataclass(frozen=True)
class Finding:
    """The result of a check.

    Attributes:
        name: What was looked at.
        state: ``ok``, ``failed``, or ``unused``: nothing here is configured for it.
        detail: What was found.
        remedy: What to do, if it failed.
    """

    name: str
    state: State
    detail: str
    remedy: str = ""


class _UnusedError(Exception):
    """Nothing is configured for this."""


class _FailedError(Exception):
    """Something is wrong; carries what to do."""

    def __init__(self, detail: str, remedy: str) -> None:
        super().__init__(detail)
        self.remedy = remedy


@dataclass(frozen=True)
class Environment:
    """The subjects of the checks.

    Attributes:
        folder: The project's folder.
        environ: The process' environment.
        read_store: Reads the store; its sentence says what is there. Raises an ``OrrisError``.
        write_store: Writes to the store and removes what it wrote.
        resolve: Resolves the references that were asked for, or each model's newest version.
        image: An image of the registry that is asked, such as ``ghcr.io/orris-ml/orris``; empty: none.
        prometheus: URL of a Prometheus; empty: none.
        namespace: Namespace of the cluster; empty: the context's.
        secrets: Secrets that the namespace has to hold.
    """

    folder: Path
    environ: Mapping[str, str]
    read_store: Callable[[], str]
    write_store: Callable[[], str]
    resolve: Callable[[], str]
    image: str = ""
    prometheus: str = ""
    namespace: str = ""
    secrets: Sequence[str] = ()


def check(environment: Environment, names: Sequence[str] = ()) -> list[Finding]:
    """Run the checks.

    Args:
        environment: What is looked at.
        names: Checks of ``CHECKS`` that are asked for: only these run, and being unused is a failure for them. Empty:
            all.
    """
    findings = []
    for name in names or CHECKS:
        try:
            finding = Finding(name, "ok", CHECKS[name](environment))
        except _UnusedError as reason:
            remedy = f"it was asked for:  orris check {name}"
            finding = Finding(name, "failed", str(reason), remedy) if names else Finding(name, "unused", str(reason))
        except _FailedError as error:
            finding = Finding(name, "failed", str(error), error.remedy)
        except OrrisError as error:
            finding = Finding(
                name,
                "failed",
                str(error),
                "see docs/store.md; credentials and the URL in ORRIS_STORE are what is usually wrong",
            )
        findings.append(finding)
    return findings


def check_python(_: Environment) -> str:
    """The interpreter that runs this, which is new enough: an older one does not get here."""
    return f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"


def check_extras(_: Environment) -> str:
    """Which extras are installed; training or serving has to be."""
    there = [extra for extra, module in EXTRAS.items() if _installed(module)]
    if not {"serve", "train"} & set(there):
        raise _FailedError("neither 'serve' nor 'train' is installed", install_extra("serve,train"))
    absent = [extra for extra in EXTRAS if extra not in there]
    return f"installed: {', '.join(there)}" + (f"; not installed: {', '.join(absent)}" if absent else "")


def check_dvc(environment: Environment) -> str:
    """DVC's remote answers."""
    if not (environment.folder / ".dvc").is_dir():
        raise _UnusedError("no .dvc folder here")
    if not _installed("dvc") and shutil.which("dvc") is None:
        raise _UnusedError(f"dvc is not installed; to use it:  {install_extra('dvc')}")
    dvc = (sys.executable, "-m", "dvc") if _installed("dvc") else ("dvc",)
    remotes = _run(environment, *dvc, "remote", "list", remedy=install_extra("dvc"))
    if not remotes:
        raise _UnusedError("no remote is configured; docs/data-versioning.md says how")
    remedy = "see the remote's URL and credentials with  dvc remote list"
    _run(environment, *dvc, "status", "--cloud", remedy=remedy)
    return " ".join(remotes.split())


def check_cluster(environment: Environment) -> str:
    """Kubectl has a context, and its cluster answers."""
    if shutil.which("kubectl") is None:
        raise _UnusedError("kubectl is not installed")
    context = _run(
        environment, "kubectl", "config", "current-context", remedy="kubectl config use-context NAME", unused=True
    )
    remedy = f"the cluster of context '{context}' does not answer: is it up, are you logged in?"
    _run(environment, "kubectl", "version", "--request-timeout=10s", remedy=remedy)
    return f"context {context}"


def check_secrets(environment: Environment) -> str:
    """The namespace holds the secrets that were named."""
    if not environment.secrets:
        raise _UnusedError("none named with --secret")
    where = ["--namespace", environment.namespace] if environment.namespace else []
    for secret in environment.secrets:
        remedy = f"create it:  kubectl create secret generic {secret} …"
        _run(environment, "kubectl", "get", "secret", secret, *where, "--output", "name", remedy=remedy)
    return ", ".join(environment.secrets)


def check_helm(environment: Environment) -> str:
    """Helm is new enough for charts in OCI registries."""
    if shutil.which("helm") is None:
        raise _UnusedError("helm is not installed")
    text = _run(environment, "helm", "version", "--template", "{{.Version}}", remedy="reinstall helm").lstrip("v")
    if tuple(map(int, text.split(".")[:2])) < (3, 14):
        raise _FailedError(f"helm {text}", "install Helm 3.14 or newer")
    return f"helm {text}"


def check_registry(environment: Environment) -> str:
    """The registry answers, and there is a login for it."""
    if not environment.image:
        raise _UnusedError("no image named with --image")
    host = environment.image.split("/")[0]
    scheme = "http" if host.partition(":")[0] in {"localhost", "127.0.0.1"} else "https"
    status = _get(f"{scheme}://{host}/v2/", remedy=f"is {host} the registry's name?", accept=(200, 401, 403))
    if status == 200:
        return f"{host} answers, and asks for no login"
    if not _logged_in(host, environment.environ):
        raise _FailedError(
            f"{host} answers; there is no login for it", f"docker login {host}  (or podman login, buildah login)"
        )
    return f"{host} answers, and there is a login for it"


def check_otlp(environment: Environment) -> str:
    """Something listens where spans are sent to."""
    names = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    url = next((environment.environ[name] for name in names if environment.environ.get(name)), "")
    if not url:
        raise _UnusedError(f"{names[1]} is not set")
    parts = urlsplit(url if "://" in url else f"//{url}")
    port = parts.port or {"https": 443}.get(parts.scheme, 4317)
    try:
        with socket.create_connection((parts.hostname or "", port), TIMEOUT_SECONDS):
            return f"{parts.hostname}:{port} listens"
    except OSError as error:
        raise _FailedError(
            f"{url}: {error.strerror or error}", "start the collector, or correct the variable"
        ) from None


def check_prometheus(environment: Environment) -> str:
    """Prometheus is ready."""
    if not environment.prometheus:
        raise _UnusedError("no URL given with --prometheus")
    _get(
        f"{environment.prometheus.rstrip('/')}/-/ready",
        remedy="is the URL that of Prometheus itself, without a path?",
        accept=(200,),
    )
    return f"{environment.prometheus} is ready"


CHECKS: dict[str, Callable[[Environment], str]] = {
    "python": check_python,
    "extras": check_extras,
    "store-read": lambda environment: environment.read_store(),
    "store-write": lambda environment: environment.write_store(),
    "models": lambda environment: environment.resolve(),
    "dvc": check_dvc,
    "cluster": check_cluster,
    "secrets": check_secrets,
    "helm": check_helm,
    "registry": check_registry,
    "otlp": check_otlp,
    "prometheus": check_prometheus,
}
"""The checks, by their names on the command line."""


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _run(environment: Environment, *command: str, remedy: str, unused: bool = False) -> str:
    """A command's output.

    A command that fails is an error with its message and a remedy.
    """
    try:
        done = subprocess.run(  # noqa: S603 (fixed programs, arguments as a list)
            command,
            cwd=environment.folder,
            env=dict(environment.environ),
            capture_output=True,
            text=True,
            check=False,
            timeout=3 * TIMEOUT_SECONDS,
            stdin=subprocess.DEVNULL,
        )
    except FileNotFoundError:
        raise _FailedError(f"{command[0]} is not installed", remedy) from None
    except subprocess.TimeoutExpired:
        raise _FailedError(f"no answer to  {' '.join(command[:3])}  within {3 * TIMEOUT_SECONDS} s", remedy) from None
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())[-300:]
        raise (_UnusedError(said) if unused else _FailedError(said or f"{command[0]} failed", remedy))
    return done.stdout.strip()


def _get(url: str, *, remedy: str, accept: tuple[int, ...]) -> int:
    """The status of an answer, if it is one of those accepted."""
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310 (the scheme is ours, or the user's own URL)
            status: int = answer.status
    except urllib.error.HTTPError as error:
        status = error.code
    except (OSError, ValueError) as error:
        raise _FailedError(f"{url}: {getattr(error, 'reason', error)}", remedy) from None
    if status not in accept:
        raise _FailedError(f"{url} answers {status}", remedy)
    return status


def _logged_in(host: str, environ: Mapping[str, str]) -> bool:
    """Whether Docker's, or podman's, configuration has credentials or a helper for the registry."""
    home = Path(environ.get("HOME") or Path.home())
    folders = [Path(environ["DOCKER_CONFIG"]) if environ.get("DOCKER_CONFIG") else home / ".docker"]
    files = [folder / "config.json" for folder in folders]
    if environ.get("XDG_RUNTIME_DIR"):
        files.append(Path(environ["XDG_RUNTIME_DIR"]) / "containers" / "auth.json")
    for file in files:
        try:
            known = json.loads(file.read_bytes())
        except (OSError, ValueError):
            continue
        if host in known.get("credHelpers", {}):
            return True
        entry = known.get("auths", {}).get(host)
        if entry is not None and (known.get("credsStore") or base64.b64decode(entry.get("auth", ""))):
            return True
    return False
