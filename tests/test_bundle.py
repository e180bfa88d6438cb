"""Tests of bundles: one that differs from its manifest in any byte is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import orris
from orris.bundle import FORMAT, MANIFEST, Golden, Manifest, Provenance, audit, read_manifest, seal
from orris.errors import BundleError, BundleFormatError, IntegrityError, RowError
from orris.schema import Bounds, Column, Kind, Reading, Schema
from orris.verdict import Verdict

SCHEMA = Schema(
    columns=(Column("a", Kind.NUMBER, low=0, high=1, bounds=Bounds(exclusive_minimum=0)),),
    target="y",
    task="regression",
)
VERDICT = Verdict("exact", "linear", 10_000, {"random": 10_000}, 0, 0.0, 1e-12, 5.0, 250.0)


def sealed(folder: Path, version: str = "1.0.0", created: str = "2026-11-21T00:00:00Z") -> Manifest:
    """Return a small bundle."""
    folder.mkdir(exist_ok=True)
    (folder / "model.onnx").write_bytes(b"model")
    (folder / "plots").mkdir(exist_ok=True)
    (folder / "plots" / "a.png").write_bytes(b"plot")
    return seal(
        folder,
        name="m",
        version=version,
        created=created,
        orris="0",
        model_file="model.onnx",
        schema=SCHEMA,
        verdict=VERDICT,
        golden=Golden(((1, None), (2.5, 0))),
        metrics={"r2": 1},
        provenance=Provenance("d", 2),
    )


def test_a_sealed_bundle_is_read_back(tmp_path: Path) -> None:
    """A sealed bundle's manifest is read back whole, and the audit passes."""
    written = sealed(tmp_path)
    manifest = read_manifest(tmp_path)
    assert manifest == written
    assert set(manifest.files) == {"model.onnx", "plots/a.png"}
    audit(tmp_path, manifest)


def test_the_digest_does_not_depend_on_version_or_time(tmp_path: Path) -> None:
    """Bundles with equal answers have equal digests, whatever their version and time."""
    assert sealed(tmp_path / "a").digest == sealed(tmp_path / "b", "2.0.0", "2027-01-01T00:00:00Z").digest


@pytest.mark.parametrize("file", ["model.onnx", "plots/a.png"])
def test_a_changed_byte_is_refused_with_the_file_name(tmp_path: Path, file: str) -> None:
    """A changed byte in a file is refused, and the audit names the file."""
    manifest = sealed(tmp_path)
    content = bytearray((tmp_path / file).read_bytes())
    content[1] ^= 1
    (tmp_path / file).write_bytes(content)
    with pytest.raises(IntegrityError, match=file):
        audit(tmp_path, manifest)


def test_any_changed_byte_of_the_manifest_is_refused(tmp_path: Path) -> None:
    """A change of any byte of the manifest, be it a digit, a space or the format number, is refused."""
    sealed(tmp_path)
    content = (tmp_path / MANIFEST).read_bytes()
    for position in range(0, len(content), 7):
        changed = bytearray(content)
        changed[position] ^= 1
        (tmp_path / MANIFEST).write_bytes(changed)
        with pytest.raises(BundleError, match=MANIFEST):
            read_manifest(tmp_path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    """A missing file is refused, and the audit names it."""
    manifest = sealed(tmp_path)
    (tmp_path / "model.onnx").unlink()
    with pytest.raises(IntegrityError, match=r"model\.onnx: named in the manifest, but missing"):
        audit(tmp_path, manifest)


def test_a_file_that_the_manifest_does_not_name_is_refused(tmp_path: Path) -> None:
    """A file that the manifest does not name is refused."""
    manifest = sealed(tmp_path)
    (tmp_path / "extra.py").write_text("x")
    with pytest.raises(IntegrityError, match=r"extra\.py: not named"):
        audit(tmp_path, manifest)


def test_a_symbolic_link_out_of_the_bundle_is_refused(tmp_path: Path) -> None:
    """A link that leads out of the bundle is refused although the file behind it is what the manifest says.

    A link that stays inside, as in a volume of Kubernetes, is followed.
    """
    folder = tmp_path / "bundle"
    manifest = sealed(folder)
    outside = tmp_path / "elsewhere"
    outside.mkdir()
    (folder / "model.onnx").replace(outside / "model.onnx")
    (folder / "model.onnx").symlink_to(outside / "model.onnx")
    with pytest.raises(IntegrityError, match=r"model\.onnx: a symbolic link that leads out of the bundle"):
        audit(folder, manifest)
    (folder / "model.onnx").unlink()
    (outside / "model.onnx").replace(folder / "plots" / "b")
    (folder / "model.onnx").symlink_to(folder / "plots" / "b")
    with pytest.raises(IntegrityError, match=r"plots/b: not named"):
        audit(folder, manifest)


def test_a_newer_format_is_refused_with_a_remedy(tmp_path: Path) -> None:
    """A newer format is refused with advice, even if the rest of the manifest cannot be read."""
    (tmp_path / MANIFEST).write_text(json.dumps({"format": FORMAT + 1, "tensors": []}))
    with pytest.raises(BundleFormatError, match="upgrade orris"):
        read_manifest(tmp_path)


def test_a_folder_without_a_manifest_is_no_bundle(tmp_path: Path) -> None:
    """A folder without a manifest is refused as no bundle."""
    with pytest.raises(BundleError, match="no Orris bundle"):
        read_manifest(tmp_path)


def test_sealing_needs_the_model_file(tmp_path: Path) -> None:
    """A bundle without a model file cannot be sealed."""
    with pytest.raises(BundleError, match=r"model\.onnx is missing"):
        seal(
            tmp_path,
            name="m",
            version="1.0.0",
            created="",
            orris="",
            model_file="model.onnx",
            schema=SCHEMA,
            verdict=VERDICT,
            golden=Golden(()),
            metrics={},
            provenance=Provenance("", 0),
        )


def test_a_bundle_of_an_older_format_is_loaded_with_its_own_contract() -> None:
    """A bundle of format 1 is read with that format's rules for text and refuses unseen values."""
    folder = Path(__file__).parent / "bundles" / "format-1"
    manifest = read_manifest(folder)
    audit(folder, manifest)
    assert (manifest.format, manifest.schema.reading) == (1, Reading())
    model = orris.load(folder)
    row = {"age": 30, "town": "Lima", "member": True, "rooms": 2.0}
    lima, missing = model.predict([row, row | {"town": None}])
    assert [lima, missing] == pytest.approx([87.99902431503209, 76.27917910754041])
    assert model.predict([row | {"town": " Lima"}, row | {"town": "NA"}]).tolist() == [lima, missing]
    for change in ({"age": 30.5}, {"member": None}):
        with pytest.raises(RowError, match="the fitted model takes no"):
            model.predict([row | change])
