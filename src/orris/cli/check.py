"""``orris check``: is this environment ready?"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orris.cli.terminal import JsonOption, StoreOption, print_json, store_url

if TYPE_CHECKING:
    from orris.delivery.check import Finding

EXAMPLES = "Examples:  orris check   ·   orris check store-read registry --image ghcr.io/orris-ml/orris --json"
_COLOURS = {"ok": "green", "failed": "red", "unused": "bright_black"}


def check(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[CHECK]...", help="Only these; being unused is a failure then.")
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="NAME, NAME@VERSION or NAME:ALIAS to resolve; may be repeated.")
    ] = None,
    image: Annotated[str, typer.Option(help="Image whose registry is asked.")] = "",
    prometheus: Annotated[str, typer.Option(help="URL of Prometheus.")] = "",
    namespace: Annotated[str, typer.Option(help="Namespace of the secrets.")] = "",
    secret: Annotated[
        list[str] | None, typer.Option(help="Secret that the cluster has to hold; may be repeated.")
    ] = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check Python, extras, store, models, DVC, cluster, Helm, registry, OTLP endpoint and Prometheus.

    The exit code is 1 if a check fails.
    """
    from orris.delivery.check import CHECKS, Environment  # noqa: PLC0415
    from orris.delivery.check import check as run  # noqa: PLC0415

    unknown = [name for name in names or [] if name not in CHECKS]
    if unknown:
        raise typer.BadParameter(f"there is no check '{unknown[0]}'; there are {', '.join(CHECKS)}")
    url = store_url(store)
    environment = Environment(
        Path.cwd(),
        os.environ,
        lambda: _read(url),
        lambda: _write(url),
        lambda: _resolve(url, model or []),
        image=image,
        prometheus=prometheus,
        namespace=namespace,
        secrets=tuple(secret or ()),
    )
    _print(run(environment, names or ()), as_json)


def _print(findings: list[Finding], as_json: bool) -> None:
    ready = all(finding.state != "failed" for finding in findings)
    if as_json:
        print_json({"ready": ready, "findings": findings})
    else:
        for finding in findings:
            mark = {"ok": "✓", "failed": "✗", "unused": "-"}[finding.state]
            detail = f"not used: {finding.detail}" if finding.state == "unused" else finding.detail
            typer.echo(typer.style(f"{mark} {finding.name:<12}", fg=_COLOURS[finding.state]) + detail)
            if finding.remedy:
                typer.echo(f"{'':<14}→ {finding.remedy}")
    if not ready:
        raise typer.Exit(1)


def _read(url: str) -> str:
    from orris.store import Store  # noqa: PLC0415

    names = Store(url).models()
    return f"{url}: {len(names)} model{'' if len(names) == 1 else 's'}" + (f": {', '.join(names[:5])}" if names else "")


def _write(url: str) -> str:
    from orris.store import Store  # noqa: PLC0415

    Store(url).check_writable()
    return f"{url}: written, read and removed"


def _resolve(url: str, references: list[str]) -> str:
    """Each reference, or the newest version of each model."""
    from orris.store import Store  # noqa: PLC0415

    source = Store(url)
    found = [source.resolve(reference) for reference in references or source.models()]
    for reference in found:
        source.manifest(str(reference))
    return ", ".join(map(str, found)) or "no models yet; publish one with  orris train"
