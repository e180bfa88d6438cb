"""Tests of the form and its answer: controls, live answers, warnings and errors at their columns."""

from __future__ import annotations

import re
from typing import Any

import httpx
from playwright.sync_api import Browser, Page, expect

from tests.servers import Server
from tests.ui.browser import Visit, field_of, put, visiting

SETOSA = {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}


def shown(page: Page) -> dict[str, str]:
    """Return the shown bars: class by class, the probability as it is written."""
    items = page.locator("#answer .bars li")
    return {item.locator(".bar-name").inner_text(): item.locator(".bar-share").inner_text() for item in items.all()}


def percent(share: float) -> str:
    """Return a probability as the page writes it."""
    if 0 < share < 0.0005:
        return "<0.1 %"
    return ">99.9 %" if 0.9995 < share < 1 else f"{share * 100:.1f} %"


def expected_bars(ask: httpx.Client, row: dict[str, Any], labels: tuple[str, ...]) -> dict[str, str]:
    """Return the bars for the server's own answer."""
    answer = ask.post("/api/v1/predict", json=row).json()
    return {label: percent(share) for label, share in zip(labels, answer["probabilities"], strict=True)}


IRIS = ("setosa", "versicolor", "virginica")


def test_a_number_has_a_slider_over_the_range_of_the_training_table(visit: Visit, server: Server) -> None:
    """A number has a slider over the training range, and a field with the table's steps and declared bounds."""
    page = visit.open(server.url)
    slider = field_of(page, "petal_length").get_by_role("slider")
    assert [slider.get_attribute(name) for name in ("min", "max", "step")] == ["1", "6.9", "0.1"]
    assert page.locator(".field").count() == 4
    expect(field_of(page, "petal_length").locator(".bounds")).to_have_text("> 0")


def test_an_example_fills_the_form_and_is_answered(visit: Visit, server: Server, ask: httpx.Client) -> None:
    """Each example button is named after its answer, and the bars are the server's probabilities."""
    page = visit.open(server.url)
    page.get_by_role("button", name=re.compile("^Example .*virginica")).first.click()
    expect(page.locator("#answer .headline")).to_have_text("virginica")
    row = {name: float(field_of(page, name).locator("input[type=number]").input_value()) for name in SETOSA}
    assert shown(page) == expected_bars(ask, row, IRIS)


def test_the_answer_follows_a_slider_that_moves(visit: Visit, server: Server, ask: httpx.Client) -> None:
    """If a slider moves, the number, the bars and the request beside them follow."""
    page = visit.open(server.url)
    for column, value in SETOSA.items():
        put(page, column, str(value))
    slider = field_of(page, "petal_length").get_by_role("slider")
    slider.focus()
    page.keyboard.press("End")
    expect(field_of(page, "petal_length").locator("input[type=number]")).to_have_value("6.9")
    expect(page.locator("#snippet")).to_contain_text('"petal_length": 6.9')
    wanted = expected_bars(ask, SETOSA | {"petal_length": 6.9}, IRIS)
    expect(page.locator("#answer .bars li").nth(2).locator(".bar-share")).to_have_text(wanted["virginica"])
    assert shown(page) == wanted


def test_the_last_value_wins_however_fast_they_come(visit: Visit, server: Server, ask: httpx.Client) -> None:
    """One request is open at a time; values that were typed meanwhile are sent next."""
    page = visit.open(server.url)
    page.evaluate("""() => {
        const input = document.querySelector('.field[data-column="petal_width"] input[type=number]');
        for (let i = 1; i <= 40; i += 1) {
            input.value = (i / 20).toFixed(2);
            input.dispatchEvent(new Event("input"));
        }
    }""")
    row = {name: float(field_of(page, name).locator("input[type=number]").input_value()) for name in SETOSA}
    assert row["petal_width"] == 2
    expect(page.locator("#answer .bars li").nth(2).locator(".bar-share")).to_have_text(
        expected_bars(ask, row, IRIS)["virginica"]
    )
    asked = [request for request in visit.requests if request.url.endswith("/predict")]
    assert 2 <= len(asked) <= 4


def test_an_unseen_value_is_answered_with_a_warning(visit: Visit, server: Server) -> None:
    """An unseen value gets a warning at its column and at the answer; both disappear with the value."""
    page = visit.open(server.url)
    put(page, "petal_width", "30")
    field = field_of(page, "petal_width")
    expect(field.locator(".note")).to_have_text("outside the range that training saw")
    expect(page.locator("#answer")).to_contain_text("Unusual: petal_width. The answer may be a guess.")
    put(page, "petal_width", "0.3")
    expect(field.locator(".note")).to_have_text("")
    expect(page.locator("#answer .answer-notes li")).to_have_count(0)


