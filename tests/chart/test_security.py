"""Tests of Pod Security's restricted profile, and of checkov's findings on everything that the chart can make."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.chart.rendering import ROOT, VALUES, containers, of_kind, pods, rendered
from tests.waiting import PATIENCE_SECONDS

RESTRICTED_VOLUMES = {
    "configMap",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
    "csi",
}

# What checkov finds and we want: (check, whose), why.
WANTED = {
    (
        "CKV_K8S_11",
        "",
    ): "no CPU limit: it would throttle between two periods; instead the requests and the number of threads agree",
    (
        "CKV_K8S_15",
        "",
    ): "IfNotPresent: production names images by digest, which no pull changes, and a laptop has its own image",
    ("CKV_K8S_43", ""): "tags: a value away, for laptops; deploy/ names images by digest (tests/deploy/test_flux.py)",
    ("CKV_K8S_8", "-test-"): "no liveness probe: the pods of helm test end by themselves",
    ("CKV_K8S_9", "-test-"): "no readiness probe: nobody asks the pods of helm test",
    (
        "CKV2_K8S_6",
        "-test-",
    ): "no NetworkPolicy: the pods of helm test live for seconds, listen to nothing, and have to get out",
    ("CKV2_K8S_6", "minimal"): "no NetworkPolicy: the values say so",
}


@pytest.mark.parametrize("case", VALUES)
def test_every_pod_fits_the_restricted_profile(case: str) -> None:
    """Every pod fits Pod Security's restricted profile, with a read-only root and without a token of the API."""
    accounts = of_kind(rendered(case), "ServiceAccount")
    assert [each for each in accounts if each["automountServiceAccountToken"]] == []
    for _, _, spec in pods(rendered(case)):
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] == spec["securityContext"]["runAsGroup"] == 10001
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC", "hostUsers"} & spec.keys()
        assert {key for volume in spec.get("volumes", []) for key in volume if key != "name"} <= RESTRICTED_VOLUMES
        for container in containers(spec):
            security = container["securityContext"]
            assert security == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert not [port for port in container.get("ports", []) if "hostPort" in port]
            assert {"requests", "limits"} <= container["resources"].keys()


def test_the_image_runs_as_the_user_that_the_chart_names() -> None:
    """The user of the chart is the number in the Dockerfile."""
    assert "\nUSER 10001:10001\n" in (ROOT / "Dockerfile").read_text("utf-8")


@pytest.fixture(scope="session")
def checkov(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install checkov by hash in an environment of its own, because its pins conflict with Orris'."""
    folder = tmp_path_factory.mktemp("checkov")
    uv = [sys.executable, "-m", "uv"]
    subprocess.run([*uv, "venv", "--quiet", "--python", sys.executable, folder], check=True, timeout=PATIENCE_SECONDS)
    lock = ROOT / "requirements" / "checkov.txt"
    install = [
        "pip",
        "install",
        "--quiet",
        "--system-certs",
        "--python",
        str(folder),
        "--require-hashes",
        "-r",
        str(lock),
    ]
    subprocess.run([*uv, *install], check=True, timeout=PATIENCE_SECONDS)
    return folder / "bin" / "checkov"


def test_checkov_finds_only_the_listed_exceptions(
    checkov: Path, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """All of checkov's Kubernetes checks find exactly the exceptions that are listed above."""
    for case in VALUES:
        (tmp_path / f"{case}.yaml").write_text(yaml.safe_dump_all(rendered(case)), "utf-8")
    command = [
        str(checkov),
        "--directory",
        str(tmp_path),
        "--framework",
        "kubernetes",
        "--skip-download",
        "--quiet",
        "--compact",
        "--output",
        "json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS, cwd=tmp_path)
    report = json.loads(done.stdout)
    failed = [
        (each["check_id"], f"{each['file_path']} {each['resource']}") for each in report["results"]["failed_checks"]
    ]
    assert [
        (check, where) for check, where in failed if not any(check == known and part in where for known, part in WANTED)
    ] == []
    assert {key for key in WANTED if not any(check == key[0] and key[1] in where for check, where in failed)} == set()
    passed = report["summary"]["passed"]
    assert passed > 1000
    version = report["summary"]["checkov_version"]
    record_property(
        "validated",
        f"chart: checkov {version}: {passed} checks passed, {len(failed)} findings of {len(WANTED)} wanted kinds",
    )
