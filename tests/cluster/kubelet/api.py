"""The API server over HTTP: reading, patching, and following a kind of object by list and watch."""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import yaml

Object = dict[str, Any]

STRATEGIC = "application/strategic-merge-patch+json"
MERGE = "application/merge-patch+json"
JSON = "application/json"
RETRY_SECONDS = 0.5


class Api:
    """A client of the API server with the credentials of a kubeconfig whose certificates are files."""

    def __init__(self, kubeconfig: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text("utf-8"))
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        context = ssl.create_default_context(cafile=kubeconfig.parent / cluster["certificate-authority"])
        context.load_cert_chain(kubeconfig.parent / user["client-certificate"], kubeconfig.parent / user["client-key"])
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=50)
        self._client = httpx.AsyncClient(
            base_url=cluster["server"], verify=context, trust_env=False, timeout=20, limits=limits
        )

    async def request(self, method: str, path: str, body: Object | None = None, kind: str = JSON) -> Object | None:
        """One request; ``None`` if the object is not there (404) or is another by now (409).

        Raises:
            httpx.HTTPStatusError: Any other answer with a status from 400 on; its message holds the server's.
        """
        content = None if body is None else json.dumps(body).encode()
        answer = await self._client.request(method, path, content=content, headers={"content-type": kind})
        if answer.status_code in {404, 409}:
            return None
        if answer.is_error:
            message = f"{method} {path}: {answer.status_code} {answer.text[:500]}"
            raise httpx.HTTPStatusError(message, request=answer.request, response=answer)
        found: Object = answer.json()
        return found

    async def get(self, path: str) -> Object | None:
        """An object or a list, or ``None``."""
        return await self.request("GET", path)

    async def follow(self, path: str) -> AsyncIterator[tuple[str, Object]]:
        """Every object of a collection, then every change, for ever: ``(ADDED|MODIFIED|DELETED, object)``.

        What changed while a watch was interrupted is found by a new list.
        """
        known: dict[str, Object] = {}
        while True:
            try:
                listed = await self.get(path) or {"items": [], "metadata": {}}
                found = {each["metadata"]["uid"]: each for each in listed["items"]}
                for uid in known.keys() - found.keys():
                    yield "DELETED", known.pop(uid)
                for uid, each in found.items():
                    yield "MODIFIED" if uid in known else "ADDED", each
                known = found
                async for change, each in self._watch(path, listed["metadata"].get("resourceVersion", "")):
                    if change == "DELETED":
                        known.pop(each["metadata"]["uid"], None)
                    else:
                        known[each["metadata"]["uid"]] = each
                    yield change, each
            except (httpx.HTTPError, OSError) as error:
                print(f"following {path}: {error!r}", file=sys.stderr, flush=True)  # noqa: T201
                await asyncio.sleep(RETRY_SECONDS)

    async def _watch(self, path: str, version: str) -> AsyncIterator[tuple[str, Object]]:
        parameters = {"watch": "1", "resourceVersion": version, "allowWatchBookmarks": "true"}
        async with self._client.stream("GET", path, params=parameters, timeout=httpx.Timeout(20, read=None)) as stream:
            if stream.is_error:
                return
            async for line in stream.aiter_lines():
                event = json.loads(line)
                if event["type"] == "ERROR":  # usually 410: the version is too old, and a new list is needed
                    return
                if event["type"] != "BOOKMARK":
                    yield event["type"], event["object"]

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()
