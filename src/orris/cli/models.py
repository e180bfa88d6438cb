"""``orris models``: the versions in the store, and the aliases that point to them."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Container
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orris.cli.terminal import JsonOption, StoreOption, print_json, print_table, say, shown, store_url
from orris.installation import command

if TYPE_CHECKING:
    from orris.bundle import Manifest, Provenance
    from orris.schema import Column
    from orris.store import AliasRecord, Reference, Store

app = typer.Typer(help="List, compare, promote, verify, move and delete published models.", no_args_is_help=True)

SHORT_DIGEST = 12
"""Digits of a digest that lists show and that commands take for it."""

ReferenceArgument = Annotated[str, typer.Argument(help="NAME, NAME@VERSION or NAME:ALIAS")]


def _open(flag: str | None) -> Store:
    from orris.store import Store  # noqa: PLC0415

    return Store(store_url(flag))


@app.command("list", epilog="Example:  orris models list iris")
def list_models(
    name: Annotated[str | None, typer.Argument(help="Only this model.")] = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """List models and their versions, newest first.

    Where the terminal is too narrow for all columns, those that models show has as well are left out.
    """
    source = _open(store)
    found = [info for model in ([name] if name else source.models()) for info in reversed(source.versions(model))]
    if as_json:
        print_json(found)
        return
    if not found:
        say(f"{source.url} holds no models; publish one with  orris train")
        return
    print_table(
        ("model", "aliases", "created", "size", "signed", "served by", "quality", "digest"),
        [
            (
                f"{v.name}@{v.version}",
                " ".join(v.aliases),
                v.created[:16].replace("T", " "),
                _size(v.n_bytes) if v.n_bytes else "",
                "" if v.problem else shown(v.signed),
                v.strategy,
                v.problem or _headline(v.metrics),
                v.digest[:SHORT_DIGEST],
            )
            for v in found
        ],
        optional=("served by", "digest", "signed", "size"),
    )


def _size(n_bytes: int) -> str:
    """Bytes for people: ``1.5 MB``."""
    size, units = float(n_bytes), ["B", "kB", "MB", "GB"]
    while size >= 1000 and len(units) > 1:
        size, units = size / 1000, units[1:]
    return f"{size:.0f} B" if units[0] == "B" else f"{size:.1f} {units[0]}"


def _headline(metrics: dict[str, float]) -> str:
    """The one metric that a list has room for."""
    from orris.metrics import headline  # noqa: PLC0415

    return next((f"{metric.name} {metrics[metric.name]:.4f}" for metric in headline(metrics)), "")


@app.command(epilog="Example:  orris models show iris:prod")
def show(
    reference: ReferenceArgument = "",
    every: Annotated[bool, typer.Option("--all", help="Show all metrics, not only the most telling ones.")] = False,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a version's schema, metrics, parity verdict and origin."""
    from orris.metrics import most_telling  # noqa: PLC0415

    manifest = _open(store).manifest(reference)
    if as_json:
        print_json(manifest)
        return
    say(f"{manifest.name}@{manifest.version}  {manifest.schema.task} of '{manifest.schema.target}'")
    say(f"created {manifest.created} by orris {manifest.orris}; digest {manifest.digest}")
    say(manifest.verdict.sentence())
    for reason in manifest.verdict.reasons():
        say(reason)
    rows = [(c.name, c.kind.value, _values(c), shown(c.missing)) for c in manifest.schema.columns]
    print_table(("column", "kind", "values", "may be missing"), rows, title="schema")
    where = " on its training rows" if manifest.provenance.parameters.get("packaged") else ""
    metrics = manifest.metrics if every else most_telling(manifest.metrics)
    print_table(("metric", "value"), [(k, _number(v)) for k, v in metrics.items()], title=f"metrics{where}")
    if len(metrics) < len(manifest.metrics):
        say(f"{len(manifest.metrics) - len(metrics)} more metrics:  {command()} models show --all {reference}".rstrip())
    print_table(("what", "value"), _origin(manifest.provenance), title="origin")


