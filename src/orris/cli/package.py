"""``orris package``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orris.cli.terminal import JsonOption, StoreOption, print_bundle, say, serve_hint, store_url, working

EXAMPLES = "Example:  orris package model.json --data rows.csv --target churned --name churn"


def package(
    model: Annotated[
        Path, typer.Argument(help="Model file: XGBoost's JSON or UBJSON, LightGBM's text, CatBoost's cbm or JSON.")
    ],
    data: Annotated[str, typer.Option(help="The rows that it was trained on: CSV or Parquet.")],
    target: Annotated[str, typer.Option(help="Column that it predicts.")],
    name: Annotated[str | None, typer.Option(help="Name of the model [default: the file's]")] = None,
    drop: Annotated[list[str] | None, typer.Option(help="Column that the model is not given; may be repeated.")] = None,
    categorical: Annotated[
        list[str] | None, typer.Option(help="Column of categories; may be repeated [default: the model's own]")
    ] = None,
    gate: Annotated[list[str] | None, typer.Option(help="Condition such as 'accuracy>=0.9'; may be repeated.")] = None,
    require_compiled: Annotated[
        bool, typer.Option("--require-compiled", help="Fail rather than serve by the library itself.")
    ] = False,
    version: Annotated[str, typer.Option(help="Version to publish [default: 1.0.<UTC timestamp>]")] = "",
    alias: Annotated[
        list[str] | None, typer.Option(help="Alias to move to the new version; may be repeated [default: latest]")
    ] = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Package a model that XGBoost, LightGBM or CatBoost saved: prove the served model, and publish it."""
    from orris import api  # noqa: PLC0415

    url = store_url(store)
    with working("packaging") as progress:
        bundle = api.package_file(
            model,
            data,
            target=target,
            name=name or model.stem,
            drop=drop or (),
            categorical=categorical or (),
            gates=gate or (),
            require_compiled=require_compiled,
            version=version,
            store=url,
            aliases=alias or ["latest"],
            progress=progress,
        )
    if as_json:
        print_bundle(bundle, url)
        return
    say(bundle.verdict.sentence())
    for reason in bundle.verdict.reasons():
        say(reason)
    say(f"Published {bundle.name}@{bundle.version} to {url} ({', '.join(alias or ['latest'])})")
    say(serve_hint(bundle.name, store))
