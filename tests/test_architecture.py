"""docs/architecture.md describes the code, and the import contracts cover all of it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from graphlib import TopologicalSorter
from pathlib import Path

import grimp
from tools import module_graph

import orris

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "orris"
PAGE = (ROOT / "docs" / "architecture.md").read_text("utf-8")


def rooms() -> set[str]:
    """The packages and single modules directly below ``src/orris``."""
    packages = {path.parent.name for path in SOURCE.glob("*/__init__.py")}
    return packages | {path.stem for path in SOURCE.glob("*.py")} - {"__init__", "__main__"}


def test_every_room_is_in_a_layer() -> None:
    """The layers contract names each package and each single module below orris once."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    [layers] = [contract for contract in contracts if contract["type"] == "layers"]
    named = [name.strip() for layer in layers["layers"] for name in layer.split("|")]
    assert layers["exhaustive"]
    assert sorted(named) == sorted(rooms())


def test_a_package_outside_the_layers_breaks_the_contract(tmp_path: Path) -> None:
    """import-linter rejects a copy of the source that has one more package, and names the package."""
    shutil.copytree(SOURCE, tmp_path / "orris", ignore=shutil.ignore_patterns("__pycache__", "ui"))
    (tmp_path / "orris" / "extension").mkdir()
    (tmp_path / "orris" / "extension" / "__init__.py").write_text("")
    command: list[str | Path] = [Path(sys.executable).with_name("lint-imports"), "--no-cache", "--config"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    ran = subprocess.run(
        [*command, ROOT / "pyproject.toml"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert "orris.extension" in ran.stdout


def test_the_module_graph_is_current() -> None:
    """The picture is what the imports say; drawing it fails if rooms import each other in a circle."""
    drawn = module_graph.drawing(module_graph.module_imports())
    assert module_graph.PICTURE.read_text("utf-8") == drawn, "run  python -m tools.module_graph"


def test_every_room_is_described() -> None:
    """The table of rooms names each of them, and no others."""
    table = PAGE.partition("\n## The rooms\n")[2].partition("\n## ")[0]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    named = {name for cell in cells for name in re.findall(r"`([\w/]+)`", cell)}
    assert {name for name in named if "/" not in name} == rooms() | {"ui"}
    folders = {path.parent.relative_to(SOURCE).as_posix() for path in SOURCE.glob("*/*/__init__.py")}
    assert {name for name in named if "/" in name} == folders - {"protocols/grpc"}


def test_every_module_that_is_named_exists() -> None:
    """Paths in the page, such as serving/http/app.py, are files of src/orris or of the repository."""
    named = re.findall(r"`(\w[\w./-]*\.py)`", PAGE)
    assert named
    assert [path for path in named if not (SOURCE / path).exists() and not (ROOT / path).exists()] == []


def test_the_source_that_is_tested_is_this_one() -> None:
    """Tests import the orris package of this repository, not one that is installed elsewhere."""
    assert Path(orris.__file__).parent == SOURCE


def test_tests_import_nothing_from_a_conftest() -> None:
    """What several packages of tests share is in plain modules; pytest alone loads the conftest files."""
    importing = re.compile(r"^\s*(from tests[.\w]*\.conftest import|from tests[.\w]* import conftest)", re.MULTILINE)
    files = [path for path in (ROOT / "tests").rglob("*.py") if importing.search(path.read_text("utf-8"))]
    assert files == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    """The imports that are carried out, also inside functions, form no circle; those for type checkers may."""
    graph = grimp.build_graph("orris", exclude_type_checking_imports=True)
    modules = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    assert len(list(TopologicalSorter(modules).static_order())) == len(modules)
