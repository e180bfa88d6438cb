"""``orris train``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orris.cli.terminal import JsonOption, StoreOption, print_bundle, say, serve_hint, store_url, tell, working

if TYPE_CHECKING:
    from orris.training.bundling import Trained
    from orris.training.params import TrainParams

EXAMPLES = (
    "Examples:  orris train   ·   orris train data/churn.csv --target churned --name churn --model"
    " hist-gradient-boosting --gate 'roc_auc>=0.8'"
)
DEFAULT_PARAMS = Path("params.yaml")
PRESET_NAMES = (
    "logistic",
    "ridge",
    "linear",
    "elastic-net",
    "forest",
    "extra-trees",
    "hist-gradient-boosting",
    "gradient-boosting",
    "xgboost",
    "lightgbm",
    "catboost",
    "decision-tree",
    "knn",
    "svm",
    "mlp",
)
"""Those of ``orris.training.pipelines``, which a test compares: importing scikit-learn would make ``--help`` slow."""


def train(
    table: Annotated[
        str | None, typer.Argument(help="CSV (any delimiter, .gz) or Parquet file [default: data/iris.csv]")
    ] = None,
    target: Annotated[str | None, typer.Option(help="Column to predict [default: species, of iris]")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the model [default: that of the table, or iris]")] = None,
    model: Annotated[
        str | None, typer.Option(help=f"Preset: {', '.join(PRESET_NAMES)} [default: logistic, or ridge for numbers]")
    ] = None,
    pipeline: Annotated[
        str | None, typer.Option(help="Your own: package.module:factory, which returns an unfitted pipeline.")
    ] = None,
    task: Annotated[str | None, typer.Option(help="classification or regression [default: from the target]")] = None,
    drop: Annotated[
        list[str] | None, typer.Option(help="Columns to leave out, separated by commas; may be repeated.")
    ] = None,
    categorical: Annotated[
        list[str] | None,
        typer.Option(help="Columns that are categories whatever they look like, such as codes; as for --drop."),
    ] = None,
    decimal: Annotated[
        str | None, typer.Option(help="Decimal mark of the table's numbers, '.' or ',' [default: found out]")
    ] = None,
    thousands: Annotated[
        str | None, typer.Option(help="What separates thousands in the table's numbers [default: nothing]")
    ] = None,
    strict: Annotated[
        bool | None, typer.Option("--strict", help="Refuse stray words among numbers rather than take them as missing.")
    ] = None,
    skip_bad_lines: Annotated[
        bool | None, typer.Option("--skip-bad-lines", help="Leave out and count lines with too few or too many values.")
    ] = None,
    gate: Annotated[list[str] | None, typer.Option(help="Condition such as 'accuracy>=0.9'; may be repeated.")] = None,
    tune: Annotated[
        int | None, typer.Option(help="Random search over this many candidates [default: 0, none]", min=0)
    ] = None,
    learning_curve: Annotated[
        bool | None, typer.Option("--learning-curve", help="Score it on growing parts of the rows, for the report.")
    ] = None,
    test_size: Annotated[float | None, typer.Option(help="Share of the rows held out [default: 0.2]")] = None,
    folds: Annotated[int | None, typer.Option(help="Folds of the cross-validation; 0 for none [default: 5]")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of every draw [default: 42]")] = None,
    require_compiled: Annotated[
        bool | None, typer.Option("--require-compiled", help="Fail rather than serve by scikit-learn.")
    ] = None,
    params: Annotated[Path | None, typer.Option(help="Settings file [default: params.yaml, if it is there]")] = None,
    version: Annotated[str, typer.Option(help="Version to publish [default: 1.0.<UTC timestamp>]")] = "",
    alias: Annotated[
        list[str] | None, typer.Option(help="Alias to move to the new version; may be repeated [default: latest]")
    ] = None,
    publish: Annotated[bool, typer.Option(help="Publish to the store.")] = True,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train a model on a table, prove that the served model answers the same, and publish it.

    Without arguments: the settings of params.yaml, or the bundled iris table.
    """
    from orris import api  # noqa: PLC0415

    url = store_url(store) if publish else None
    given = {
        "table": table,
        "target": target,
        "name": name,
        "model": model,
        "pipeline": pipeline,
        "task": task,
        "drop": drop,
        "categorical": categorical,
        "decimal": decimal,
        "thousands": thousands,
        "strict": strict,
        "skip_bad_lines": skip_bad_lines,
        "gates": gate,
        "tune": tune,
        "learning_curve": learning_curve,
        "test_size": test_size,
        "folds": folds,
        "seed": seed,
        "require_compiled": require_compiled,
    }
    settings = _settings(params, given, quiet=as_json)
    notices: list[str] = []
    with working("training") as progress:
        bundle = api.train_params(
            settings,
            store=url,
            version=version,
            aliases=alias or ["latest"],
            progress=progress,
            notify=lambda text: _notify(text, notices),
            done=None if as_json else lambda trained: _print_trained(trained, notices),
        )
    if as_json:
        print_bundle(bundle, url)
    elif url is None:
        say(f"Built {bundle.name}@{bundle.version} in {bundle.folder}; nothing was published")
    else:
        aliases = ", ".join(alias or ["latest"])
        say(f"Published {bundle.name}@{bundle.version} to {url} ({aliases}); report: {bundle.folder}/report.html")
        say(serve_hint(bundle.name, store))


def _notify(text: str, notices: list[str]) -> None:
    """Print a notice at once, and keep it, so that the result does not repeat it."""
    notices.append(text)
    tell(f"notice: {text}")


def _settings(file: Path | None, given: dict[str, Any], *, quiet: bool) -> TrainParams:
    """The settings of the file, overridden by flags; the bundled table is written where the default one is missing."""
    from orris.tables.files import write_iris  # noqa: PLC0415
    from orris.training.params import TrainParams, load_params, override  # noqa: PLC0415

    if file is not None:
        base = load_params(file)
    elif DEFAULT_PARAMS.is_file():
        base = load_params(DEFAULT_PARAMS)
    else:
        base = TrainParams()
    settings = override(base, **given)
    if settings.table == TrainParams().table and not Path(settings.table).exists():
        write_iris(Path(settings.table))
        if not quiet:
            say(f"{settings.table} was not there: wrote the bundled iris table")
    return settings


def _print_trained(trained: Trained, printed: list[str]) -> None:
    """The result; ``printed`` are the notes that were printed already."""
    from orris.training.evaluation import summary_lines  # noqa: PLC0415

    say(summary_lines(trained.evaluation))
    for note in trained.evaluation.notes:
        if note not in printed:
            say(f"note: {note}")
    say(trained.manifest.verdict.sentence())
    for reason in trained.manifest.verdict.reasons():
        say(reason)