def test_a_value_that_is_refused_is_marked_at_its_column(browser: Browser, server: Server) -> None:
    """A refused value has the server's message at its column, and the last answer is greyed until the next."""
    with visiting(browser, refused=(422,)) as visit:
        page = visit.open(server.url)
        put(page, "sepal_width", "-1")
        field = field_of(page, "sepal_width")
        expect(field.locator(".note")).to_have_text(
            "Measurement must be positive: must be greater than 0 (a declared bound)"
        )
        expect(page.locator("#answer")).to_have_attribute("data-state", "refused")
        expect(page.locator("#answer")).to_contain_text("Refused: 1 value to correct: sepal_width.")
        number = field.locator("input[type=number]")
        expect(number).to_have_attribute("aria-invalid", "true")
        assert number.get_attribute("aria-describedby") == field.locator(".note").get_attribute("id")
        expect(page.locator("#said")).to_contain_text("sepal_width: Measurement must be positive")
        number.fill("")
        expect(field.locator(".note")).to_have_text(
            "this column is missing, and the fitted model takes no missing values here"
        )
        number.fill("3")
        expect(page.locator("#answer")).to_have_attribute("data-state", "answered")
        expect(number).not_to_have_attribute("aria-invalid", "true")


def test_each_kind_of_column_has_its_control(visit: Visit, mixed_server: Server) -> None:
    """Numbers, integers, switches and levels have their controls, with a way to leave a value missing if allowed."""
    page = visit.open(mixed_server.url)
    assert field_of(page, "visits").get_by_role("slider").get_attribute("step") == "1"
    expect(field_of(page, "member").locator("input.switch")).to_have_count(1)
    levels = field_of(page, "town").locator("select option").all_inner_texts()
    assert set(levels) >= {'New "York"', "Oslo", "Rome", "São Paulo", "— missing —"}
    assert field_of(page, "tariff").locator("select option").all_inner_texts()[:3] == ["10", "20", "30"]
    assert [
        column for column in ("age", "visits", "member", "spend") if field_of(page, column).locator(".missing").count()
    ] == [
        "age",
        "visits",
        "member",
        "spend",
    ]


def test_a_row_of_every_kind_is_sent_with_json_types(
    visit: Visit, mixed_server: Server, ask_mixed: httpx.Client
) -> None:
    """Values are sent with their JSON types, missing ones as null, and the answer is the server's."""
    page = visit.open(mixed_server.url)
    put(page, "age", "61.5")
    put(page, "visits", "7")
    field_of(page, "member").locator("input.switch").check()
    field_of(page, "town").locator("select").select_option('New "York"')
    field_of(page, "tariff").locator("select").select_option("20")
    put(page, "spend", "12.25")
    row: dict[str, Any] = {"age": 61.5, "visits": 7, "member": True, "town": 'New "York"', "tariff": 20, "spend": 12.25}
    expect(page.locator("#answer .bars li").nth(1).locator(".bar-share")).to_have_text(
        expected_bars(ask_mixed, row, ("no", "yes"))["yes"]
    )
    field_of(page, "age").get_by_label("age is missing").check()
    field_of(page, "town").locator("select").select_option("— missing —")
    row |= {"age": None, "town": None}
    expect(page.locator("#answer .bars li").nth(1).locator(".bar-share")).to_have_text(
        expected_bars(ask_mixed, row, ("no", "yes"))["yes"]
    )
    expect(field_of(page, "age").locator(".note")).to_have_text("missing; training saw missing values here")
    expect(field_of(page, "age").get_by_role("slider", disabled=True)).to_have_count(1)
    sent = [request.post_data_json for request in visit.requests if request.url.endswith("/predict")][-1]
    assert sent == row


def test_an_unseen_level_can_be_typed(visit: Visit, mixed_server: Server) -> None:
    """An unseen level is typed into a field of its own, and flagged."""
    page = visit.open(mixed_server.url)
    field_of(page, "town").locator("select").select_option("other …")
    other = page.get_by_label("town: another level")
    expect(other).to_be_focused()
    other.fill("Atlantis")
    expect(field_of(page, "town").locator(".note")).to_have_text("not one of the levels that training saw")


def test_a_regression_shows_the_value_on_the_scale_of_known_answers(visit: Visit, regression_server: Server) -> None:
    """A regression's value is shown on the scale of known answers in place of bars."""
    page = visit.open(regression_server.url)
    put(page, "width", "5")
    put(page, "depth", "15")
    expect(page.locator("#answer .headline")).to_have_text(re.compile(r"^(29\.9|30(\.0|\.1)?)\d*$"))
    expect(page.locator("#answer .marker")).to_have_count(1)
    assert page.locator("#answer .tick").count() >= 2
    expect(page.locator("#answer .bars")).to_have_count(0)
