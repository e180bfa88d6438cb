"""A client that openapi-python-client generates from our document calls every documented predict route of a server."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.clients.calls import Call
from tests.servers import Server
from tests.waiting import PATIENCE_SECONDS

PROGRAM = '''"""Calls operations of the generated client: ``calls.py URL``, with a list of calls as JSON on stdin."""

import importlib
import json
import sys

from generated import Client, models

found = []
with Client(base_url=sys.argv[1], timeout=240) as client:
    for call in json.load(sys.stdin):
        operation = importlib.import_module(f"generated.api.{call['module']}")
        body = getattr(models, call["model"]).from_dict(call["body"])
        answer = operation.sync_detailed(*call["arguments"], client=client, body=body)
        parsed = answer.parsed.to_dict()
        found.append([int(answer.status_code), type(answer.parsed).__name__, parsed])
print(json.dumps(found))
'''


@pytest.fixture(scope="module")
def generated(python: Path, document: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the generated package, and what the generator said of it."""
    folder = tmp_path_factory.mktemp("generated")
    (folder / "openapi.json").write_text(json.dumps(document), "utf-8")
    # Its formatter would be an installed ruff.
    (folder / "config.yaml").write_text("post_hooks: []\n", "utf-8")
    (folder / "calls.py").write_text(PROGRAM, "utf-8")
    command = [str(python.parent / "openapi-python-client"), "generate", "--path", "openapi.json", "--meta", "none"]
    command += ["--config", "config.yaml", "--output-path", "generated"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder / "said.txt").write_text(done.stdout + done.stderr, "utf-8")
    return folder


def test_the_calls_are_those_of_every_predict_route(calls: list[Call]) -> None:
    """Twelve operations ask a model, with an example of each form that the native routes read."""
    assert {call.path for call in calls} >= {
        "/predict",
        "/predict/",
        "/api/v1/predict",
        "/v1/models/{model}:predict",
        "/v2/models/{model}/infer",
        "/invocations",
    }
    assert len({call.operation for call in calls}) == 12
    assert len(calls) >= 22


def test_a_generated_client_calls_every_documented_predict_route(
    python: Path, generated: Path, calls: list[Call], served: Server
) -> None:
    """Every example of every operation that asks a model is sent by the client and answered with 200."""
    folders = {file.stem: file.parent.name for file in generated.glob("generated/api/*/*.py")}
    asked = [
        {
            "module": f"{folders[call.operation]}.{call.operation}",
            "model": call.form,
            "body": call.body,
            "arguments": list(call.arguments.values()),
        }
        for call in calls
    ]
    done = subprocess.run(
        [str(python), "calls.py", served.url],
        cwd=generated,
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    for call, (status, kind, parsed) in zip(calls, json.loads(done.stdout), strict=True):
        assert (status, "Error" in kind) == (200, False), (call, parsed)
        assert "model_version" in parsed or "predictions" in parsed, (call, kind)


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
