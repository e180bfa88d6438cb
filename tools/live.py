"""Tests a running server from outside, as its users will: every answer that a deployment depends on.

Nothing but the standard library.

``python tools/live.py http://localhost:9000 [--digest DIGEST] [--junit FILE]``: a line for each check, and exit code 1
if one failed. The row that is asked comes from the server's own OpenAPI document, so any model will do.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import urllib.error
import urllib.request
import xml.etree.ElementTree as ET
from collections.abc import Callable
from typing import Any

PREDICT = "/api/v1/predict"


class WrongError(Exception):
    """The server did something else than it should."""


def require(fine: object, otherwise: str) -> None:
    """Go on if it is fine, and say what is wrong otherwise."""
    if not fine:
        raise WrongError(otherwise)


class Live:
    """A server at a URL; each ``check_…`` raises ``WrongError`` and says what."""

    def __init__(self, url: str, digest: str = "") -> None:
        self.url, self.digest = url.rstrip("/"), digest

    def ask(self, path: str, body: Any = None) -> tuple[int, bytes]:
        """Status and body of the answer to a GET, or to a POST of JSON."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{path}", data, {"content-type": "application/json"})  # noqa: S310 (the caller's URL)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def asked(self, path: str, body: Any = None) -> Any:
        """The JSON of an answer that has to be a good one."""
        status, content = self.ask(path, body)
        require(status == 200, f"{path} answers {status}: {content[:300]!r}")
        return json.loads(content)

    def wait(self, seconds: float) -> None:
        """Until it is ready; it may be starting."""
        end = time.monotonic() + seconds
        while True:
            try:
                if self.ask("/ready")[0] == 200:
                    return
            except OSError:
                pass
            require(time.monotonic() < end, f"{self.url} is not ready after {seconds:g} s")
            time.sleep(0.2)

    def row(self) -> dict[str, Any]:
        """The example row of its documentation."""
        content = self.asked("/openapi.json")["paths"][PREDICT]["post"]["requestBody"]["content"]["application/json"]
        row = content["example"] if "example" in content else next(iter(content["examples"].values()))["value"]
        require(isinstance(row, dict), f"the example of {PREDICT} is not a row: {row!r}")
        return row

    def check_health(self) -> None:
        """It lives, and says so."""
        require(self.asked("/health"), "/health says nothing")

    def check_model(self) -> None:
        """It serves the model that was asked for."""
        info = self.asked("/api/v1/model/info")
        require(not self.digest or self.digest in json.dumps(info), f"another model: {json.dumps(info)[:300]}")

    def check_prediction(self) -> None:
        """A row is answered with a prediction, and by the same version as a table of rows."""
        one, many = self.asked(PREDICT, self.row()), self.asked(PREDICT, [self.row()] * 3)
        require({"prediction", "request_id", "model_version"} <= one.keys(), f"a prediction lacks something: {one}")
        require(
            [answer["prediction"] for answer in many["predictions"]] == [one["prediction"]] * 3,
            f"{many} is not three times {one}",
        )

    def check_refusal(self) -> None:
        """A row that lacks a column is refused, and told why."""
        status, content = self.ask(PREDICT, dict(list(self.row().items())[1:]))
        require(status == 422, f"a wrong row is answered with {status}")
        require(json.loads(content)["errors"], "a refusal names no error")

    def check_protocols(self) -> None:
        """The Open Inference Protocol and KServe's V1 know the model."""
        name = self.asked("/v1/models")["models"][0]
        require(self.asked(f"/v2/models/{name}")["inputs"], f"/v2/models/{name} names no inputs")

    def check_metrics(self) -> None:
        """What has been asked is counted."""
        status, content = self.ask("/metrics")
        require(status == 200, f"/metrics answers {status}")
        require(b"http_requests_total{" in content, "/metrics counts no requests")


def checks(live: Live) -> list[Callable[[], None]]:
    """In the order in which they run."""
    names = ("health", "model", "prediction", "refusal", "protocols", "metrics")
    return [getattr(live, f"check_{name}") for name in names]


def main(arguments: list[str]) -> int:
    """Wait, check, tell; 1 if something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--digest", default="")
    parser.add_argument("--wait", type=float, default=60.0, help="seconds until it has to be ready")
    parser.add_argument("--junit", help="file to write, in JUnit's form")
    given = parser.parse_args(arguments)
    live, suite, failed = Live(given.url, given.digest), ET.Element("testsuite", name="live"), 0
    for check in (lambda: live.wait(given.wait), *checks(live)):
        name = (check.__doc__ or "It becomes ready.").strip()
        case = ET.SubElement(suite, "testcase", classname="live", name=name)
        try:
            check()
            print(f"ok      {name}")
        except (WrongError, OSError, ValueError, KeyError, TypeError, LookupError) as error:
            failed += 1
            said = f"{type(error).__name__}: {error}"
            ET.SubElement(case, "failure", message=said).text = said
            print(f"FAILED  {name}  {said}")
            if len(suite) == 1:  # not even ready
                break
    if given.junit:
        ET.ElementTree(suite).write(given.junit, encoding="utf-8", xml_declaration=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
