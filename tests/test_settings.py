"""Tests of settings: they are read once, and an unknown or malformed one stops the process."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from orris.errors import SettingsError
from orris.settings import Settings, read_settings


def test_defaults_hold_without_variables_and_flags() -> None:
    """Without variables and flags the defaults hold, and other programs' variables are ignored."""
    assert read_settings({"PATH": "/bin"}) == Settings()


def test_a_flag_wins_over_its_variable() -> None:
    """A flag overrides its variable, and a variable the default."""
    settings = read_settings({"ORRIS_PORT": "9000", "ORRIS_ACCESS_LOG": "off"}, port=9100, host=None)
    assert (settings.port, settings.access_log, settings.host) == (9100, False, "127.0.0.1")


def test_an_unknown_variable_stops_the_process_and_is_named() -> None:
    """An unknown ``ORRIS_*`` variable stops the process and is named."""
    with pytest.raises(SettingsError, match=r"ORRIS_PROT.*did you mean ORRIS_PORT"):
        read_settings({"ORRIS_PROT": "9000"})


@pytest.mark.parametrize(
    ("key", "value"),
    [("ORRIS_PORT", "http"), ("ORRIS_PORT", "70000"), ("ORRIS_MAX_ROWS", "0"), ("ORRIS_ACCESS_LOG", "maybe")],
)
def test_a_malformed_value_is_named(key: str, value: str) -> None:
    """The error of a malformed value has its key and the value."""
    with pytest.raises(SettingsError, match=f"{key}={value}"):
        read_settings({key: value})


def test_every_setting_is_documented() -> None:
    """docs/settings.md names the variable of each setting."""
    text = (Path(__file__).parents[1] / "docs" / "settings.md").read_text()
    for field in msgspec.structs.fields(Settings):
        assert f"`ORRIS_{field.name.upper()}`" in text
