"""Steps of the scenarios of the API in ``features/predict.feature``."""

from __future__ import annotations

import httpx
import pytest
from pytest_bdd import given, parsers, scenarios, then, when

scenarios("features/predict.feature")

COLUMNS = ("sepal_length", "sepal_width", "petal_length", "petal_width")


@given("a server with the iris model", target_fixture="api")
def api(ask: httpx.Client) -> httpx.Client:
    """A real server in a process of its own."""
    return ask


@when(parsers.parse("I ask for {first:g}, {second:g}, {third:g} and {fourth:g}"), target_fixture="answer")
def ask_for(api: httpx.Client, first: float, second: float, third: float, fourth: float) -> httpx.Response:
    """Send one row."""
    return api.post("/api/v1/predict", json=dict(zip(COLUMNS, (first, second, third, fourth), strict=True)))


@when("I ask for its health", target_fixture="answer")
def ask_for_health(api: httpx.Client) -> httpx.Response:
    """Request the model's health."""
    return api.get("/api/v1/health")


@then(parsers.parse("the answer is {status:d}"))
def has_status(answer: httpx.Response, status: int) -> None:
    """Check the HTTP status."""
    assert answer.status_code == status


@then(parsers.parse("the species is {species}"))
def has_species(answer: httpx.Response, species: str) -> None:
    """Check the label's text."""
    assert answer.json()["prediction_label"] == species


@then("the probabilities add up to 1")
def has_probabilities(answer: httpx.Response) -> None:
    """Check that there is one probability per class."""
    assert sum(answer.json()["probabilities"]) == pytest.approx(1)


@then(parsers.parse('it says "{text}"'))
def says(answer: httpx.Response, text: str) -> None:
    """Check the text of the body."""
    assert text in answer.text


@then(parsers.parse("its status is {status}"))
def has_health(answer: httpx.Response, status: str) -> None:
    """Check the health and the version."""
    assert answer.json()["status"] == status
    assert answer.json()["model_version"]
