"""Settings of a training run: ``params.yaml`` and flags -> ``TrainParams``.

The defaults describe the bundled iris table, so that ``orris train`` needs no argument.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import yaml
from msgspec import Meta

from orris.errors import SettingsError
from orris.schema import Bounds
from orris.training.learning import Declared, Task

_POSITIVE = Bounds(exclusive_minimum=0, message="Measurement must be positive")
_MEASUREMENTS = ("sepal_length", "sepal_width", "petal_length", "petal_width")

_OF_THE_TARGET: dict[str, Any] = {
    "name": "",
    "model": "",
    "pipeline": None,
    "task": None,
    "drop": (),
    "categorical": (),
    "bounds": {},
    "required": (),
    "integer": (),
    "closed": (),
    "gates": (),
    "model_parameters": {},
}
"""Settings that belong to a prediction problem, with their defaults."""


class TrainParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that determines a training run.

    Attributes:
        table: CSV or Parquet file.
        target: Column to predict.
        name: The model's name.
        model: A preset of ``pipelines.PRESETS``; empty: the task's default.
        pipeline: ``package.module:factory`` of the user's own pipeline, in place of a preset.
        task: ``classification`` or ``regression``; ``None``: chosen from the target.
        drop: Columns to leave out.
        categorical: Columns that are categories though they hold whole numbers, or many or date-like texts.
        bounds: Hard bounds per column: rows outside them are refused.
        required: Columns that must not be missing, whatever the model takes.
        integer: Columns that must hold whole numbers, whatever the model takes.
        closed: Categories whose known levels are all there are, whatever the model takes.
        test_size: Share of the rows that is held out.
        folds: Folds of the cross-validation; 0: none.
        seed: Of every random draw.
        tune: Candidates of the random search; 0: none.
        learning_curve: Score the pipeline on growing parts of the training rows, for the report.
        gates: Conditions such as ``accuracy>=0.9``, without which nothing is published.
        model_parameters: The model's parameters, by its library's names, that differ from the preset's.
        require_compiled: Fail rather than serve through scikit-learn.
        decimal: The decimal mark of the table's numbers, ``.`` or ``,``; empty: found out.
        thousands: What separates thousands in the table's numbers; empty: nothing does.
        strict: What would be a notice about the table's values is an error.
        skip_bad_lines: Lines of the table with too few or too many values are left out and counted.
    """

    table: str = "data/iris.csv"
    target: str = "species"
    name: str = "iris"
    model: str = "logistic"
    pipeline: str | None = None
    task: Task | None = None
    drop: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    bounds: dict[str, Bounds] = msgspec.field(default_factory=lambda: dict.fromkeys(_MEASUREMENTS, _POSITIVE))
    required: tuple[str, ...] = ()
    integer: tuple[str, ...] = ()
    closed: tuple[str, ...] = ()
    test_size: Annotated[float, Meta(gt=0, lt=1)] = 0.2
    folds: Annotated[int, Meta(ge=0, le=100)] = 5
    seed: Annotated[int, Meta(ge=0, le=2**32 - 1)] = 42
    tune: Annotated[int, Meta(ge=0)] = 0
    learning_curve: bool = False
    gates: tuple[str, ...] = ()
    model_parameters: dict[str, Any] = {}
    require_compiled: bool = False
    decimal: Literal["", ".", ","] = ""
    thousands: Annotated[str, Meta(max_length=1)] = ""
    strict: bool = False
    skip_bad_lines: bool = False

    def declared(self) -> Declared:
        """The declarations about columns."""
        return Declared(self.categorical, self.bounds, self.required, self.integer, self.closed)