def _origin(provenance: Provenance) -> list[tuple[str, str]]:
    """The table, the commit and the parameters that a version comes from."""
    rows = [
        ("table", f"{provenance.table or 'in memory'}, {provenance.n_rows:,} rows"),
        ("git commit", provenance.git_commit or "none"),
        ("preset", str(provenance.parameters.get("model") or "none")),
    ]
    parameters = [(key, shown(value)) for key, value in provenance.parameters.items() if key not in {"table", "model"}]
    return rows + [(key, value) for key, value in parameters if value]


def _values(column: Column) -> str:
    from orris.schema import Kind  # noqa: PLC0415

    if column.levels:
        return ", ".join(map(str, column.levels))
    if column.kind is Kind.BOOLEAN:
        return "false, true"
    return "" if column.low is None or column.high is None else f"{column.low:g} … {column.high:g}"


@app.command(epilog="Example:  orris models compare iris:prod iris:latest")
def compare(
    a: Annotated[str, typer.Argument(help="The one, as NAME@VERSION or NAME:ALIAS")],
    b: Annotated[str, typer.Argument(help="The other")],
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare two versions: answers, schema and metrics.

    A schema difference that breaks callers is marked; each metric says which of the two is better.
    """
    source = _open(store)
    first, second = source.manifest(a), source.manifest(b)
    comparison = _comparison(first, second)
    if as_json:
        print_json(comparison)
        return
    _print_comparison(first, second, comparison, comparison["metrics"])


def _print_comparison(first: Manifest, second: Manifest, comparison: dict[str, Any], names: Container[str]) -> None:
    """Print a comparison with the metrics of these names."""
    say("the same answers: equal digests" if comparison["same_digest"] else "different models: digests differ")
    for difference in comparison["schema"]:
        say(f"schema: {difference}{' (breaks callers)' if difference.breaks else ''}")
    if not comparison["schema"]:
        say("schema: no difference")
    titles = {"first": f"{first.name}@{first.version}", "second": f"{second.name}@{second.version}"}
    for title, folds in (("on the judged rows", False), ("cross-validation", True)):
        rows = [
            _metric_row(name, row, titles)
            for name, row in comparison["metrics"].items()
            if name in names and name.startswith("cv_") == folds
        ]
        if rows:
            print_table(("metric", titles["first"], titles["second"], "difference", "better"), rows, title=title)


def _comparison(first: Manifest, second: Manifest) -> dict[str, Any]:
    from orris.metrics import direction  # noqa: PLC0415
    from orris.schema.compatibility import differences  # noqa: PLC0415

    metrics = {}
    for name in dict.fromkeys([*first.metrics, *second.metrics]):
        left, right = first.metrics.get(name), second.metrics.get(name)
        gain = 0.0 if left is None or right is None else (right - left) * direction(name)
        better = "first" if gain < 0 else "second" if gain > 0 else None
        metrics[name] = {"first": left, "second": right, "better": better}
    schema = differences(first.schema, second.schema)
    return {
        "same_digest": first.digest == second.digest,
        "compatible": not any(difference.breaks for difference in schema),
        "schema": schema,
        "metrics": metrics,
    }


def _metric_row(name: str, row: dict[str, Any], titles: dict[str, str]) -> tuple[str, str, str, str, str]:
    left, right = row["first"], row["second"]
    difference = "" if left is None or right is None else f"{right - left:+.6g}"
    return name, _number(left), _number(right), difference, titles.get(row["better"], "equal" if left == right else "")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


@app.command(epilog="Example:  orris models promote iris@1.0.20261121031500 prod")
def promote(
    reference: ReferenceArgument,
    alias: Annotated[str, typer.Argument(help="Alias to move, such as prod.")],
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Point an alias to a version; the move is recorded and can be undone.

    The version is compared with the one that the alias points to, as models compare does; promote compares with what
    an environment runs, and can refuse.
    """
    source = _open(store)
    wanted = source.resolve(reference)
    if not as_json:
        _compare_with_live(source, wanted, alias)
    _told(source.promote(wanted.name, wanted.version, alias), as_json)


def _compare_with_live(source: Store, wanted: Reference, alias: str) -> None:
    """Print how a version compares with the one that an alias points to; nothing without one, or if it is the same."""
    from orris.errors import NotFoundError  # noqa: PLC0415
    from orris.metrics import most_telling  # noqa: PLC0415

    try:
        live = source.resolve(f"{wanted.name}:{alias}")
    except NotFoundError:
        return
    if live.version == wanted.version:
        return
    first, second = source.manifest(str(live)), source.manifest(str(wanted))
    _print_comparison(first, second, _comparison(first, second), most_telling(first.metrics | second.metrics))


@app.command(epilog="Example:  orris models rollback iris prod")
def rollback(
    name: Annotated[str, typer.Argument(help="The model.")],
    alias: Annotated[str, typer.Argument(help="Alias to move back.")],
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Point an alias back to the version that it pointed to before."""
    _told(_open(store).rollback(name, alias), as_json)


def _told(record: AliasRecord, as_json: bool) -> None:
    if as_json:
        print_json(record)
    else:
        say(f"{record.alias} is now {record.version}" + (f" (was {record.previous})" if record.previous else ""))


@app.command(epilog="Example:  orris models history iris prod")
def history(
    name: Annotated[str, typer.Argument(help="The model.")],
    alias: Annotated[str, typer.Argument(help="Only this alias.")] = "",
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show every move of a model's aliases, newest first: when, by whom, from which version to which."""
    source = _open(store)
    aliases = [alias] if alias else [record.alias for record in source.aliases(name)]
    moves = sorted((move for each in aliases for move in source.history(name, each)), key=lambda move: move.time)
    if as_json:
        print_json(moves[::-1])
        return
    header = ("time", "alias", "version", "before", "by", "action")
    print_table(header, [(m.time, m.alias, m.version, m.previous or "", m.author, m.action) for m in moves[::-1]])


@app.command(epilog="Example:  orris models delete iris@1.0.0")
def delete(reference: ReferenceArgument, store: StoreOption = None) -> None:
    """Delete a version that no alias points to.

    It cannot be undone. A server that has the version loaded keeps answering with it.
    """
    if "@" not in reference:
        raise typer.BadParameter(
            f"{reference}: say which version, as in  orris models delete {reference or 'iris'}@1.0.0"
        )
    say(f"deleted {_open(store).delete(reference)}")


@app.command(epilog="Example:  orris models prune iris --keep 5 --dry-run")
def prune(
    name: Annotated[str, typer.Argument(help="The model.")],
    keep: Annotated[int, typer.Option(help="How many of the newest versions stay.", min=1)],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say which versions would be deleted.")] = False,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete all but the newest versions of a model, and never one that an alias points to."""
    source = _open(store)
    old = source.superseded(name, keep)
    for reference in old if not dry_run else ():
        source.delete(reference)
    if as_json:
        print_json({"deleted": [] if dry_run else list(map(str, old)), "superseded": list(map(str, old))})
    elif not old:
        say(f"nothing to delete: {name} has no more than {keep} versions beside those that aliases point to")
    else:
        say(f"{'would delete' if dry_run else 'deleted'} {len(old)}: {', '.join(map(str, old))}")


@app.command(
    epilog=(
        "Example:  orris models verify iris:prod --key public.pem   ·   orris models verify build/bundle --digest 3f2a…"
    )
)
def verify(
    reference: Annotated[str, typer.Argument(help="NAME, NAME@VERSION or NAME:ALIAS, or a bundle's folder")] = "",
    key: Annotated[Path | None, typer.Option(help="Public key (PEM) that the signature must verify with.")] = None,
    digest: Annotated[
        str | None, typer.Option(help="Digest that it must have, or its first 12 digits, as  orris models list  shows.")
    ] = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check every file against the manifest, the golden rows against the model, and, with --key, the signature."""
    from orris.errors import IntegrityError  # noqa: PLC0415
    from orris.serving.engine import Engine  # noqa: PLC0415
    from orris.store import locate  # noqa: PLC0415

    folder = locate(reference, store_url(store))
    if key is not None:
        from orris.signing import verify as verify_signature  # noqa: PLC0415

        verify_signature(folder, key)
    engine = Engine.load(folder)
    manifest = engine.manifest
    engine.verify_further()
    n_golden = sum(len(golden.rows) for golden in (manifest.golden, *manifest.further.values()))
    checked = {"files": len(manifest.files), "golden_rows": n_golden, "signature": key is not None}
    wanted = f"{manifest.name}@{manifest.version}"
    if digest is not None and not _is_digest(digest, manifest.digest):
        raise IntegrityError(f"{wanted}: its digest is {manifest.digest}, not {digest}: this is another model")
    if as_json:
        print_json({"name": manifest.name, "version": manifest.version, **checked})
    else:
        signed = ", signature verified" if key is not None else ""
        say(f"{wanted}: {checked['files']} files unchanged, {checked['golden_rows']} golden rows reproduced{signed}")


def _is_digest(given: str, digest: str) -> bool:
    """Whether a digest was given, whole or as its first digits, at least as many as lists show."""
    short = given.removesuffix("…").lower()
    return len(short) >= SHORT_DIGEST and digest.startswith(short)


@app.command(epilog="Example:  orris models sign iris:latest --key private.pem")
def sign(
    reference: ReferenceArgument,
    key: Annotated[Path, typer.Option(help="Private key (PEM, elliptic curve).")],
    store: StoreOption = None,
) -> None:
    """Sign a published version with the model-signing library."""
    from orris.signing import sign as sign_bundle  # noqa: PLC0415

    source = _open(store)
    wanted = source.resolve(reference)
    with tempfile.TemporaryDirectory() as folder:
        signature = sign_bundle(source.fetch(wanted), key, signature=Path(folder) / "model.sig")
        source.attach_signature(wanted, signature)
    say(f"signed {wanted}")


@app.command(epilog="Example:  orris models export iris:prod build/bundle   ·   then  orris serve build/bundle")
def export(
    reference: ReferenceArgument,
    folder: Annotated[Path, typer.Argument(help="Folder to write; it must be empty, or not exist.")],
    report: Annotated[
        bool, typer.Option("--report", help="Only what people and tools read: metrics, report and plots.")
    ] = False,
    store: StoreOption = None,
) -> None:
    """Write a version's bundle to a folder, after every check of verify.

    The folder can be served, or copied into an image.
    """
    from orris.serving.engine import Engine  # noqa: PLC0415

    source = _open(store)
    wanted = source.resolve(reference)
    origin = source.fetch(wanted)
    manifest = Engine.load(origin).manifest
    _write(origin, manifest, folder, report)
    say(
        f"{wanted} is in {folder}: {len(manifest.files)} files checked, {len(manifest.golden.rows)} golden rows"
        " reproduced"
    )


def _write(origin: Path, manifest: Manifest, folder: Path, report: bool) -> None:
    """Copy a bundle, or its report, beside the folder first: a folder that is there is whole."""
    from orris.errors import StoreError  # noqa: PLC0415

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise StoreError(f"{folder} is there already and not empty; name another folder, or remove it")
    beside = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(beside, ignore_errors=True)
    for path in sorted(path for path in origin.rglob("*") if path.is_file()):
        name = path.relative_to(origin).as_posix()
        if not report or name.startswith(("plots/", "report.")):
            (beside / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, beside / name)
    if report:
        (beside / "metrics.json").write_text(json.dumps(manifest.metrics, indent=2) + "\n", encoding="utf-8")
    if folder.exists():
        folder.rmdir()
    beside.rename(folder)


@app.command(epilog="Example:  orris models push iris:latest gs://models/prod")
def push(
    reference: ReferenceArgument,
    to: Annotated[str, typer.Argument(help="URL of the other store.")],
    store: StoreOption = None,
) -> None:
    """Copy a version from the store to another store."""
    _copy(_open(store), to_flag=to, reference=reference)


@app.command(epilog="Example:  orris models pull iris:prod gs://models/prod")
def pull(
    reference: ReferenceArgument,
    origin: Annotated[str, typer.Argument(help="URL of the other store.")],
    store: StoreOption = None,
) -> None:
    """Copy a version from another store to the store."""
    _copy(_open(origin), to_flag=store_url(store), reference=reference)


def _copy(source: Store, *, to_flag: str, reference: str) -> None:
    target = _open(to_flag)
    copied = source.copy(reference, target)
    say(f"{copied} is now in {target.url}")
