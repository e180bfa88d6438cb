"""Tests of what a store does, the same in a directory, in Google Cloud Storage and in S3."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from orris import bundle
from orris.errors import IntegrityError, NotFoundError, StoreError, VersionExistsError
from orris.store import Reference, Store
from tests.store.sealing import MakeBundle


def _files(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_published_version_comes_back_byte_for_byte(store: Store, make_bundle: MakeBundle, cache: Path) -> None:
    """Publishing answers with a reference, and fetching that reference gives the same files."""
    folder = make_bundle("1.0.0")
    reference = store.publish(folder)
    assert str(reference) == "iris@1.0.0"
    assert _files(store.fetch(reference, cache)) == _files(folder)


def test_manifest_is_read_without_fetching(store: Store, make_bundle: MakeBundle) -> None:
    """The manifest of a published version equals the bundle's."""
    folder = make_bundle("1.0.0")
    assert store.manifest(store.publish(folder)) == bundle.read_manifest(folder)


def test_versions_are_listed_in_semver_order(store: Store, make_bundle: MakeBundle) -> None:
    """Versions are listed by numeric value, with a pre-release before its release."""
    for version in ("1.0.20261121031500", "1.0.9", "2.0.0", "1.10.0", "2.0.0-rc.2", "2.0.0-rc.10"):
        store.publish(make_bundle(version))
    listed = [info.version for info in store.versions("iris")]
    assert listed == ["1.0.9", "1.0.20261121031500", "1.10.0", "2.0.0-rc.2", "2.0.0-rc.10", "2.0.0"]


def test_listing_describes_each_version(store: Store, make_bundle: MakeBundle) -> None:
    """A listed version carries its aliases, time, metrics, digest and strategy."""
    store.publish(make_bundle("1.0.0"), aliases=("latest", "dev"))
    (info,) = store.versions("iris")
    assert info.aliases == ("dev", "latest")
    assert (info.created, info.metrics, info.strategy) == ("2026-11-21T03:15:00Z", {"accuracy": 0.97}, "exact")
    assert len(info.digest) == 64
    assert info.problem is None
    assert not info.signed


def test_models_lists_names(store: Store, make_bundle: MakeBundle) -> None:
    """An empty store lists no models, and a published model is listed by its name."""
    assert store.models() == []
    store.publish(make_bundle("1.0.0", name="wine"))
    store.publish(make_bundle("1.0.0", name="iris"))
    assert store.models() == ["iris", "wine"]


def test_identical_version_is_refused_as_identical(store: Store, make_bundle: MakeBundle) -> None:
    """Publishing the same bundle twice reports that there is nothing to do."""
    folder = make_bundle("1.0.0")
    store.publish(folder)
    with pytest.raises(VersionExistsError, match="identical"):
        store.publish(folder)


def test_other_content_under_the_same_version_is_refused(store: Store, make_bundle: MakeBundle, cache: Path) -> None:
    """A published version keeps its bytes, and its aliases stay where they are."""
    store.publish(make_bundle("1.0.0", content=b"first"))
    with pytest.raises(VersionExistsError, match="another model"):
        store.publish(make_bundle("1.0.0", content=b"second"), aliases=("prod",))
    assert (store.fetch("iris@1.0.0", cache) / "model.onnx").read_bytes() == b"first"
    assert [record.alias for record in store.aliases("iris")] == ["latest"]


def test_damaged_bundle_is_not_published(store: Store, make_bundle: MakeBundle) -> None:
    """A changed byte is refused with the file's name before anything is written."""
    folder = make_bundle("1.0.0")
    (folder / "model.onnx").write_bytes(b"mod3l")
    with pytest.raises(IntegrityError, match=r"model\.onnx"):
        store.publish(folder)
    assert store.models() == []


def test_references_resolve(store: Store, make_bundle: MakeBundle) -> None:
    """Nothing, a name, a version and an alias each lead to a version; a name alone leads to the newest release."""
    for published, aliases in (("1.0.0", ("prod",)), ("1.2.0", ()), ("2.0.0-rc.1", ()), ("1.1.0", ("latest",))):
        store.publish(make_bundle(published), aliases=aliases)
    references = {"": "1.2.0", "iris": "1.2.0", "iris@1.0.0": "1.0.0", "iris:latest": "1.1.0", "iris:prod": "1.0.0"}
    assert {text: store.resolve(text) for text in references} == {
        text: Reference("iris", version) for text, version in references.items()
    }


