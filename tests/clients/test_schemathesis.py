"""Schemathesis holds a server to its OpenAPI document, with all checks."""

from __future__ import annotations

import csv
import hashlib
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from orris.api import Bundle
from tests.faults.sizes import LONG
from tests.servers import client, serving

HERE = Path(__file__).parent
KEY = "orris_of_a_test"
N_EXAMPLES = 100 if LONG else 5
"""Generated requests per operation, beside those of the coverage of the document."""


@pytest.mark.parametrize(
    ("name", "phases"),
    [("iris", "examples,coverage,fuzzing"), ("mixed", "examples,coverage,fuzzing" if LONG else "examples,fuzzing")],
    ids=["numbers with bounds", "every kind of column"],
)
def test_our_openapi_holds_for_generated_requests(
    name: str, phases: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Good and bad requests, made from the document of a server with keys, are answered as the document says."""
    bundle: Bundle = request.getfixturevalue(name)
    keys = tmp_path / "keys.toml"
    keys.write_text(f'test = {{ sha256 = "{hashlib.sha256(KEY.encode()).hexdigest()}" }}\n')
    arguments = (str(bundle.folder), "--api-keys", str(keys), "--no-access-log")
    with serving(*arguments, folder=tmp_path) as server, client(server) as ask:
        document = ask.get("/openapi.json", headers={"x-api-key": KEY}).json()
        row = document["components"]["schemas"]["Row"]["examples"][0]
        table = io.StringIO()
        csv.writer(table).writerows([row, row.values()])
        done = subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli", "--no-color"),
                *("--config-file", str(HERE / "schemathesis.toml"), "run", f"{server.url}/openapi.json"),
                *("--header", f"Authorization: Bearer {KEY}", "--phases", phases, "--max-examples", str(N_EXAMPLES)),
                *("--generation-deterministic", "--continue-on-failure", "--request-timeout", "240"),
            ],
            cwd=tmp_path,
            env={
                **os.environ,
                "PYTHONPATH": str(HERE.parents[1]),
                "ORRIS_TEST_MODEL": bundle.manifest.name,
                "ORRIS_TEST_CSV": table.getvalue(),
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=3_000 if LONG else 800,
        )
    assert done.returncode == 0, done.stdout[-10_000:] + done.stderr[-2_000:]
    operations = sum(len(methods) for methods in document["paths"].values())
    assert f"Tested: {operations}" in done.stdout
