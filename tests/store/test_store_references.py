"""Tests of names, versions and references, which a store checks before it makes a path of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orris.errors import StoreError
from orris.store import Reference, Store, as_version, check_alias, check_name, check_version
from orris.store.references import newest, version_key
from tests.store.sealing import seal_bundle

_ORDERED = [
    "1.0.0-1",
    "1.0.0-2",
    "1.0.0-10",
    "1.0.0-alpha",
    "1.0.0-alpha.1",
    "1.0.0-alpha.beta",
    "1.0.0-rc.1",
    "1.0.0",
    "1.0.9",
    "1.0.20250508_171813",
    "1.0.20261121031500",
]
_NO_VERSIONS = [
    "1.0",
    "1.0.0+build",
    "1.0." + "1" * 128,
    "v1.0.0",
    "1.0.0-",
    "1.0.0-01",
    "1.0.0\n",
    "../1.0.0",
    "01.0.0",
    "",
    "١.0.0",
]


@pytest.mark.parametrize("text", ["../iris", "iris/../wine", "Iris", ".iris", "", "-iris", "a" * 129, "iris\n", "íris"])
def test_malformed_names_are_refused(text: str) -> None:
    """A malformed model name, such as one that leaves the store's folder, is refused."""
    with pytest.raises(StoreError, match="model name"):
        check_name(text)


@pytest.mark.parametrize("text", _NO_VERSIONS)
def test_malformed_versions_are_refused(text: str) -> None:
    """A version that is not both SemVer and a container tag is refused."""
    with pytest.raises(StoreError, match="use SemVer"):
        check_version(text)


@pytest.mark.parametrize("text", ["../x", "1st", "", "Prod", "a/b", "prod\n"])
def test_malformed_aliases_are_refused(text: str) -> None:
    """An alias that does not begin with a letter, and could be taken for a version, is refused."""
    with pytest.raises(StoreError, match="alias"):
        check_alias(text)


@pytest.mark.parametrize(
    "text", ["../iris", "iris@../1.0.0", "iris@1.0.0+build", "iris:../x", "iris@1.0.0:prod", "@1.0.0", ":prod"]
)
def test_malformed_references_never_reach_a_path(tmp_path: Path, text: str) -> None:
    """A store refuses a malformed reference."""
    with pytest.raises(StoreError, match="use "):
        Store(tmp_path).resolve(text)


def test_bundle_with_a_version_that_is_no_tag_is_not_published(tmp_path: Path) -> None:
    """A bundle sealed under a version that a store cannot hold is not published."""
    folder = seal_bundle(tmp_path / "bundle", "iris", "1.0.0+build", b"model")
    with pytest.raises(StoreError, match="use SemVer"):
        Store(tmp_path / "artifacts").publish(folder)
    assert not (tmp_path / "artifacts").exists()


@given(st.permutations(_ORDERED))
def test_versions_sort_as_semver_prescribes(shuffled: list[str]) -> None:
    """Versions in any order are sorted as SemVer prescribes."""
    assert sorted(shuffled, key=version_key) == _ORDERED


def test_newest_prefers_releases() -> None:
    """A pre-release is the newest only where there is no release."""
    assert newest(["1.0.0", "2.0.0-rc.1"]) == "1.0.0"
    assert newest(["2.0.0-rc.1", "2.0.0-rc.2"]) == "2.0.0-rc.2"


@given(st.from_regex(r"[a-z0-9][a-z0-9._-]{0,20}", fullmatch=True), st.tuples(*[st.integers(0, 10**15)] * 3))
def test_reference_prints_as_it_is_parsed(name: str, numbers: tuple[int, int, int]) -> None:
    """A reference printed as ``NAME@VERSION`` is parsed to the same reference."""
    reference = Reference(check_name(name), check_version(".".join(map(str, numbers))))
    assert str(reference).split("@") == [reference.name, reference.version]


@pytest.mark.parametrize(("text", "version"), [("v1.4.0", "1.4.0"), ("V2.0.0-rc.1", "2.0.0-rc.1"), ("1.0.0", "1.0.0")])
def test_a_leading_v_of_a_version_is_dropped(text: str, version: str) -> None:
    """A version given as ``v1.0.0``, as tags of git are written, is read as ``1.0.0``."""
    assert as_version(text) == version
    with pytest.raises(StoreError, match="use SemVer"):
        as_version("version")


def test_a_publication_is_checked_before_training(tmp_path: Path) -> None:
    """Names, the version and the store are checked before anything is trained, and nothing is left behind."""
    store = Store(tmp_path / "store")
    store.check_publishable("iris", "1.0.0", ["latest"])
    assert not (tmp_path / "store").exists()
    store.publish(seal_bundle(tmp_path / "bundle", "iris", "1.0.0", b"x"))
    with pytest.raises(StoreError, match=r"iris@1\.0\.0 is published already"):
        store.check_publishable("iris", "1.0.0")
    with pytest.raises(StoreError, match="alias 'Prod'"):
        store.check_publishable("iris", "1.0.1", ["Prod"])
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StoreError, match="file"):
        Store(tmp_path / "file").check_publishable("iris", "1.0.1")
