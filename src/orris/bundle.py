"""The model bundle: an immutable directory with everything that a server needs, and nothing that can execute.

Writing: a stage fills a folder with files (``model.onnx``, ``report.html``, …); ``seal`` then writes ``manifest.json``
as the last file. Reading is three visible steps: ``read_manifest`` (inspect), ``audit`` (digests, format number;
signatures in ``signing.py``), and then the serving engine constructs the model.

To change the format: raise ``FORMAT``, keep reading the old one, and add a bundle in the old format to
``tests/bundles/``.

Format 2: there may be a ``front_file``; the schema says by which rules the training table's text was read
(``reading``), what the fitted pipeline takes beyond what training saw, and what was declared. A bundle of format 1 that
was trained from a text file is read by the rules of its time, see ``contract``.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from orris.atomic import write_atomically
from orris.errors import BundleError, BundleFormatError, IntegrityError
from orris.schema import Reading, Schema
from orris.schema.profile import Profile, Tally
from orris.verdict import FrontFile, Mixture, ModelFile, Precision, Verdict

FORMAT = 2
MANIFEST = "manifest.json"
SIGNATURE = "model.sig"
PROFILE = "profile.json"
SINGLE = "single.onnx"
"""The model of tables of float32, where it is another than ``model.onnx`` (``Manifest.float32``)."""
DOUBLE = "double.onnx"
"""The model of tables of float64, where it is another than ``model.onnx`` (``Manifest.float64``)."""
_CHECKSUM = re.compile(rb'("checksum": ")([0-9a-f]{64})(")')
_NO_CHECKSUM = "0" * 64
_READING_OF_FORMAT_1 = Reading(trim=True, missing=("", "N/A", "NA", "NULL", "NaN", "nan", "null"))


class Golden(msgspec.Struct, frozen=True, omit_defaults=True):
    """Encoded rows (``None`` for missing) and the fitted pipeline's answers to them; readiness means reproducing these.

    Attributes:
        rows: ``(n_rows, n_columns)``.
        labels: Classification: position in ``Schema.labels`` per row.
        probabilities: Classification with ``predict_proba``: ``(n_rows, n_classes)``.
        values: Regression: the value per row.
        scores: Outlier detection and clustering: the score per row, where the model has one.
    """

    rows: tuple[tuple[float | None, ...], ...]
    labels: tuple[int, ...] = ()
    probabilities: tuple[tuple[float, ...], ...] = ()
    values: tuple[float, ...] = ()
    scores: tuple[float, ...] = ()

    def array(self) -> npt.NDArray[np.float64]:
        """The rows as float64 ``(n_rows, n_columns)``, missing values as NaN."""
        return np.array(self.rows, dtype=np.float64)


class Provenance(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where the model came from.

    Attributes:
        data_digest: sha256 of the training data (encoded rows and target).
        n_rows: Rows it was fitted on.
        table: File name of the table, without its folder; empty for data handed over in memory.
        git_commit: Commit of the working tree, with ``+dirty`` if it had changes; empty outside a repository.
        python: Python's version.
        libraries: Versions of the libraries that fitted and converted it.
        parameters: Everything that was asked for: preset, seed, model parameters, …
    """

    data_digest: str
    n_rows: int
    table: str = ""
    git_commit: str = ""
    python: str = ""
    libraries: dict[str, str] = {}
    parameters: dict[str, Any] = {}


class Manifest(msgspec.Struct, frozen=True):
    """The bundle's table of contents; see the attributes' own types for what they hold.

    Attributes:
        format: Number of the bundle format.
        checksum: sha256 of the manifest file itself, with this value as zeros.
        digest: sha256 over what determines the answers (schema, model files, golden rows): equal for equal data,
            settings and seed, whatever the version and the time.
        created: UTC, ISO 8601.
        model_file: ``model.onnx``, ``model.skops`` for a model served by scikit-learn, or a library's own model file.
        front_file: ``front.skops`` where scikit-learn runs the first steps and ``model.onnx`` holds the rest.
        examples: A few training rows with the served model's answers, for pages that show the model; empty in older
            bundles.
        float32: What answers tables of float32 from Python, where the pipeline was fitted on float64.
        float64: The model for tables of float64 from Python, where the pipeline was fitted on float32.
        others: Where other types of numbers may stand in a table from Python; ``None`` in older bundles, which were not
            examined.
        further: Golden rows of ``single.onnx`` and ``double.onnx``, by file; there are none in older bundles.
        files: sha256 of every other file of the bundle, by relative POSIX path.
    """

    format: int
    checksum: str
    name: str
    version: str
    created: str
    orris: str
    digest: str
    model_file: ModelFile
    schema: Schema
    verdict: Verdict
    golden: Golden
    metrics: dict[str, float]
    provenance: Provenance
    files: dict[str, str]
    front_file: FrontFile = ""
    examples: Golden = Golden(())
    float32: Precision = ""
    float64: Precision = ""
    others: dict[str, Mixture] | None = None
    further: dict[str, Golden] = {}


