"""Users who each ask for a prediction, wait one to two seconds, and ask again: the reference projects' load test.

    locust -f loadtests/locustfile.py --headless --users 100 --spawn-rate 20 --run-time 60s --host http://localhost:8000

The rows come from the model itself (the examples in its OpenAPI document), so any table works. The test fails, with
exit code 1, if a request fails, or if the limits below are passed: ``LOADTEST_MAX_FAILURES`` (share, default 0),
``LOADTEST_P95_MS`` (default: none), ``LOADTEST_MIN_RPS`` (default: none). ``LOADTEST_API_KEY``: sent as a bearer token.

Little's law tells whether the server keeps up: users / (requests per second) - mean wait = the mean response time. 100
users who wait 1.5 s ask 67 times a second as long as the server answers at once; far fewer means that they queue.
"""

from __future__ import annotations

import logging
import os
from typing import Any

from locust import HttpUser, between, events, task
from locust.env import Environment

PREDICT = "/api/v1/predict"


class Caller(HttpUser):
    """Asks for one row at a time."""

    wait_time = between(1, 2)

    def on_start(self) -> None:
        """Learn from the server what a row looks like."""
        key = os.environ.get("LOADTEST_API_KEY", "")
        if key:
            self.client.headers["authorization"] = f"Bearer {key}"
        answer = self.client.get("/openapi.json")
        answer.raise_for_status()
        self.row = example(answer.json())

    @task
    def predict(self) -> None:
        """One prediction; an answer without one is a failure."""
        with self.client.post(PREDICT, json=self.row, catch_response=True) as answer:
            if answer.status_code == 200 and "prediction" not in answer.json():
                answer.failure("an answer without a prediction")


def example(document: dict[str, Any]) -> Any:
    """The example row of the predict route in an OpenAPI document."""
    body = document["paths"][PREDICT]["post"]["requestBody"]["content"]["application/json"]
    if "example" in body:
        return body["example"]
    first = next(iter(body["examples"].values()))
    return first["value"]


@events.quitting.add_listener
def judge(environment: Environment, **_: Any) -> None:
    """Set the exit code by the limits."""
    total = environment.stats.total
    p95 = total.get_response_time_percentile(0.95) or 0.0
    limits = {
        f"{total.fail_ratio:.4%} of the requests failed": total.fail_ratio
        > float(os.environ.get("LOADTEST_MAX_FAILURES", "0")),
        f"the 95th percentile is {p95:.0f} ms": p95 > float(os.environ.get("LOADTEST_P95_MS", "inf")),
        f"only {total.total_rps:.1f} requests a second": total.total_rps
        < float(os.environ.get("LOADTEST_MIN_RPS", "0")),
        "no request was made": total.num_requests == 0,
    }
    for text, passed in limits.items():
        if passed:
            logging.error("load test failed: %s", text)
            environment.process_exit_code = 1
