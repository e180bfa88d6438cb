"""A client that openapi-python-client generates from our document calls every documented predict route of a server."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orris.api import Bundle
from tests.servers import Server, client, serving

ROOT = Path(__file__).parents[2]

CALLS = '''"""Calls operations of the generated client: ``calls.py URL``, with a list of calls as JSON on stdin."""

import importlib
import json
import sys

from generated import Client, models

found = []
with Client(base_url=sys.argv[1], timeout=60) as client:
    for call in json.load(sys.stdin):
        operation = importlib.import_module(f"generated.api.{call['module']}")
        body = getattr(models, call["model"]).from_dict(call["body"])
        answer = operation.sync_detailed(*call["arguments"], client=client, body=body)
        parsed = answer.parsed.to_dict()
        found.append([int(answer.status_code), type(answer.parsed).__name__, parsed])
print(json.dumps(found))
'''

ARGUMENTS = {"model": "iris", "version": "1.0.0"}


@pytest.fixture(scope="module")
def server(iris: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The iris model, with the version in its routes."""
    with serving(str(iris.folder), folder=tmp_path_factory.mktemp("generated-server")) as running:
        yield running


@pytest.fixture(scope="module")
def document(server: Server) -> dict[str, Any]:
    """The server's OpenAPI document."""
    with client(server) as asking:
        found: dict[str, Any] = asking.get("/openapi.json").json()
        return found


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the generator by hash in an environment of its own, because it pins an older typer."""
    folder = tmp_path_factory.mktemp("clients")
    uv = [sys.executable, "-m", "uv"]
    subprocess.run([*uv, "venv", "--quiet", "--python", sys.executable, folder], check=True, timeout=60)
    lock = str(ROOT / "requirements" / "clients.txt")
    install = ["pip", "install", "--quiet", "--system-certs", "--python", str(folder), "--require-hashes", "-r", lock]
    subprocess.run([*uv, *install], check=True, timeout=240)
    return folder / "bin" / "python"


@pytest.fixture(scope="module")
def generated(python: Path, document: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the generated package, and what the generator said of it."""
    folder = tmp_path_factory.mktemp("generated")
    (folder / "openapi.json").write_text(json.dumps(document), "utf-8")
    # Its formatter would be an installed ruff.
    (folder / "config.yaml").write_text("post_hooks: []\n", "utf-8")
    (folder / "calls.py").write_text(CALLS, "utf-8")
    command = [str(python.parent / "openapi-python-client"), "generate", "--path", "openapi.json", "--meta", "none"]
    command += ["--config", "config.yaml", "--output-path", "generated"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder / "said.txt").write_text(done.stdout + done.stderr, "utf-8")
    return folder


def predictions(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The operations that ask a model, by their id, each with its path."""
    return {
        operation["operationId"]: {**operation, "path": path}
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if method == "post" and operation.get("requestBody", {}).get("required")
    }


def model_of(body: dict[str, Any]) -> str:
    """The name of the generated class of a body."""
    forms = {"dataframe_split": "DataframeSplit", "features": "Features", "instances": "Instances"}
    forms["inputs"] = "InferRequest"
    return next((name for key, name in forms.items() if key in body), "Row")


def test_a_generated_client_calls_every_documented_predict_route(
    python: Path, generated: Path, document: dict[str, Any], server: Server
) -> None:
    """Every example of every operation that asks a model is sent by the client and answered with setosa."""
    folders = {file.stem: file.parent.name for file in generated.glob("generated/api/*/*.py")}
    calls, names = [], []
    for name, operation in predictions(document).items():
        content = operation["requestBody"]["content"]["application/json"]
        examples = content.get("examples", {"": {"value": content.get("example")}})
        for example in examples.values():
            arguments = [ARGUMENTS[each["name"]] for each in operation.get("parameters", [])]
            module = f"{folders[name]}.{name}"
            body = example["value"]
            calls.append({"module": module, "model": model_of(body), "body": body, "arguments": arguments})
            names.append(name)
    assert {operation["path"] for operation in predictions(document).values()} >= {
        "/predict",
        "/predict/",
        "/api/v1/predict",
        "/v1/models/{model}:predict",
        "/v2/models/{model}/infer",
        "/invocations",
    }
    assert len(set(names)) == 12
    done = subprocess.run(
        [str(python), "calls.py", server.url],
        cwd=generated,
        input=json.dumps(calls),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    for name, (status, kind, parsed) in zip(names, json.loads(done.stdout), strict=True):
        assert (status, "Error" in kind) == (200, False), (name, parsed)
        assert "model_version" in parsed or "predictions" in parsed, (name, kind)
    assert len(calls) == len(json.loads(done.stdout)) >= 22


def test_the_generator_leaves_out_only_csv_and_images(generated: Path) -> None:
    """What openapi-python-client cannot generate are bodies of text/csv and the pictures of a report."""
    said = (generated / "said.txt").read_text("utf-8")
    left_out = set(re.findall(r"^WARNING parsing (\S+ \S+)", said, re.MULTILINE))
    reasons = set(re.findall(r"^(?:Unsupported content.type|Cannot parse).*", said, re.MULTILINE))
    assert "ERROR" not in said
    assert {each for each in left_out if not each.endswith(("predict", "predict/", "invocations", "invoke"))} <= {
        "GET /api/v1/models/{model}/versions/{version}/plots/{plot}"
    }
    assert {reason for reason in reasons if reason.startswith("Unsupported")} == {"Unsupported content type text/csv"}
