"""Tests that the recipes of CONTRIBUTING.md work when they are followed literally, in a copy of the source."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from orris.api import Bundle

ROOT = Path(__file__).parents[1]
BLOCKS = dict(
    re.findall(r"^```python\n# ([^\n]+)\n(.*?)^```$", (ROOT / "CONTRIBUTING.md").read_text("utf-8"), re.M | re.S)
)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A folder with a copy of the package, to which a recipe is applied."""
    shutil.copytree(ROOT / "src" / "orris", tmp_path / "src" / "orris", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def written(folder: Path, *names: str) -> None:
    """Write whole files of the recipe to the folder."""
    for name in names:
        (folder / name).write_text(BLOCKS[name], "utf-8")


def inserted(file: Path, before: str, text: str) -> None:
    """Insert text before a line of a file that occurs once."""
    content = file.read_text("utf-8")
    assert content.count(before) == 1, before
    file.write_text(content.replace(before, text + before), "utf-8")


def run(folder: Path, *arguments: str) -> str:
    """Return what Python prints in the folder, with the copy in place of the package."""
    environment = {**os.environ, "PYTHONPATH": str(folder / "src")}
    ran = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_the_recipe_of_a_converter_gives_an_exact_model(copy: Path) -> None:
    """The step of the recipe is compiled, and the parity gate finds the model exact."""
    written(copy, "square.py", "src/orris/compile/converters/squares.py", "check.py")
    assert run(copy, "check.py").startswith("parity: exact, ")


def test_the_recipe_of_a_metric_reports_it(copy: Path) -> None:
    """The metric of the recipe is computed, and it has a meaning and a direction."""
    inserted(
        copy / "src/orris/metrics.py",
        ')\n"""Every evaluation metric, by name',
        BLOCKS["src/orris/metrics.py, in METRICS"],
    )
    inserted(
        copy / "src/orris/training/scores.py",
        '            "max_error": ',
        BLOCKS["src/orris/training/scores.py, in regression_metrics"],
    )
    program = (
        "import numpy as np; from orris import metrics; from orris.training.scores import regression_metrics;"
        "name = 'p90_absolute_error'; values = np.arange(10.0);"
        "print(regression_metrics(values, values + 1)[name], metrics.direction(name), metrics.meaning(name))"
    )
    assert run(copy, "-c", program) == "1.0 -1 nine of ten errors are smaller; lower is better\n"


def test_the_recipe_of_a_command_adds_it(copy: Path, iris: Bundle) -> None:
    """The command of the recipe is listed and prints the labels of a published version."""
    written(copy, "src/orris/cli/labels.py")
    commands = copy / "src/orris/cli/app.py"
    inserted(commands, "load, models,", "labels, ")
    inserted(commands, "# Typer would cut", BLOCKS["src/orris/cli/app.py, below the other commands"])
    assert "Print the labels that a version can answer" in run(copy, "-m", "orris", "--help")
    store = iris.folder.parents[2]
    assert run(copy, "-m", "orris", "labels", "iris", "--store", str(store)) == "setosa\nversicolor\nvirginica\n"


def test_every_recipe_is_tested() -> None:
    """Each block of code in the recipes is used by a test above, so that none goes stale."""
    text = Path(__file__).read_text("utf-8")
    assert [name for name in BLOCKS if f'"{name}"' not in text] == []