def load_params(path: str | Path) -> TrainParams:
    """Read ``params.yaml``.

    A file that names its own table or target is about that problem: nothing of iris is taken over, and the name is by
    default the table's.

    Raises:
        SettingsError: Names the file and, where there is one, the key.
    """
    path = Path(path)
    try:
        content = yaml.load(path.read_text("utf-8"), Loader=_Loader)  # noqa: S506 (a SafeLoader)
    except FileNotFoundError:
        raise SettingsError(f"{path}: there is no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: it cannot be read ({error})") from None
    except yaml.YAMLError as error:
        raise SettingsError(f"{path}: it is not YAML ({' '.join(str(error).split())})") from None
    if content is None:
        content = {}
    if not isinstance(content, dict):
        raise SettingsError(f"{path}: a mapping of settings is needed, not a {type(content).__name__}")
    given = {key: value for key, value in content.items() if value is not None}
    neutral = {} if not given.keys() & {"table", "target"} else _OF_THE_TARGET
    if "table" in given and "target" not in given:
        raise SettingsError(f"{path}: 'target' is missing: say which column of the table to predict")
    return _named(_convert(neutral | given, str(path)))


def override(params: TrainParams, **flags: Any) -> TrainParams:
    """``params`` with the flags that are given (not ``None``).

    Another target is another problem: what was said about the old one (name, model, dropped columns, bounds, gates, …)
    does not apply. A flag for a preset overrules a pipeline of the user's own, and the other way round.

    Raises:
        SettingsError: Names the setting.
    """
    given = {key: value for key, value in flags.items() if value is not None}
    settings = {key: getattr(params, key) for key in params.__struct_fields__}
    if given.get("target", params.target) != params.target:
        settings |= _OF_THE_TARGET
    if given.get("table", params.table) != params.table:
        settings |= {"decimal": "", "thousands": ""}
    if given.get("model") and given.get("pipeline"):
        raise SettingsError("'model' and 'pipeline' are both given; choose a preset or a pipeline of your own")
    if given.get("pipeline"):
        settings |= {"model": "", "model_parameters": {}}
    elif given.get("model"):
        settings["pipeline"] = None
        if given["model"] != params.model:
            settings["model_parameters"] = {}
    return _named(_convert(msgspec.to_builtins(settings | given), "settings"), by_table="table" in given)


def _convert(settings: Mapping[Any, Any], origin: str) -> TrainParams:
    _check_keys(settings, TrainParams.__struct_fields__, origin)
    bounds = settings.get("bounds")
    for column, limits in bounds.items() if isinstance(bounds, dict) else ():
        if isinstance(limits, dict):
            _check_keys(limits, Bounds.__struct_fields__, f"{origin}: bounds of '{column}'")
    try:
        params: TrainParams = msgspec.convert(dict(settings), TrainParams)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$.")
        key = where.rstrip("`").replace("[...]", ".…")
        raise SettingsError(f"{origin}: key '{key}': {what}" if key else f"{origin}: {what}") from None
    if not params.table or not params.target:
        raise SettingsError(f"{origin}: 'table' and 'target' must not be empty")
    if params.thousands and params.thousands == (params.decimal or "."):
        raise SettingsError(f"{origin}: 'thousands' and 'decimal' are both '{params.thousands}'; they must differ")
    if params.folds == 1:
        raise SettingsError(f"{origin}: key 'folds': one fold cannot cross-validate; use 2 or more, or 0 for none")
    return params


def _check_keys(given: Mapping[Any, Any], known: tuple[str, ...], origin: str) -> None:
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"is '{near[0]}' meant?" if near else f"known are: {', '.join(known)}"
            raise SettingsError(f"{origin}: unknown key '{key}'; {hint}")


def _named(params: TrainParams, *, by_table: bool = True) -> TrainParams:
    """The settings with a name: by default that of the table, or of the target if no table goes with it."""
    if params.name:
        return params
    file = Path(params.table).name
    source = file.split(".")[0] if by_table and file.split(".")[0] else params.target
    name = re.sub(r"[^a-z0-9]+", "-", source.lower()).strip("-") or "model"
    return msgspec.structs.replace(params, name=name)


class _Loader(yaml.SafeLoader):
    """YAML 1.1 reads ``1e-3`` as text and keeps the last of two equal keys; neither is what the writer meant."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key '{key_node.value}' is there twice", key_node.start_mark
                )
            seen.add(key_node.value)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+0123456789.")
)
