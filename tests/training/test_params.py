"""Tests of training parameters: the file, the flags, and the errors of both."""

from pathlib import Path

import pytest

from orris.errors import SettingsError
from orris.schema import Bounds
from orris.training.params import TrainParams, load_params, override

REPO = Path(__file__).parents[2]


def load(folder: Path, text: str) -> TrainParams:
    """The parameters that a file of this text holds."""
    (folder / "params.yaml").write_text(text)
    return load_params(folder / "params.yaml")


def test_the_file_in_the_repository_holds_the_defaults() -> None:
    """The defaults in params.yaml equal those in the code."""
    assert load_params(REPO / "params.yaml") == TrainParams()


def test_iris_measurements_are_positive_by_default() -> None:
    """Each of the four measurements has zero as its exclusive minimum."""
    assert TrainParams().bounds == dict.fromkeys(
        ("sepal_length", "sepal_width", "petal_length", "petal_width"),
        Bounds(exclusive_minimum=0, message="Measurement must be positive"),
    )


def test_an_empty_file_is_iris(tmp_path: Path) -> None:
    """An empty file means the bundled example."""
    assert load(tmp_path, "# nothing\n") == TrainParams()


def test_another_table_takes_nothing_over_from_iris(tmp_path: Path) -> None:
    """A file about another table has no bounds and no preset of iris, and its name is the table's."""
    params = load(tmp_path, "table: data/Big Houses.csv.gz\ntarget: price\nseed: 7\n")
    assert (params.name, params.model, params.bounds, params.seed, params.folds) == ("big-houses", "", {}, 7, 5)


def test_numbers_with_an_exponent_are_numbers(tmp_path: Path) -> None:
    """The text 1e-3 is read as a number, although YAML 1.1 reads text."""
    assert load(tmp_path, "model_parameters: {C: 1e-3}\n").model_parameters == {"C": 0.001}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tset_size: 0.3\n", "unknown key 'tset_size'; is 'test_size' meant"),
        ("test_size: much\n", "key 'test_size': Expected `float`"),
        ("test_size: 1.5\n", "key 'test_size'"),
        ("folds: 1\n", "key 'folds': one fold"),
        ("seed: -1\n", "key 'seed'"),
        ("task: clustering\n", "key 'task'"),
        ("bounds: {sepal_width: {minimun: 0}}\n", "bounds of 'sepal_width': unknown key 'minimun'; is 'minimum' meant"),
        ("seed: 1\nseed: 2\n", "'seed' is there twice"),
        ("- a\n", "a mapping of settings"),
        ("a: [\n", "not YAML"),
        ("table: x.csv\n", "'target' is missing"),
        ("target: ''\n", "must not be empty"),
    ],
)
def test_mistakes_in_the_file_are_named(tmp_path: Path, text: str, message: str) -> None:
    """The error names the file and the key."""
    with pytest.raises(SettingsError, match=rf"params\.yaml.*{message}"):
        load(tmp_path, text)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """The error of a missing file names it."""
    with pytest.raises(SettingsError, match="no such file"):
        load_params(tmp_path / "none.yaml")


def test_flags_that_are_not_given_change_nothing() -> None:
    """A flag that is None leaves the file's setting."""
    assert override(TrainParams(), target=None, tune=None) == TrainParams()


def test_flags_overrule_the_file() -> None:
    """A given flag replaces the setting of its name."""
    params = override(TrainParams(), tune=5, gates=["accuracy>=0.9"], drop=["petal_width"])
    assert (params.tune, params.gates, params.drop, params.bounds) == (
        5,
        ("accuracy>=0.9",),
        ("petal_width",),
        TrainParams().bounds,
    )


def test_another_target_resets_its_settings() -> None:
    """Another target drops the file's columns, model and name for the old target, and keeps all other settings."""
    old = TrainParams(categorical=("colour",), gates=("accuracy>=0.9",), seed=7)
    params = override(old, table="data/houses.csv", target="price")
    assert params == TrainParams(table="data/houses.csv", target="price", name="houses", model="", bounds={}, seed=7)


def test_a_table_in_memory_is_named_by_its_target() -> None:
    """Without a file, the new target gives the name."""
    assert override(TrainParams(), target="Unit Price").name == "unit-price"


def test_another_table_with_the_same_target_keeps_everything() -> None:
    """Another table with the same target is trained with all settings of the file."""
    assert override(TrainParams(), table="november.csv") == TrainParams(table="november.csv")


def test_a_preset_and_a_pipeline_overrule_each_other() -> None:
    """A flag for a preset or pipeline replaces the other in the file, and both flags at once are refused."""
    own = override(TrainParams(model_parameters={"C": 2}), pipeline="mine:make")
    assert (own.model, own.pipeline, own.model_parameters) == ("", "mine:make", {})
    assert override(own, model="knn").pipeline is None
    with pytest.raises(SettingsError, match="both given"):
        override(TrainParams(), model="knn", pipeline="mine:make")


def test_flags_are_checked_as_the_file_is() -> None:
    """A malformed value or unknown setting in flags is refused as in the file."""
    with pytest.raises(SettingsError, match="key 'test_size'"):
        override(TrainParams(), test_size=2.0)
    with pytest.raises(SettingsError, match="unknown key 'modle'; is 'model' meant"):
        override(TrainParams(), modle="knn")