def test_an_unknown_reference_is_answered_with_the_known_ones(store: Store, make_bundle: MakeBundle) -> None:
    """An unknown model, version or alias is an error that names the known ones."""
    store.publish(make_bundle("1.0.0"))
    store.publish(make_bundle("1.1.0"))
    with pytest.raises(NotFoundError, match="no model 'wine'; it holds: iris"):
        store.resolve("wine")
    with pytest.raises(NotFoundError, match=r"newest first: 1\.1\.0, 1\.0\.0"):
        store.resolve("iris@9.0.0")
    with pytest.raises(NotFoundError, match=r"its aliases are: latest \(1\.1\.0\)"):
        store.resolve("iris:prod")


def test_an_empty_reference_needs_a_single_model(store: Store, make_bundle: MakeBundle) -> None:
    """An empty reference is refused in an empty store and among several models."""
    with pytest.raises(NotFoundError, match="train or package one first"):
        store.resolve("")
    store.publish(make_bundle("1.0.0", name="wine"))
    store.publish(make_bundle("1.0.0", name="iris"))
    with pytest.raises(NotFoundError, match=r"iris, wine; say which"):
        store.resolve("")


def test_promotion_is_recorded(store: Store, make_bundle: MakeBundle) -> None:
    """The history of an alias holds author, time, version and action of each move."""
    store.publish(make_bundle("1.0.0"), aliases=("prod",), author="ada")
    store.publish(make_bundle("1.1.0"), aliases=())
    store.promote("iris", "1.1.0", "prod", author="grace")
    first, second = store.history("iris", "prod")
    assert (first.number, first.version, first.previous, first.author, first.action) == (
        1,
        "1.0.0",
        None,
        "ada",
        "publish",
    )
    assert (second.number, second.version, second.previous, second.author, second.action) == (
        2,
        "1.1.0",
        "1.0.0",
        "grace",
        "promote",
    )
    assert first.time.endswith("Z")
    assert store.resolve("iris:prod").version == "1.1.0"


def test_promotion_to_the_same_version_writes_nothing(store: Store, make_bundle: MakeBundle) -> None:
    """Promoting an alias to the version that it has writes no record."""
    store.publish(make_bundle("1.0.0"))
    assert store.promote("iris", "1.0.0", "latest").action == "publish"
    assert len(store.history("iris", "latest")) == 1


def test_promotion_needs_a_published_version(store: Store, make_bundle: MakeBundle) -> None:
    """An alias cannot be promoted to a version that is not published."""
    store.publish(make_bundle("1.0.0"))
    with pytest.raises(NotFoundError, match=r"no version 3\.0\.0"):
        store.promote("iris", "3.0.0", "prod")
    with pytest.raises(NotFoundError, match="no alias 'prod'"):
        store.history("iris", "prod")


def test_repeated_rollback_walks_back(store: Store, make_bundle: MakeBundle) -> None:
    """Each rollback goes one version further back, a promotion starts anew, and the first version is the end."""
    for version in ("1.0.0", "1.1.0", "1.2.0"):
        store.publish(make_bundle(version), aliases=("prod",))
    assert store.rollback("iris", "prod").version == "1.1.0"
    assert store.rollback("iris", "prod").version == "1.0.0"
    store.promote("iris", "1.2.0", "prod")
    assert store.rollback("iris", "prod").version == "1.0.0"
    with pytest.raises(NotFoundError, match=r"points to 1\.0\.0, and there is no version before"):
        store.rollback("iris", "prod")
    assert [record.action for record in store.history("iris", "prod")][3:] == [
        "rollback",
        "rollback",
        "promote",
        "rollback",
    ]


def test_rollback_of_an_unknown_alias_is_refused(store: Store, make_bundle: MakeBundle) -> None:
    """An alias that was never promoted cannot be rolled back."""
    store.publish(make_bundle("1.0.0"))
    with pytest.raises(NotFoundError, match="no alias 'prod'"):
        store.rollback("iris", "prod")


def test_author_is_found_when_not_given(store: Store, make_bundle: MakeBundle) -> None:
    """A record without a named author carries this machine's user."""
    store.publish(make_bundle("1.0.0"))
    assert store.history("iris", "latest")[0].author


