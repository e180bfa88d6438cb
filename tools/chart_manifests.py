"""Write ``k8s/``, plain manifests for minikube and kind, from the chart: ``python -m tools.chart_manifests``.

A test fails when they are stale.

They are what ``helm template orris charts/orris --namespace orris --values k8s/local/values.yaml`` prints, without the
labels that only Helm needs, one file for each object in the order in which ``kubectl apply -f k8s/`` takes them.
"""

from __future__ import annotations

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


def written() -> dict[Path, str]:
    """What each file has to hold."""
    import helm_python  # noqa: PLC0415 (a development tool)

    values = yaml.safe_load((FOLDER / "local" / "values.yaml").read_text("utf-8"))
    with helm_python.Chart.load(ROOT / "charts" / "orris") as chart:
        texts = chart.render(values, name="orris", namespace=NAMESPACE)
    found = [
        each for path, text in texts.items() if path.endswith(".yaml") for each in yaml.safe_load_all(text) if each
    ]
    kept = sorted((each for each in [namespace(), *found] if each["kind"] in ORDER), key=order)
    return {
        FOLDER / f"{order(each)}-{name(each)}.yaml": _HEAD + yaml.safe_dump(plain(each), sort_keys=False)
        for each in kept
    }


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
    files = written()
    for file in FOLDER.glob("*.yaml"):
        if file not in files:
            file.unlink()
    for file, content in files.items():
        file.write_text(content, "utf-8")
        print(f"wrote {file.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