class _Format(msgspec.Struct):
    format: int


# Made once, on one thread: msgspec reads a type's fields when it first meets it, and versions are listed on several
# threads.
_FORMAT = msgspec.json.Decoder(_Format)
_MANIFEST = msgspec.json.Decoder(Manifest)


def seal(
    folder: Path,
    *,
    name: str,
    version: str,
    created: str,
    orris: str,
    model_file: ModelFile,
    front_file: FrontFile = "",
    schema: Schema,
    verdict: Verdict,
    golden: Golden,
    examples: Golden = Golden(()),  # noqa: B008 (frozen)
    float32: Precision = "",
    float64: Precision = "",
    others: Mapping[str, Mixture] | None = None,
    further: Mapping[str, Golden] | None = None,
    metrics: Mapping[str, float],
    provenance: Provenance,
) -> Manifest:
    """Write ``manifest.json`` over the files that ``folder`` holds; the folder is a bundle from then on.

    Raises:
        BundleError: The model file is not there.
    """
    # As they will be read: an integer where a float belongs comes back as a float, and the digest must not notice.
    schema = msgspec.json.decode(msgspec.json.encode(schema), type=Schema)
    golden = msgspec.json.decode(msgspec.json.encode(golden), type=Golden)
    golden_further = msgspec.json.decode(msgspec.json.encode(further or {}), type=dict[str, Golden])
    files = {path: _sha256(folder / path) for path in _listing(folder) if path not in {MANIFEST, SIGNATURE}}
    for file in filter(None, (model_file, front_file, *golden_further)):
        if file not in files:
            raise BundleError(f"{folder}: {file} is missing, so there is nothing to seal")
    manifest = Manifest(
        format=FORMAT,
        checksum=_NO_CHECKSUM,
        name=name,
        version=version,
        created=created,
        orris=orris,
        digest=_digest(schema, golden, _model_digest(files, model_file, front_file), _further(files, golden_further)),
        model_file=model_file,
        front_file=front_file,
        schema=schema,
        verdict=verdict,
        golden=golden,
        examples=examples,
        float32=float32,
        float64=float64,
        others=None if others is None else dict(others),
        further=golden_further,
        metrics=dict(metrics),
        provenance=provenance,
        files=files,
    )
    blank = msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"
    checksum = hashlib.sha256(blank).hexdigest()
    write_atomically(folder / MANIFEST, _CHECKSUM.sub(rb"\g<1>" + checksum.encode() + rb"\g<3>", blank, count=1))
    return msgspec.structs.replace(manifest, checksum=checksum)


def read_manifest(folder: Path) -> Manifest:
    """Inspect: parse and check ``manifest.json`` alone; no other file is opened.

    Raises:
        BundleError: There is no manifest, or it is malformed.
        BundleFormatError: It was written in a newer format.
        IntegrityError: It was changed after it was sealed.
    """
    path = folder / MANIFEST
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise BundleError(f"{path}: not found, so this folder is no Orris bundle") from None
    return parse_manifest(content, str(path))


def parse_manifest(content: bytes, origin: str) -> Manifest:
    """``read_manifest`` for bytes that are at hand already; ``origin`` names them in errors."""
    try:
        written = _FORMAT.decode(content).format
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise IntegrityError(f"{origin}: not a manifest ({error}); fetch or publish the bundle again") from None
    if written > FORMAT:
        raise BundleFormatError(
            f"{origin}: bundle format {written} is newer than this Orris reads (up to {FORMAT}); upgrade orris"
        )
    found = _CHECKSUM.search(content)
    blank = _CHECKSUM.sub(rb"\g<1>" + _NO_CHECKSUM.encode() + rb"\g<3>", content, count=1)
    if found is None or hashlib.sha256(blank).hexdigest().encode() != found.group(2):
        raise IntegrityError(f"{origin}: changed after it was sealed; fetch or publish the bundle again")
    try:
        return _MANIFEST.decode(content)
    except msgspec.DecodeError as error:
        raise BundleError(f"{origin}: {error}") from None


