"""Tests of signatures: made with a private key, verified with its public key, invalid for anything else."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from orris import bundle
from orris.errors import BundleError, IntegrityError, MissingExtraError, SignatureError, StoreError
from orris.signing import sign, verify
from orris.store import Store
from tests.store.sealing import MakeBundle


def _pair(folder: Path, name: str, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> tuple[Path, Path]:
    private, public = folder / f"{name}.key", folder / f"{name}.pub"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return private, public


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    """Return a private and a public key that belong together."""
    return _pair(tmp_path, "release", ec.generate_private_key(ec.SECP256R1()))


def test_signed_bundle_verifies(make_bundle: MakeBundle, keys: tuple[Path, Path]) -> None:
    """A signature lies beside the manifest, verifies, and leaves the bundle sound."""
    folder = make_bundle("1.0.0")
    assert sign(folder, keys[0]) == folder / "model.sig"
    verify(folder, keys[1])
    bundle.audit(folder, bundle.read_manifest(folder))


@pytest.mark.parametrize("file", ["model.onnx", "manifest.json", "plots/confusion.svg"])
def test_changed_byte_is_refused_with_the_file(make_bundle: MakeBundle, keys: tuple[Path, Path], file: str) -> None:
    """A bundle with a changed file, the manifest included, does not verify, and the error names the file."""
    folder = make_bundle("1.0.0")
    sign(folder, keys[0])
    (folder / file).write_bytes((folder / file).read_bytes() + b" ")
    with pytest.raises(SignatureError, match=file):
        verify(folder, keys[1])


def test_added_and_removed_files_are_refused(make_bundle: MakeBundle, keys: tuple[Path, Path]) -> None:
    """A file added or removed after signing, one of git's included, is named by the error."""
    folder = make_bundle("1.0.0")
    sign(folder, keys[0])
    (folder / ".gitattributes").write_text("* -text")
    with pytest.raises(SignatureError, match="gitattributes"):
        verify(folder, keys[1])
    (folder / ".gitattributes").unlink()
    (folder / "report.md").unlink()
    with pytest.raises(SignatureError, match=r"report\.md"):
        verify(folder, keys[1])


def test_other_key_is_refused(make_bundle: MakeBundle, keys: tuple[Path, Path], tmp_path: Path) -> None:
    """A signature verifies with the signer's key alone."""
    folder = make_bundle("1.0.0")
    sign(folder, keys[0])
    _, stranger = _pair(tmp_path, "stranger", ec.generate_private_key(ec.SECP256R1()))
    with pytest.raises(SignatureError, match=r"does not verify with stranger\.pub"):
        verify(folder, stranger)


def test_signature_of_another_bundle_is_refused(make_bundle: MakeBundle, keys: tuple[Path, Path]) -> None:
    """A signature cannot be carried over to another version."""
    first, second = make_bundle("1.0.0"), make_bundle("1.1.0")
    (second / "model.sig").write_bytes(sign(first, keys[0]).read_bytes())
    with pytest.raises(SignatureError, match=r"manifest\.json"):
        verify(second, keys[1])


def test_missing_and_malformed_signatures_are_refused(make_bundle: MakeBundle, keys: tuple[Path, Path]) -> None:
    """A bundle without a signature, or with a malformed one, does not verify."""
    folder = make_bundle("1.0.0")
    with pytest.raises(SignatureError, match="not signed"):
        verify(folder, keys[1])
    (folder / "model.sig").write_text("{}")
    with pytest.raises(SignatureError, match="does not verify"):
        verify(folder, keys[1])


def test_signing_twice_is_refused(make_bundle: MakeBundle, keys: tuple[Path, Path]) -> None:
    """An existing signature is not replaced unless that is requested."""
    folder = make_bundle("1.0.0")
    sign(folder, keys[0])
    with pytest.raises(SignatureError, match="a signature already"):
        sign(folder, keys[0])


def test_unusable_keys_are_named(make_bundle: MakeBundle, keys: tuple[Path, Path], tmp_path: Path) -> None:
    """A missing file, another kind of key and the wrong half of a pair are errors that name the file."""
    folder = make_bundle("1.0.0")
    other, _ = _pair(tmp_path, "rsa", rsa.generate_private_key(65537, 2048))
    for key in (tmp_path / "none.key", other, keys[1]):
        with pytest.raises(SignatureError, match=key.name):
            sign(folder, key)
    sign(folder, keys[0])
    for key in (tmp_path / "none.pub", keys[0]):
        with pytest.raises(SignatureError, match=key.name):
            verify(folder, key)


def test_damaged_bundle_is_not_signed(make_bundle: MakeBundle, keys: tuple[Path, Path], tmp_path: Path) -> None:
    """A bundle that differs from its manifest is not signed, nor is a folder without a manifest."""
    folder = make_bundle("1.0.0")
    (folder / "model.onnx").write_bytes(b"mod3l")
    with pytest.raises(IntegrityError, match=r"model\.onnx"):
        sign(folder, keys[0])
    with pytest.raises(BundleError, match="no Orris bundle"):
        verify(tmp_path, keys[1])


def test_published_version_is_signed_afterwards(
    store: Store, make_bundle: MakeBundle, cache: Path, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    """A published version can be signed later and verified after fetching; a second signature is refused."""
    reference = store.publish(make_bundle("1.0.0"))
    store.attach_signature(reference, sign(store.fetch(reference, cache), keys[0], signature=tmp_path / "first.sig"))
    verify(store.fetch(reference, cache), keys[1])
    stranger, _ = _pair(tmp_path, "stranger", ec.generate_private_key(ec.SECP256R1()))
    second = sign(store.fetch(reference, cache), stranger, signature=tmp_path / "second.sig")
    with pytest.raises(StoreError, match="signed already"):
        store.attach_signature(reference, second)
    verify(store.fetch(reference, tmp_path / "elsewhere"), keys[1])


def test_missing_library_names_the_extra(
    make_bundle: MakeBundle, keys: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without model-signing the error names the extra to install."""
    for module in ("model_signing", "model_signing.signing", "model_signing.verifying"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=r"install .*\[sign\]"):
        sign(make_bundle("1.0.0"), keys[0])
    with pytest.raises(MissingExtraError, match=r"install .*\[sign\]"):
        verify(make_bundle("1.1.0"), keys[1])