def test_signature_is_attached_once(store: Store, make_bundle: MakeBundle, cache: Path, tmp_path: Path) -> None:
    """A signature can be added after publication; the same one again is accepted, another one is refused."""
    reference = store.publish(make_bundle("1.0.0"))
    signature, other = tmp_path / "model.sig", tmp_path / "other.sig"
    signature.write_bytes(b"signature")
    other.write_bytes(b"another signature")
    assert not (store.fetch(reference, cache) / "model.sig").exists()
    store.attach_signature(reference, signature)
    store.attach_signature(reference, signature)
    with pytest.raises(StoreError, match="signed already"):
        store.attach_signature(reference, other)
    assert (store.fetch(reference, cache) / "model.sig").read_bytes() == b"signature"
    assert store.versions("iris")[0].signed


def test_signature_of_a_bundle_is_published_with_it(
    store: Store, make_bundle: MakeBundle, cache: Path, tmp_path: Path
) -> None:
    """A bundle that is signed already keeps its signature, which nothing can replace."""
    folder = make_bundle("1.0.0")
    (folder / "model.sig").write_bytes(b"signature")
    store.publish(folder)
    (tmp_path / "other.sig").write_bytes(b"another signature")
    with pytest.raises(StoreError, match="signed already"):
        store.attach_signature("iris@1.0.0", tmp_path / "other.sig")
    assert (store.fetch("iris", cache) / "model.sig").read_bytes() == b"signature"


def test_copy_carries_files_and_signature_to_another_store(
    store: Store, make_bundle: MakeBundle, cache: Path, tmp_path: Path
) -> None:
    """Push and pull keep every byte and move the requested aliases in the other store."""
    mine, back = Store(tmp_path / "mine"), Store(tmp_path / "back")
    folder = make_bundle("1.0.0")
    (folder / "model.sig").write_bytes(b"signature")
    mine.publish(folder)
    assert mine.copy("iris:latest", store, aliases=("stage",)) == Reference("iris", "1.0.0")
    store.copy("iris:stage", back, cache=cache)
    assert _files(back.fetch("iris")) == _files(folder)
    assert [record.alias for record in store.aliases("iris")] == ["stage"]


def test_a_deleted_version_is_gone_and_its_number_is_free(store: Store, make_bundle: MakeBundle) -> None:
    """A deleted version is neither listed nor read, its number can be used again, and other versions stay."""
    folder = make_bundle("1.0.0")
    store.publish(folder, aliases=())
    store.publish(make_bundle("1.1.0"))
    assert str(store.delete("iris@1.0.0")) == "iris@1.0.0"
    assert [info.version for info in store.versions("iris")] == ["1.1.0"]
    with pytest.raises(NotFoundError, match="no version 1"):
        store.manifest("iris@1.0.0")
    assert str(store.publish(folder, aliases=())) == "iris@1.0.0"


def test_a_version_with_an_alias_is_not_deleted(store: Store, make_bundle: MakeBundle) -> None:
    """Deleting a version with aliases is refused by an error that names them; another version is deleted."""
    for version in ("1.0.0", "1.1.0", "1.2.0"):
        store.publish(make_bundle(version), aliases=())
    store.promote("iris", "1.0.0", "prod")
    with pytest.raises(StoreError, match=r"iris@1\.0\.0 is not deleted: .*prod"):
        store.delete("iris:prod")
    assert list(map(str, store.superseded("iris", keep=1))) == ["iris@1.1.0"]
    assert store.superseded("iris", keep=3) == []


def test_a_listing_has_the_size_of_each_version(store: Store, make_bundle: MakeBundle) -> None:
    """The size in a listing is that of all files of the bundle."""
    folder = make_bundle("1.0.0")
    store.publish(folder)
    [info] = store.versions("iris")
    assert info.n_bytes >= sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_copying_an_existing_version_succeeds(store: Store, make_bundle: MakeBundle, tmp_path: Path) -> None:
    """Copying an existing version moves the aliases and succeeds; another model under its number is refused."""
    store.publish(make_bundle("1.0.0"))
    other = Store(tmp_path / "other")
    assert store.copy("iris@1.0.0", other) == store.copy("iris@1.0.0", other, aliases=["prod"])
    assert str(other.resolve("iris:prod")) == "iris@1.0.0"
    third = Store(tmp_path / "third")
    third.publish(make_bundle("1.0.0", content=b"another model"))
    with pytest.raises(VersionExistsError, match="another model"):
        third.copy("iris@1.0.0", other)
