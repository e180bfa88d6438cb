"""Write ``k8s/``, plain manifests for minikube and kind, from the chart: ``python -m tools.chart_manifests``.

A test fails when they are stale.

They are what ``helm template orris charts/orris --namespace orris --values k8s/local/values.yaml`` prints, without the
labels that only Helm needs, one file for each object in the order in which ``kubectl apply -f k8s/`` takes them.

With ``--values FILE --output FOLDER`` the values of another file over those, for a cluster of your own:
``--values k8s/cloud/values.yaml`` has a load balancer and up to 5 pods; ``--set image.repository=…`` names the image.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "k8s"
NAMESPACE = "orris"
ORDER = ["Namespace", "Service", "Deployment", "HorizontalPodAutoscaler"]
NAMES = {"HorizontalPodAutoscaler": "hpa"}
_HEAD = (
    "# Made from charts/orris with k8s/local/values.yaml by `python -m tools.chart_manifests`.\n"
    "# docs/kubernetes.md says how to use it.\n"
)
_OF_HELM = {"helm.sh/chart", "app.kubernetes.io/managed-by"}


def written(over: Path | None = None, settings: Sequence[str] = (), output: Path = FOLDER) -> dict[Path, str]:
    """What each file has to hold.

    Args:
        over: A file of values that win over those of ``k8s/local``.
        settings: Values that win over both, as ``a.b=text``.
        output: Where the files belong.
    """
    import helm_python  # noqa: PLC0415 (a development tool)

    values = yaml.safe_load((FOLDER / "local" / "values.yaml").read_text("utf-8"))
    if over is not None:
        values = merged(values, yaml.safe_load(over.read_text("utf-8")))
    for setting in settings:
        path, _, text = setting.partition("=")
        value: Any = text
        for key in reversed(path.split(".")):
            value = {key: value}
        values = merged(values, value)
    with helm_python.Chart.load(ROOT / "charts" / "orris") as chart:
        texts = chart.render(values, name="orris", namespace=NAMESPACE)
    found = [
        each for path, text in texts.items() if path.endswith(".yaml") for each in yaml.safe_load_all(text) if each
    ]
    head = _HEAD if over is None else _HEAD.replace("k8s/local/values.yaml", f"k8s/local/values.yaml and {over.name}")
    kept = sorted((each for each in [namespace(), *found] if each["kind"] in ORDER), key=order)
    return {
        output / f"{order(each)}-{name(each)}.yaml": head + yaml.safe_dump(plain(each), sort_keys=False)
        for each in kept
    }


def merged(values: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Values with others over them, as Helm merges them: objects key by key."""
    both = dict(values)
    for key, value in over.items():
        before = both.get(key)
        both[key] = merged(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return both


def order(found: dict[str, Any]) -> int:
    """Where an object comes."""
    return ORDER.index(found["kind"])


def namespace() -> dict[str, Any]:
    """Of its own, which admits only pods of the restricted profile."""
    levels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "audit", "warn")}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": levels}}


def name(found: dict[str, Any]) -> str:
    """What an object's file is called."""
    return NAMES.get(found["kind"], str(found["kind"]).lower())


def plain(found: Any) -> Any:
    """Without what only Helm reads."""
    if isinstance(found, dict):
        return {key: plain(value) for key, value in found.items() if key not in _OF_HELM}
    return [plain(each) for each in found] if isinstance(found, list) else found


def main() -> None:
    """Write the files, and remove those that are no longer made."""
    parser = argparse.ArgumentParser(description="Write plain manifests from the chart.")
    parser.add_argument("--values", type=Path, help="values that win over those of k8s/local")
    parser.add_argument("--set", action="append", default=[], help="a value that wins over both: image.tag=1.2.3")
    parser.add_argument("--output", type=Path, default=FOLDER, help="folder of the manifests [default: k8s]")
    wanted = parser.parse_args()
    if wanted.output.resolve() == FOLDER and (wanted.values or wanted.set):
        parser.error("k8s/ is made with its own values; say where others go with --output")
    wanted.output.mkdir(parents=True, exist_ok=True)
    files = written(wanted.values, wanted.set, wanted.output)
    for file in wanted.output.glob("*.yaml"):
        if file not in files:
            file.unlink()
    for file, content in files.items():
        file.write_text(content, "utf-8")
        print(f"wrote {file.relative_to(ROOT) if file.is_relative_to(ROOT) else file}")


if __name__ == "__main__":
    main()
