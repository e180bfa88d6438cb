"""Tests of an environment's file: how it is read, and how exactly it is edited."""

from __future__ import annotations

from pathlib import Path

import pytest

from orris.delivery.environment import Pins, edit, environments, read_environment, read_pins
from orris.errors import PromotionError, SettingsError
from tests.delivery.gitops import IMAGE, OTHER_IMAGE, ROOT

ODD = f"""# first comment\r
spec:   # odd spaces\r
    values: {{image: {{digest: "{IMAGE}", tag: x}},   # one line\r
             model: {{  version: '1.0.0'  , name: iris}}}}\r
# 1.0.0 and {IMAGE} again, in a comment"""


def test_the_tree_has_three_environments() -> None:
    """The environments are dev, stage and prod, and the base is not one of them."""
    assert environments(ROOT / "deploy") == ["dev", "prod", "stage"]


def test_an_environment_inherits_from_the_base() -> None:
    """Values that an environment does not set come from base/values.yaml."""
    stage = read_environment(ROOT / "deploy", "stage")
    assert (stage.model, stage.repository) == ("iris", "ghcr.io/orris-ml/orris")
    assert stage.file == ROOT / "deploy" / "apps" / "stage" / "release.yaml"


def test_an_edit_replaces_two_values_and_nothing_else() -> None:
    """An edit keeps comments, quotes, flow style, spaces and line ends."""
    edited = edit(ODD, Pins(OTHER_IMAGE, "1.1.0-rc.1"), "odd.yaml")
    assert read_pins(edited, "odd.yaml") == Pins(OTHER_IMAGE, "1.1.0-rc.1")
    back = edited.replace(f'"{OTHER_IMAGE}"', f'"{IMAGE}"').replace("'1.1.0-rc.1'", "'1.0.0'")
    assert back == ODD


def test_an_edit_is_the_same_in_either_order() -> None:
    """An edit works whether the model or the image comes first in the file."""
    text = f"spec:\n  values:\n    model:\n      version: 1.0.0 # model\n    image:\n      digest: {IMAGE} # image\n"
    edited = edit(text, Pins(OTHER_IMAGE, "10.20.30"), "file")
    assert edited == text.replace(IMAGE, OTHER_IMAGE).replace("1.0.0", "10.20.30")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("spec: {}", "spec.values is missing"),
        ("", "spec is missing"),
        ("spec: {values: {image: {}, model: {version: 1.0.0}}}", "spec.values.image.digest is missing"),
        ("spec: {values: {image: {digest: latest}, model: {version: 1.0.0}}}", "'latest' is no digest"),
        (
            f"spec: {{values: {{image: {{digest: {IMAGE}}}, model: {{version: 1.0}}}}}}",
            "spec.values.model.version is no text",
        ),
        (
            f"spec: {{values: {{image: {{digest: {IMAGE}, digest: {IMAGE}}}, model: {{version: 1.0.0}}}}}}",
            "digest is there twice",
        ),
        ("spec: {\n", "not one YAML document"),
        ("a: 1\n---\nb: 2\n", "not one YAML document"),
    ],
    ids=["no-values", "empty", "no-digest", "tag", "number", "twice", "broken", "two-documents"],
)
def test_an_error_names_file_and_key(text: str, words: str) -> None:
    """The error of a malformed file names the file and the key."""
    with pytest.raises(PromotionError) as caught:
        read_pins(text, "apps/x/release.yaml")
    assert "apps/x/release.yaml: " in str(caught.value)
    assert words in str(caught.value)


def test_an_unknown_environment_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    """The error names the known environments, or the folder that holds none."""
    with pytest.raises(SettingsError, match="no environment 'production'; there are dev, prod, stage"):
        read_environment(ROOT / "deploy", "production")
    with pytest.raises(SettingsError, match="--tree"):
        read_environment(tmp_path, "dev")
