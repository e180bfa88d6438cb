"""Tests of the commands as a user runs them: in a process, with exit codes, on a store of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from orris.cli.models import _values
from orris.schema import Column, Kind

COMMANDS = [[], ["train"], ["package"], ["serve"], ["models"], ["promote"], ["check"], ["ping"]]
_OF_MODELS = "list show compare promote rollback history delete prune verify sign push pull export"
COMMANDS += [["experiment", "autoscaling"]]
COMMANDS += [["models", command] for command in _OF_MODELS.split(" ")]


def orris(*arguments: str, cwd: Path, expect: int = 0, **environ: str) -> str:
    """Run a command and return its standard output, or its standard error if a failure is expected."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("ORRIS_")}
    done = subprocess.run(
        [sys.executable, "-m", "orris", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        env=clean | environ,
    )
    assert done.returncode == expect, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stderr if expect else done.stdout


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder in whose store two versions of iris have been trained."""
    folder = tmp_path_factory.mktemp("home")
    orris("train", "--version", "1.0.0", cwd=folder)
    orris("train", "--version", "1.1.0", "--model", "forest", "--alias", "latest", "--alias", "stage", cwd=folder)
    return folder


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_has_an_example(command: list[str], tmp_path: Path) -> None:
    """The help of every command has an example."""
    text = orris(*command, "--help", cwd=tmp_path)
    assert "Usage: orris" in text
    assert command in ([], ["models"]) or "Example" in text


def test_help_cuts_no_sentence_and_lists_presets_and_defaults(tmp_path: Path) -> None:
    """The list of commands has whole sentences, and the help of ``train`` names every preset and default."""
    from orris.cli.train import PRESET_NAMES
    from orris.training.pipelines import PRESETS

    for command in ([], ["models"], ["keys"]):
        assert "..." not in orris(*command, "--help", cwd=tmp_path).partition("Commands:")[2]
    assert set(PRESET_NAMES) == {preset for presets in PRESETS.values() for preset in presets}
    text = " ".join(orris("train", "--help", cwd=tmp_path).split())
    for words in ("hist-gradient-boosting", "elastic-net", "[default: 0.2]", "[default: 5]"):
        assert words in text


def test_without_arguments_the_bundled_table_is_written_and_trained_on(tmp_path: Path) -> None:
    """``orris train`` without arguments trains on the bundled table and prints accuracy, report and version."""
    text = orris("train", cwd=tmp_path)
    assert "wrote the bundled iris table" in text
    assert "Model accuracy: 0." in text
    assert "Classification report:" in text
    assert "versicolor" in text
    assert "parity: exact" in text
    assert "Published iris@1.0.2" in text
    assert (tmp_path / "data" / "iris.csv").read_bytes() == (
        Path(__file__).parents[2] / "data" / "iris.csv"
    ).read_bytes()


def test_a_gate_that_fails_is_exit_code_1_and_publishes_nothing(tmp_path: Path) -> None:
    """A gate that fails ends with exit code 1, prints the measured value and publishes nothing."""
    text = orris("train", "--gate", "accuracy>=0.99999", cwd=tmp_path, expect=1)
    assert "accuracy" in text
    assert not (tmp_path / "artifacts").exists()


def test_notices_about_a_table_are_printed_before_training(tmp_path: Path) -> None:
    """Notices about a suspicious table go to standard error, each with advice, and the report repeats them."""
    rows = "".join(f"{i},{i % 7}.5,{'?' if i == 9 else i % 11},{'ab'[i % 2]}\n" for i in range(60))
    (tmp_path / "t.csv").write_text("row,size,age,y\n" + rows)
    command = [sys.executable, "-m", "orris", "train", "t.csv", "--target", "y", "--version", "v1.2.0", "--folds", "0"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "… reading the table" in done.stderr
    assert "… fitting on all rows" in done.stderr
    assert "notice: column 'row' holds whole numbers that only rise" in done.stderr
    assert "notice: column 'age' holds numbers and '?' (row 9), which are taken as missing values" in done.stderr
    assert "note: column" not in done.stdout
    assert "t@1.2.0" in done.stdout
    report = (tmp_path / "artifacts" / "t" / "versions" / "1.2.0" / "report.md").read_text("utf-8")
    assert "taken as missing values" in report


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "--version", "one"], "use SemVer"),
        (["train", "--name", "Iris"], "model name"),
        (["train", "--gate", "rmse<=1"], "no metric 'rmse' of this classification"),
        (["train", "--drop", "sepal_lenght"], "is 'sepal_length' meant?"),
        (["train", "--gate", "accuracy is good"], "accuracy>=0.9"),
        (["train", "nowhere.csv", "--target", "y"], "nowhere.csv"),
        (["train", "--model", "forrest"], "forest"),
        (["train", "--target", "colour"], "colour"),
        (["serve", "nobody"], "nobody"),
        (["models", "show", "nobody"], "nobody"),
    ],
)
def test_mistakes_are_reported_in_one_line(arguments: list[str], words: str, tmp_path: Path) -> None:
    """A mistake ends with exit code 1 or 2 and one line of advice, without a traceback."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("ORRIS_")}
    done = subprocess.run(
        [sys.executable, "-m", "orris", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env=clean,
    )
    assert done.returncode in {1, 2}
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_wrong_usage_is_exit_code_2(tmp_path: Path) -> None:
    """Unknown options, unknown variables and unknown keys of params.yaml end with exit code 2."""
    orris("train", "--nonsense", cwd=tmp_path, expect=2)
    assert "ORRIS_STOER" in orris("models", "list", cwd=tmp_path, expect=2, ORRIS_STOER="x")
    (tmp_path / "params.yaml").write_text("modell: forest\n")
    assert "is 'model' meant?" in orris("train", cwd=tmp_path, expect=2)


def test_settings_come_from_params_yaml_and_flags_win(tmp_path: Path) -> None:
    """Settings come from params.yaml, flags override them, and the JSON output shows the result."""
    (tmp_path / "params.yaml").write_text("model: decision-tree\nfolds: 0\nname: flowers\n")
    printed = json.loads(orris("train", "--name", "blumen", "--no-publish", "--json", cwd=tmp_path))
    assert printed["name"] == "blumen"
    assert printed["verdict"]["family"] == "forest"
    assert printed["store"] is None


def test_the_list_shows_versions_and_aliases(home: Path) -> None:
    """``orris models list`` shows versions and aliases, as a table and as JSON."""
    text = orris("models", "list", cwd=home)
    assert "1.0.0" in text
    assert "latest stage" in text
    listed = json.loads(orris("models", "list", "iris", "--json", cwd=home))
    assert {version["version"]: sorted(version["aliases"]) for version in listed} == {
        "1.0.0": [],
        "1.1.0": ["latest", "stage"],
    }


def test_a_version_is_shown_and_compared(home: Path) -> None:
    """``show`` prints schema, metrics and verdict; ``compare`` prints the differences of two versions."""
    text = orris("models", "show", "iris@1.0.0", cwd=home)
    assert "sepal_length" in text
    assert "parity: exact" in text
    every = orris("models", "show", "iris@1.0.0", "--all", cwd=home)
    assert "cv_accuracy_mean" in text
    assert "balanced_accuracy" not in text
    assert "models show --all iris@1.0.0" in text
    assert "balanced_accuracy" in every
    assert "--all" not in every
    compared = json.loads(orris("models", "compare", "iris@1.0.0", "iris:stage", "--json", cwd=home))
    assert compared["same_digest"] is False
    assert {found["change"] for found in compared["schema"]} == {"takes missing values now"}
    assert compared["compatible"] is True
    loss = compared["metrics"]["log_loss"]
    assert loss["better"] == ("first" if loss["first"] < loss["second"] else "second")
    text = orris("models", "compare", "iris@1.0.0", "iris:stage", cwd=home)
    assert "different models" in text
    assert "cross-validation" in text


def test_a_version_shows_its_provenance(home: Path) -> None:
    """The manifest names the preset, its parameters, the table and the commit."""
    text = orris("models", "show", "iris@1.1.0", cwd=home)
    for words in ("iris.csv, 150 rows", "git commit", "forest", "require_compiled", "false", "may be missing"):
        assert words in text
    text = orris("models", "list", cwd=home)
    assert "kB" in text or "MB" in text
    assert "signed" in text


def test_versions_with_an_alias_are_not_deleted(home: Path, tmp_path: Path) -> None:
    """``prune`` keeps the newest versions and those with an alias; ``delete`` refuses a version with an alias."""
    store = str(tmp_path / "store")
    for reference in ("iris@1.0.0", "iris@1.1.0"):
        orris("models", "push", reference, store, cwd=home)
        assert "is now in" in orris("models", "push", reference, store, cwd=home)
    orris("models", "promote", "iris@1.1.0", "prod", "--store", store, cwd=home)
    assert "point to" in orris("models", "delete", "iris@1.1.0", "--store", store, cwd=home, expect=1)
    told = orris("models", "prune", "iris", "--keep", "1", "--dry-run", "--store", store, cwd=home)
    assert told == "would delete 1: iris@1.0.0\n"
    assert orris("models", "prune", "iris", "--keep", "1", "--store", store, cwd=home) == "deleted 1: iris@1.0.0\n"
    listed = json.loads(orris("models", "list", "iris", "--store", store, "--json", cwd=home))
    assert [version["version"] for version in listed] == ["1.1.0"]
    [move] = json.loads(orris("models", "history", "iris", "--store", store, "--json", cwd=home))
    assert (move["alias"], move["version"], move["action"]) == ("prod", "1.1.0", "promote")


def test_an_alias_is_promoted_and_rolled_back(home: Path) -> None:
    """A rollback returns an alias to the version before its promotion."""
    assert orris("models", "promote", "iris@1.0.0", "prod", cwd=home) == "prod is now 1.0.0\n"
    told = orris("models", "promote", "iris@1.1.0", "prod", cwd=home)
    assert "different models: digests differ" in told
    assert "log_loss" in told
    assert told.endswith("prod is now 1.1.0 (was 1.0.0)\n")
    assert "prod is now 1.0.0" in orris("models", "rollback", "iris", "prod", cwd=home)
    assert "1.0.0" in orris("models", "show", "iris:prod", cwd=home)


def test_a_version_is_copied_between_stores(home: Path, tmp_path: Path) -> None:
    """``push`` and ``pull`` copy an audited version from one store to another."""
    orris("models", "push", "iris@1.0.0", str(tmp_path / "other"), cwd=home)
    orris("models", "pull", "iris@1.0.0", str(tmp_path / "other"), "--store", str(tmp_path / "third"), cwd=home)
    assert "files unchanged" in orris("models", "verify", "iris@1.0.0", "--store", str(tmp_path / "third"), cwd=home)


def test_a_signature_is_made_and_verified(home: Path, tmp_path: Path) -> None:
    """A signature verifies with the right key only, and a server with a key refuses unsigned versions."""
    paths = []
    for name in ("a", "b"):
        key = ec.generate_private_key(ec.SECP256R1())
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        (tmp_path / f"{name}.pem").write_bytes(private)
        (tmp_path / f"{name}.pub").write_bytes(public)
        paths.append(tmp_path / name)
    orris("models", "sign", "iris@1.1.0", "--key", f"{paths[0]}.pem", cwd=home)
    assert "signature verified" in orris("models", "verify", "iris@1.1.0", "--key", f"{paths[0]}.pub", cwd=home)
    assert "error:" in orris("models", "verify", "iris@1.1.0", "--key", f"{paths[1]}.pub", cwd=home, expect=1)
    assert "not signed" in orris("serve", "iris@1.0.0", cwd=home, expect=1, ORRIS_VERIFY_KEY=f"{paths[0]}.pub")


def test_a_changed_byte_stops_verification_and_serving(tmp_path: Path) -> None:
    """A bundle with a changed byte is neither verified nor served, and the error names the file."""
    orris("train", "--version", "1.0.0", "--folds", "0", cwd=tmp_path)
    model = tmp_path / "artifacts" / "iris" / "versions" / "1.0.0" / "model.onnx"
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.chmod(0o644)
    model.write_bytes(content)
    assert "model.onnx" in orris("models", "verify", "iris", cwd=tmp_path, expect=1)
    assert "model.onnx" in orris("serve", "iris", cwd=tmp_path, expect=1)


def test_the_server_imports_neither_pandas_nor_scikit_learn_nor_pydantic(home: Path) -> None:
    """A server that has loaded a model and answered a request has not imported pandas, scikit-learn or pydantic."""
    program = """
import sys
from pathlib import Path
from orris.serving.engine import Engine
from orris.server.assembly import assemble
from orris.settings import Settings
engine = Engine.load(Path(sys.argv[1]))
assemble([(engine, "iris")], Settings())
rows, _ = engine.reader.read(b'{"sepal_length":5.1,"sepal_width":3.5,"petal_length":1.4,"petal_width":0.2}')
engine.run(rows)
heavy = {"pandas", "sklearn", "scipy", "pydantic", "fastapi", "onnx", "matplotlib", "joblib"}
print(sorted({name.partition(".")[0] for name in sys.modules} & heavy))
"""
    folder = home / "artifacts" / "iris" / "versions" / "1.0.0"
    done = subprocess.run([sys.executable, "-c", program, str(folder)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_exported_bundle_is_a_checked_copy(home: Path, tmp_path: Path) -> None:
    """An exported bundle can be served and opened; with ``--report`` only the files for reading are written."""
    orris("models", "export", "iris@1.0.0", str(tmp_path / "bundle"), cwd=home)
    original = home / "artifacts" / "iris" / "versions" / "1.0.0"
    names = {path.relative_to(original) for path in original.rglob("*") if path.is_file()}
    assert {
        path.relative_to(tmp_path / "bundle") for path in (tmp_path / "bundle").rglob("*") if path.is_file()
    } == names
    orris("models", "export", "iris@1.0.0", str(tmp_path / "report"), "--report", cwd=home)
    assert json.loads((tmp_path / "report" / "metrics.json").read_bytes())["accuracy"] > 0.9
    assert not (tmp_path / "report" / "model.onnx").exists()


def test_an_export_does_not_overwrite_a_folder(home: Path, tmp_path: Path) -> None:
    """An export to a folder that holds files is refused and leaves them as they are."""
    (tmp_path / "note.txt").write_text("mine")
    assert "not empty" in orris("models", "export", "iris@1.0.0", str(tmp_path), cwd=home, expect=1)
    assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]


def test_a_changed_byte_is_not_exported(home: Path, tmp_path: Path) -> None:
    """A bundle with a changed byte is not exported: the error names the file, and no folder appears."""
    orris("train", "--version", "3.0.0", "--store", str(tmp_path / "store"), cwd=home)
    model = tmp_path / "store" / "iris" / "versions" / "3.0.0" / "model.onnx"
    model.chmod(0o644)
    model.write_bytes(model.read_bytes()[:-1] + b"x")
    text = orris(
        "models", "export", "iris", str(tmp_path / "bundle"), "--store", str(tmp_path / "store"), cwd=home, expect=1
    )
    assert "model.onnx" in text
    assert not (tmp_path / "bundle").exists()


def test_the_values_of_a_boolean_column_are_shown_as_requests_write_them() -> None:
    """``show`` prints the values of a boolean column as true and false, because requests with 0 or 1 are refused."""
    assert _values(Column("sunny", Kind.BOOLEAN, dtype="bool", low=0, high=1)) == "false, true"
