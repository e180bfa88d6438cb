"""The record of the pages that FastAPI answers (``application``), readable without importing it."""

from __future__ import annotations

from orris.serving.operations import PROBLEM, json_object, reading
from orris.serving.protocol import Credential, Page, Protocol

DOCUMENTATION = frozenset({"/openapi.json", "/docs", "/docs/start.js", "/docs/assets/{name}"})
"""Templates that do not exist where ``ORRIS_DOCS`` is off."""

PAGES = Protocol(
    "pages",
    (
        Page(
            "/api/v1/model/info",
            operation=reading(
                "What is loaded: the schema, the metrics, the parity verdict, and where the model came from",
                "model",
                json_object(),
                status_503=PROBLEM,
            ),
        ),
        Page("/api/v1/", operation=reading("The routes", "model", json_object(), status_503=PROBLEM)),
        Page("/openapi.json", Credential.OPENAPI),
        Page("/docs", Credential.NONE),
        Page("/docs/start.js", Credential.NONE),
        Page("/docs/assets/{name}", Credential.NONE),
    ),
)
