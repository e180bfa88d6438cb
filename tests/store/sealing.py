"""Small sealed bundles, for the tests and the scripts that they run in other processes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from orris import bundle
from orris.bundle import Golden, Provenance
from orris.schema import Column, Kind, Schema
from orris.verdict import Verdict

MakeBundle = Callable[..., Path]
"""``(version, name="iris", content=b"model")`` -> the folder of a small sealed bundle."""

_SCHEMA = Schema((Column("length", Kind.NUMBER, low=0.0, high=1.0),), "species", "classification", ("a", "b"))
_VERDICT = Verdict("exact", "linear", 10_000, {"training": 10_000}, 0, 0.0, 1e-12, 6.0, 200.0)


def seal_bundle(folder: Path, name: str, version: str, content: bytes) -> Path:
    """Write a bundle whose model file holds ``content``; equal arguments give equal bytes."""
    (folder / "plots").mkdir(parents=True)
    (folder / "model.onnx").write_bytes(content)
    (folder / "report.md").write_text(f"# {name} {version}\n")
    (folder / "plots" / "confusion.svg").write_text("<svg/>")
    bundle.seal(
        folder,
        name=name,
        version=version,
        created="2026-11-21T03:15:00Z",
        orris="0.1.0",
        model_file="model.onnx",
        schema=_SCHEMA,
        verdict=_VERDICT,
        golden=Golden(rows=((0.5,),), labels=(0,), probabilities=((1.0, 0.0),)),
        metrics={"accuracy": 0.97},
        provenance=Provenance(data_digest="0" * 64, n_rows=150),
    )
    return folder
