"""The scripts in examples/ run as their README says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import Server

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def printed(script: str, *arguments: str, folder: Path) -> str:
    """What a script prints when it runs in a folder; it must succeed and print nothing on standard error."""
    command = [sys.executable, "-W", "error", str(ROOT / "examples" / script), *arguments]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_a_fitted_pipeline_is_packaged(tmp_path: Path) -> None:
    """The pipeline is published, proven exact, and answers from Python as scikit-learn does."""
    text = printed("package_a_pipeline.py", folder=tmp_path)
    assert "parity: exact" in text
    assert "569 of 569 labels are equal" in text
    assert (tmp_path / "artifacts" / "tumours").is_dir()


def test_a_gate_decides_whether_a_model_is_published(tmp_path: Path) -> None:
    """The gate that the model fails publishes nothing, and the ones that it passes publish one version."""
    text = printed("train_with_gates.py", str(ROOT / "data" / "iris.csv"), folder=tmp_path)
    assert "Not published: " in text
    assert "Published iris@" in text
    assert len(list((tmp_path / "artifacts" / "iris" / "versions").iterdir())) == 1


def test_a_server_is_called(server: Server, tmp_path: Path) -> None:
    """One row, two rows and an invalid row are answered by a running server."""
    lines = printed("call_a_server.py", server.url, folder=tmp_path).splitlines()
    assert lines[:2] == ["one row: setosa", "two rows: ['setosa', 'virginica']"]
    assert lines[2].startswith("row 0, column sepal_width: ")


@pytest.mark.parametrize("script", EXAMPLES, ids=lambda path: path.name)
def test_the_readme_lists_each_example(script: Path) -> None:
    """Each script has a row in examples/README.md."""
    assert f"]({script.name})" in (ROOT / "examples" / "README.md").read_text("utf-8")
