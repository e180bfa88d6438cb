"""Which versions are live."""

from __future__ import annotations

from dataclasses import dataclass

from orris.serving.engine import Engine
from orris.telemetry.metrics import Metrics, ModelCounts


@dataclass(slots=True)
class Live:
    """A version that answers, and where its answers are counted. ``ready`` goes down first when the server stops."""

    engine: Engine
    counts: ModelCounts
    ready: bool = True

    @classmethod
    def of(cls, engine: Engine, metrics: Metrics) -> Live:
        """A version that starts to answer."""
        manifest = engine.manifest
        info = {"format": manifest.model_file.removeprefix("model."), "strategy": manifest.verdict.strategy, "digest": manifest.digest[:12]}
        return cls(engine, metrics.model(manifest.name, manifest.version, engine.text_labels, info))