def contract(manifest: Manifest) -> Schema:
    """The schema by which rows are read.

    In format 1, the rules for text were not written down, and were always the same.
    """
    schema = manifest.schema
    suffixes = Path(manifest.provenance.table).suffixes
    if manifest.format > 1 or not {".csv", ".tsv", ".txt"} & set(suffixes):
        return schema
    return msgspec.structs.replace(schema, reading=_READING_OF_FORMAT_1)


def audit(folder: Path, manifest: Manifest) -> None:
    """Audit: every file is there, unchanged, and nothing else is.

    Raises:
        IntegrityError: Names the first file that is missing, changed or unknown.
    """
    home = folder.resolve()
    outside = [path for path in _listing(folder) if not (folder / path).resolve().is_relative_to(home)]
    if outside:
        raise IntegrityError(f"{folder / outside[0]}: a symbolic link that leads out of the bundle")
    present = set(_listing(folder)) - {MANIFEST, SIGNATURE}
    for path, expected in sorted(manifest.files.items()):
        pure = PurePosixPath(path)
        if pure.is_absolute() or ".." in pure.parts:
            raise IntegrityError(f"{folder}: the manifest names '{path}', which is outside the bundle")
        if path not in present:
            raise IntegrityError(f"{folder / path}: named in the manifest, but missing")
        if _sha256(folder / path) != expected:
            raise IntegrityError(f"{folder / path}: its content is not what the manifest says (sha256 differs)")
    unknown = sorted(present - set(manifest.files))
    if unknown:
        raise IntegrityError(f"{folder / unknown[0]}: not named in the manifest")
    nameless = sorted(set(manifest.further) - set(manifest.files))
    if nameless:
        raise IntegrityError(f"{folder / nameless[0]}: the manifest has golden rows of it, but does not list it")
    model = _model_digest(manifest.files, manifest.model_file, manifest.front_file)
    further = _further(manifest.files, manifest.further)
    if _digest(manifest.schema, manifest.golden, model, further) != manifest.digest:
        raise IntegrityError(f"{folder / MANIFEST}: its digest does not match what it describes")


def write_profile(folder: Path, profile: Profile) -> None:
    """Put a profile into a bundle that is being written."""
    write_atomically(folder / PROFILE, msgspec.json.format(msgspec.json.encode(profile), indent=1) + b"\n")


def read_profile(folder: Path, manifest: Manifest) -> Profile | None:
    """The profile of a bundle; ``None`` for one that was written before there were any.

    Raises:
        BundleError: It is malformed, or of another model.
    """
    if PROFILE not in manifest.files:
        return None
    try:
        profile = msgspec.json.decode((folder / PROFILE).read_bytes(), type=Profile)
        Tally(manifest.schema, profile)
    except (OSError, ValueError, msgspec.MsgspecError) as error:  # those of msgspec 0.19 are no ValueErrors
        raise BundleError(f"{folder / PROFILE}: {error}; publish the bundle again") from None
    return profile


def _listing(folder: Path) -> list[str]:
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file() or path.is_symlink()
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _model_digest(files: Mapping[str, str], model_file: str, front_file: str) -> str:
    """Digest of the files that answer: that of the one file, or of both, the front first."""
    return f"{files[front_file]}+{files[model_file]}" if front_file else files[model_file]


def _further(files: Mapping[str, str], golden: Mapping[str, Golden]) -> dict[str, Any]:
    """What the digest holds of further model files; nothing for older bundles, which have no golden rows of them."""
    return {file: {"golden": msgspec.to_builtins(rows), "model": files[file]} for file, rows in golden.items()}


def _digest(schema: Schema, golden: Golden, model_sha256: str, further: Mapping[str, Any]) -> str:
    described = {"golden": msgspec.to_builtins(golden), "model": model_sha256, "schema": msgspec.to_builtins(schema)}
    if further:
        described["further"] = further
    return hashlib.sha256(msgspec.json.encode(described, order="sorted")).hexdigest()
