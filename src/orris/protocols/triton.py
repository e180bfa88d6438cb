"""Triton's extensions of the Open Inference Protocol: what its clients and load tools read before they infer.

A model's configuration, its statistics, and the status of shared memory, which is none. What Triton has beside these is
answered 501 with a sentence.

Source: Triton's docs/protocol/extension_model_configuration.md, extension_statistics.md and
extension_shared_memory.md, and its ``model_config.proto``.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import msgspec

from orris.errors import NotFoundError
from orris.protocols import descriptions
from orris.protocols.openinference import error_document, outputs_of, platform, properties
from orris.protocols.tensors import NO_SHARED_MEMORY, TensorSpec, input_specs
from orris.serving.catalog import Catalog, Live
from orris.serving.engine import Engine
from orris.serving.exchange import Headers, Reply
from orris.serving.operations import acting, json_object, of, reading
from orris.serving.protocol import Absent, Get, JsonObject, Post, Protocol, Target
from orris.telemetry.metrics import Metrics

BACKEND = "orris"

NO_GENERATION = "generation is not offered: this server answers rows of tables; POST …/infer"
NO_TRACE_SETTINGS = "trace settings are not offered over the protocol: the server's OTEL_* variables set them"
NO_LOG_SETTINGS = "log settings are not offered over the protocol: the server's ORRIS_LOG_* variables set them"
"""The answers to what Triton offers and this server does not; see ``tensors`` for shared memory."""

_MEMORIES = ("systemsharedmemory", "cudasharedmemory")


def configuration(engine: Engine) -> JsonObject:
    """A model's configuration, as ``ModelConfig`` has it.

    The first dimension of every tensor is the batch, so ``dims`` are without it.
    """
    manifest = engine.manifest
    columns = zip(input_specs(manifest.schema), manifest.schema.columns, strict=True)
    facts = {"model_version": manifest.version, **properties(engine)}
    return {
        "name": manifest.name,
        "platform": platform(engine),
        "backend": BACKEND,
        "max_batch_size": engine.reader.max_rows,
        "input": [{**_tensor(spec), "optional": column.missing} for spec, column in columns],
        "output": [_tensor(spec) for spec in outputs_of(engine)],
        "default_model_filename": manifest.model_file,
        "parameters": {name: {"string_value": value} for name, value in facts.items()},
    }


def _tensor(spec: TensorSpec) -> JsonObject:
    datatype = "STRING" if spec.datatype == "BYTES" else spec.datatype
    return {"name": spec.name, "data_type": f"TYPE_{datatype}", "dims": list(spec.shape[1:])}


def statistics(catalog: Catalog, metrics: Metrics, name: str = "", version: str = "") -> list[JsonObject]:
    """The statistics of the loaded versions, over all workers; of all models, of one, or of one of its versions.

    Requests that shared a call of the model are one execution. Queueing, input and output are not measured by model:
    their counts are 0. Batch sizes are a histogram of the metrics.

    Raises:
        NotFoundError: No such model or version is loaded.
    """
    total = metrics.total()
    rows: dict[tuple[str, str], float] = {}
    for (model, of_version, _), n in total.counters.get("orris_predictions", []):
        rows[model, of_version] = rows.get((model, of_version), 0) + n
    calls = {
        (labels[0], labels[1]): (sum(counts), seconds)
        for labels, counts, seconds in total.histograms.get("orris_inference_duration_seconds", [])
    }
    return [
        _of_version(key, int(rows.get(key, 0)), *calls.get(key, (0, 0.0)))
        for live in _wanted(catalog, name, version)
        for key in [(live.engine.manifest.name, live.version)]
    ]


def _wanted(catalog: Catalog, name: str, version: str) -> Iterable[Live]:
    if not name:
        if version:
            raise NotFoundError("a version of no model: name the model as well")
        return [live for slot in catalog for live in slot.loaded()]
    slot = catalog.slot(name)
    return [slot.version(version)] if version else list(slot.loaded())


def _of_version(key: tuple[str, str], n_rows: int, n_calls: int, seconds: float) -> JsonObject:
    computed, nothing = {"count": n_calls, "ns": round(seconds * 1e9)}, {"count": 0, "ns": 0}
    return {
        "name": key[0],
        "version": key[1],
        "inference_count": n_rows,
        "execution_count": n_calls,
        "inference_stats": {
            "success": computed,
            "fail": nothing,
            "queue": nothing,
            "compute_input": nothing,
            "compute_infer": computed,
            "compute_output": nothing,
            "cache_hit": nothing,
            "cache_miss": nothing,
        },
        "batch_stats": [],
    }


def no_region(name: str) -> NotFoundError:
    """The error of a question about a region of shared memory: there is none."""
    return NotFoundError(f"there is no shared memory region '{name[:100]}': {NO_SHARED_MEMORY}")


# The routes


def extensions(metrics: Metrics) -> Protocol:
    """The record of the routes; ``metrics`` is where inferences are counted."""
    model = "/v2/models/{model}"
    version = f"{model}/versions/{{version}}"
    counted = partial(_statistics, metrics)
    return Protocol(
        "Triton's extensions",
        (
            *(Get(f"{base}/config", operation=_CONFIGURATION, answer=_configuration) for base in (model, version)),
            *(Get(f"{base}/stats", operation=_STATISTICS, answer=counted) for base in ("/v2/models", model, version)),
            *(Get(f"/v2/{memory}/status", operation=_NO_REGIONS, answer=_no_regions) for memory in _MEMORIES),
            *(
                Get(f"/v2/{memory}/region/{{name}}/status", operation=_REGION, answer=_no_region)
                for memory in _MEMORIES
            ),
            *(
                Post(f"/v2/{memory}/{path}", operation=_UNREGISTER, answer=_unregister)
                for memory in _MEMORIES
                for path in ("unregister", "region/{name}/unregister")
            ),
            *(Absent(f"/v2/{memory}/region/{{name}}/register", reason=NO_SHARED_MEMORY) for memory in _MEMORIES),
            *(
                Absent(f"{base}/{path}", reason=NO_GENERATION)
                for base in (model, version)
                for path in ("generate", "generate_stream")
            ),
            *(Absent(f"{base}/trace/setting", reason=NO_TRACE_SETTINGS) for base in ("/v2", model)),
            Absent("/v2/logging", reason=NO_LOG_SETTINGS),
        ),
        prefix="/v2",
        errors=error_document,
    )


def _json(document: Any) -> Reply:
    return Reply(200, msgspec.json.encode(document))


def _configuration(target: Target, _headers: Headers, _request_id: str) -> Reply:
    return _json(configuration(target.live().engine))


def _statistics(metrics: Metrics, target: Target, _headers: Headers, _request_id: str) -> Reply:
    return _json({"model_stats": statistics(target.catalog, metrics, target.model, target.version)})


def _no_regions(_target: Target, _headers: Headers, _request_id: str) -> Reply:
    return _json([])


def _no_region(target: Target, _headers: Headers, _request_id: str) -> Reply:
    raise no_region(target.name)


async def _unregister(_target: Target, _body: bytes, _headers: Headers, _request_id: str) -> Reply:
    """There is nothing to unregister: done. Clients clear what others may have left before they begin."""
    return Reply(200, b"")


_TAG = descriptions.OPEN_INFERENCE
_ERROR = json_object(("error",), error={"type": "string"})
_CONFIGURATION = reading("A model's configuration (Triton)", _TAG, json_object(), status_404=_ERROR, status_503=_ERROR)
_STATISTICS = reading("What was inferred (Triton)", _TAG, json_object(), status_404=_ERROR)
_NO_REGIONS = reading(
    "The regions of shared memory: none (Triton)",
    _TAG,
    of("application/json", {"type": "array", "items": {"type": "object"}}),
)
_REGION = reading("A region of shared memory: there is none (Triton)", _TAG, json_object(), status_404=_ERROR)
_UNREGISTER = acting("Forget regions of shared memory: there are none (Triton)", _TAG, None, {})
