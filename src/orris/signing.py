"""Signatures of bundles with an elliptic-curve key pair, by the ``model-signing`` library (OpenSSF Model Signing).

A signature (``model.sig``, a Sigstore bundle) covers every file of the bundle, the manifest included, and lies beside
them. It is an addition: a bundle can be signed before it is published, or afterwards through
``Store.attach_signature``. Verifying is part of the audit that comes before a model is constructed. Keys are PEM files
(P-256, P-384 or P-521).
"""

from __future__ import annotations

import contextlib
import importlib
import io
from pathlib import Path
from types import ModuleType
from typing import Any

from orris import bundle
from orris.bundle import MANIFEST, SIGNATURE
from orris.errors import BundleError, MissingExtraError, SignatureError


def sign(folder: Path, private_key: Path, *, signature: Path | None = None) -> Path:
    """Sign the bundle at ``folder``; the signature is written to ``signature`` (default: ``model.sig`` in the folder).

    For a published version give ``signature`` a place of its own, then hand that to ``Store.attach_signature``.

    Raises:
        BundleError: ``folder`` is no bundle, or not what its manifest says; a damaged bundle is not signed.
        SignatureError: It is signed already, or the key cannot be read or is of another kind.
        MissingExtraError: The extra ``sign`` is not installed.
    """
    signing = _library("signing")
    bundle.audit(folder, bundle.read_manifest(folder))
    target = folder / SIGNATURE if signature is None else signature
    if target.exists():
        raise SignatureError(f"{target}: there is a signature already; remove it to sign again")
    try:
        config = signing.Config().use_elliptic_key_signer(private_key=_readable(private_key))
    except (ValueError, TypeError, AttributeError) as error:  # the last for a key of another kind
        raise SignatureError(f"{private_key}: not an unencrypted elliptic-curve private key in PEM: {error}") from error
    temporary = target.with_name(f".{target.name}.tmp")
    try:
        temporary.unlink(missing_ok=True)
        config.set_hashing_config(_hashing()).sign(folder, temporary)
        temporary.replace(target)
    except (ValueError, OSError) as error:
        raise SignatureError(f"{folder}: could not be signed: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)
    return target


def verify(folder: Path, public_key: Path, *, signature: Path | None = None) -> None:
    """Check that the bundle at ``folder`` is, file by file, what the owner of ``public_key`` signed.

    Raises:
        BundleError: ``folder`` is no bundle.
        SignatureError: The signature is missing, of another key, or a file was changed, added or removed since; names
            the file.
        MissingExtraError: The extra ``sign`` is not installed.
    """
    verifying = _library("verifying")
    _require_bundle(folder)
    source = folder / SIGNATURE if signature is None else signature
    if not source.is_file():
        raise SignatureError(f"{source}: not found, so the bundle is not signed; sign it with  orris models sign")
    try:
        config = verifying.Config().use_elliptic_key_verifier(public_key=_readable(public_key))
    except (ValueError, TypeError, AttributeError) as error:  # the last for a key of another kind
        raise SignatureError(f"{public_key}: not an elliptic-curve public key in PEM: {error}") from error
    config.set_hashing_config(_hashing())
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # the library prints warnings, which would spoil --json
            config.verify(folder, source)
    except Exception as error:  # the library lets its own libraries' errors through
        raise SignatureError(
            f"{folder}: the signature does not verify with {public_key.name}:"
            f" {str(error).strip() or 'another key made it'}"
        ) from error


def _hashing() -> Any:
    """Every file but the signature, by sha256; the library's own default would leave git's files out."""
    return _library("hashing").Config().set_ignored_paths(paths=[SIGNATURE], ignore_git_paths=False)


def _library(module: str) -> ModuleType:
    try:
        return importlib.import_module(f"model_signing.{module}")
    except ImportError:
        raise MissingExtraError("sign", "signing and verifying models") from None


def _require_bundle(folder: Path) -> None:
    if not (folder / MANIFEST).is_file():
        raise BundleError(f"{folder / MANIFEST}: not found, so this folder is no Orris bundle")


def _readable(key: Path) -> Path:
    try:
        key.read_bytes()
    except OSError as error:
        raise SignatureError(f"{key}: the key could not be read: {error.strerror}") from error
    return key
