"""Whole pipelines: columns chosen, steps joined, names carried, and the finished model equals the fitted pipeline."""

from __future__ import annotations

import warnings
from typing import Any

import msgspec
import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import randint
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor, make_column_selector, make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier, RandomForestRegressor
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV, RandomizedSearchCV
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    RobustScaler,
    StandardScaler,
)

from orris.compile.build import build, input_frame
from orris.compile.graph import INPUT
from orris.errors import NotConvertibleError
from orris.schema import Schema
from orris.schema.arrays import FloatArray
from orris.schema.frames import decode
from tests.compile.transformations import COLUMNS, NUMBERS, TEXT, assert_transforms, converted, draw, fitted, schema_of

NAMES = ("size", "word", "count", "thing", "zone", "flag")


def one_hot() -> OneHotEncoder:
    """An encoder that takes every row."""
    return OneHotEncoder(handle_unknown="ignore")


def numeric() -> Pipeline:
    """Impute, then scale."""
    return make_pipeline(SimpleImputer(), StandardScaler())


SELECTIONS: dict[str, Any] = {
    "names": (["count", "size"], ["zone", "word"]),
    "positions": ([2, 0], [4, 1]),
    "negative positions": ([-4, -6], [-2, -5]),
    "slice": (slice(0, 1), slice(3, 5)),
    "slice of names": (slice("size", "size"), slice("thing", "zone")),
    "mask": ([True, False, True, False, False, False], np.array([False, True, False, True, False, False])),
    "callable": (make_column_selector(dtype_include="float64"), make_column_selector(pattern="word|thing")),
}


@pytest.mark.parametrize("remainder", ["drop", "passthrough", "estimator"])
@pytest.mark.parametrize("selection", SELECTIONS)
def test_columns_are_selected(run_graph: Any, selection: str, remainder: str) -> None:
    """Columns are chosen by name, position, slice, mask or callable; the rest is dropped, passed or transformed."""
    numbers, levels = SELECTIONS[selection]
    rest: Any = one_hot() if remainder == "estimator" else remainder
    schema = schema_of(*NAMES)
    step = ColumnTransformer([("numbers", numeric(), numbers), ("levels", one_hot(), levels)], remainder=rest)
    assert_transforms(run_graph, fitted(step, schema, draw(schema, 80)), schema, draw(schema, 150, 1, unseen=0.1))


def test_positions_select_from_an_array(run_graph: Any) -> None:
    """A ColumnTransformer fitted on an array selects by position."""
    schema = schema_of(*NAMES, container="array")
    step = ColumnTransformer([("n", numeric(), [0, 2]), ("l", one_hot(), [1, 3])], remainder="passthrough")
    assert_transforms(run_graph, fitted(step, schema, draw(schema, 80)), schema, draw(schema, 150, 1, unseen=0.1))


def test_names_select_from_a_table_in_another_order(run_graph: Any) -> None:
    """A ColumnTransformer fitted on a DataFrame finds its columns by name when the schema orders them differently."""
    trained, served = schema_of("size", "word", "count"), schema_of("flag", "count", "size", "zone", "word")
    step = fitted(ColumnTransformer([("n", numeric(), [0, 2]), ("l", one_hot(), ["word"])]), trained, draw(trained, 80))
    assert_transforms(run_graph, step, served, draw(served, 100, 1))


def test_a_lost_column_is_named() -> None:
    """A column that the ColumnTransformer needs and the schema lacks is named."""
    trained, served = schema_of("size", "word"), schema_of("size", "count")
    step = fitted(ColumnTransformer([("l", one_hot(), ["word"])]), trained, draw(trained, 80))
    with pytest.raises(NotConvertibleError, match="word"):
        converted(step, served)


def test_dropped_and_empty_selections_make_no_columns(run_graph: Any) -> None:
    """'drop' and an empty selection give no columns, and 'passthrough' gives the columns unchanged."""
    schema = schema_of("size", "word", "count", "flag")
    step = ColumnTransformer(
        [
            ("a", "drop", ["size"]),
            ("b", "passthrough", ["flag"]),
            ("c", StandardScaler(), []),
            ("d", one_hot(), ["word"]),
        ]
    )
    frame = assert_transforms(run_graph, fitted(step, schema, draw(schema, 40)), schema, draw(schema, 40, 1))
    assert frame.width == 5


@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_weights_multiply(run_graph: Any, threshold: float) -> None:
    """``transformer_weights`` multiply a transformer's columns, dense or sparse."""
    schema = schema_of("weight", "word", "count")
    step = ColumnTransformer(
        [("n", StandardScaler(), ["weight"]), ("l", one_hot(), ["word"]), ("p", "passthrough", ["count"])],
        transformer_weights={"n": 0.1, "l": 3.3, "p": 0.7},
        sparse_threshold=threshold,
    )
    assert_transforms(run_graph, fitted(step, schema, draw(schema, 40)), schema, draw(schema, 40, 1))


@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_a_scaler_depends_on_whether_its_input_is_sparse(run_graph: Any, threshold: float) -> None:
    """Behind a ColumnTransformer a scaler divides dense columns and multiplies sparse ones, to the last bit."""
    schema = schema_of("weight", "word", "kind")
    columns = make_column_transformer(
        (one_hot(), ["word", "kind"]), remainder="passthrough", sparse_threshold=threshold
    )
    step = make_pipeline(columns, StandardScaler(with_mean=False))
    rows = draw(schema, 149)
    assert fitted(columns, schema, rows).sparse_output_ == bool(threshold)
    assert_transforms(run_graph, fitted(step, schema, rows), schema, rows)


def test_pandas_output_keeps_names(run_graph: Any) -> None:
    """With ``set_output`` a later ColumnTransformer selects by the names of the step before."""
    schema = schema_of("size", "word", "count", "zone")
    first = make_column_transformer(
        (SimpleImputer(strategy="most_frequent"), ["word"]),
        (numeric(), ["size"]),
        remainder="passthrough",
        verbose_feature_names_out=False,
    )
    second = make_column_transformer(
        (OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), ["zone", "word"]),
        remainder=MinMaxScaler(),
    )
    step = make_pipeline(first, second).set_output(transform="pandas")
    rows = draw(schema, 80)
    frame = assert_transforms(run_graph, fitted(step, schema, rows), schema, draw(schema, 80, 1))
    assert [feature.name for feature in frame.features] == step.get_feature_names_out().tolist()


def test_array_output_forgets_names(run_graph: Any) -> None:
    """Behind a step that returns an array a ColumnTransformer selects by position, and no feature has a name."""
    schema = schema_of("weight", "count", "flag")
    step = make_pipeline(StandardScaler(), ColumnTransformer([("a", MinMaxScaler(), [2, 0])], remainder="passthrough"))
    frame = assert_transforms(run_graph, fitted(step, schema, draw(schema, 50)), schema, draw(schema, 50, 1))
    assert [feature.source for feature in frame.features] == [2, 0, 1]
    assert {feature.name for feature in frame.features} == {""}


def test_steps_that_do_nothing(run_graph: Any) -> None:
    """A DataFrame stays a DataFrame behind 'passthrough', None and an identity function."""
    schema = schema_of("weight", "word")
    inner = Pipeline([("none", None), ("pass", "passthrough"), ("same", FunctionTransformer())])
    step = make_pipeline(inner, make_column_transformer((one_hot(), ["word"]), (StandardScaler(), ["weight"])))
    assert_transforms(run_graph, fitted(step, schema, draw(schema, 50)), schema, draw(schema, 50, 1))


def test_feature_union_puts_parts_side_by_side(run_graph: Any) -> None:
    """A union joins its parts in order, weighted, with 'drop' and 'passthrough'."""
    schema = schema_of(*NUMBERS)
    parts = [
        ("a", numeric()),
        ("b", "drop"),
        ("c", "passthrough"),
        ("d", make_pipeline(SimpleImputer(strategy="median"), MaxAbsScaler())),
    ]
    step = FeatureUnion(parts, transformer_weights={"d": 0.3})
    assert_transforms(run_graph, fitted(step, schema, draw(schema, 50)), schema, draw(schema, 50, 1))


@settings(deadline=None)
@given(
    seed=st.integers(0, 10_000),
    names=st.lists(st.sampled_from(sorted(COLUMNS)), min_size=1, max_size=7, unique=True),
    threshold=st.sampled_from([0.0, 0.3, 1.0]),
    remainder=st.sampled_from(["drop", "passthrough"]),
    last=st.sampled_from([None, StandardScaler(with_mean=False), MaxAbsScaler()]),
)
def test_any_table_agrees(
    run_graph: Any, seed: int, names: list[str], threshold: float, remainder: str, last: Any
) -> None:
    """A usual preprocessing of random columns equals scikit-learn on random rows with missing and unseen values."""
    schema = schema_of(*names)
    numbers = [name for name in names if name in {"size", "weight", "holes"}]
    text = [name for name in names if name in TEXT]
    others = [name for name in names if name in {"zone", "grade", "maybe"}]
    if len(numbers + text + others) == 0:
        remainder = "passthrough"
    columns = ColumnTransformer(
        [
            ("n", numeric(), numbers),
            (
                "t",
                make_pipeline(
                    SimpleImputer(strategy="most_frequent"),
                    OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=4),
                ),
                text,
            ),
            (
                "o",
                OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2),
                others,
            ),
        ],
        remainder=remainder,
        sparse_threshold=threshold,
    )
    step = fitted(make_pipeline(columns, last), schema, draw(schema, 60, seed))
    assert_transforms(run_graph, step, schema, draw(schema, 40, seed + 1, unseen=0.1))


# ---- whole models


def labelled(schema: Schema, estimator: Any) -> Schema:
    """The contract of a fitted classifier."""
    return msgspec.structs.replace(schema, task="classification", labels=tuple(estimator.classes_.tolist()))


def served(pipeline: Any, schema: Schema, rows: FloatArray) -> dict[str, Any]:
    """The finished model's outputs by name."""
    model, _ = build(pipeline, schema)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {INPUT: rows}), strict=True))


def preprocessing() -> ColumnTransformer:
    """Numbers imputed and scaled, levels encoded."""
    levels = make_column_selector(pattern="word|thing|zone")
    return make_column_transformer((numeric(), make_column_selector(pattern="size|count|weight")), (one_hot(), levels))


def classify(rows: FloatArray) -> Any:
    """Three classes that depend on a number and a level."""
    return np.array(["low", "mid", "top"])[np.clip(rows[:, 2] // 3 + (rows[:, 1] == 0) + 1, 0, 2).astype(int)]


@pytest.mark.parametrize("classifier", [LogisticRegression(), RandomForestClassifier(10, random_state=0)], ids=str)
def test_classifier_answers_labels_and_probabilities(classifier: Any) -> None:
    """A whole classification pipeline gives the position of its label and its probabilities."""
    schema = schema_of("size", "word", "count", "thing", "zone")
    rows = draw(schema, 200)
    pipeline = make_pipeline(preprocessing(), classifier).fit(decode(schema, rows), classify(rows))
    found = served(pipeline, labelled(schema, pipeline), rows)
    assert (pipeline.classes_[found["label"]] == pipeline.predict(decode(schema, rows))).all()
    np.testing.assert_allclose(found["probabilities"], pipeline.predict_proba(decode(schema, rows)), rtol=0, atol=1e-15)


def test_regressor_answers_values() -> None:
    """A whole regression pipeline gives one value per row, and the graph knows the forest's thresholds."""
    schema = schema_of("size", "word", "count", "thing", "zone")
    rows = draw(schema, 200)
    pipeline = make_pipeline(preprocessing(), RandomForestRegressor(10, random_state=0)).fit(
        decode(schema, rows), rows[:, 2] * 1.1
    )
    found = served(pipeline, schema, rows)["value"]
    assert found.shape == (200,)
    np.testing.assert_array_equal(found, pipeline.predict(decode(schema, rows)))
    assert set(build(pipeline, schema)[1].thresholds) == {0, 2}


def test_integer_categories_reach_a_model_as_numbers() -> None:
    """A model without an encoder computes with integer-coded categories as scikit-learn does, and refuses text."""
    schema = schema_of("count", "grade", "zone")
    rows = draw(schema, 200, missing=0.0)
    model = RandomForestRegressor(10, random_state=0).fit(decode(schema, rows), rows[:, 0] - rows[:, 1])
    np.testing.assert_array_equal(served(model, schema, rows)["value"], model.predict(decode(schema, rows)))
    with pytest.raises(NotConvertibleError, match="'word'"):
        build(LinearRegression(), schema_of("word"))


@pytest.mark.parametrize("search", ["grid", "random", "halving"])
def test_search_answers_with_its_best_estimator(search: str) -> None:
    """A search is the pipeline that it found best."""
    schema = schema_of("size", "word", "count", "thing", "zone")
    rows = draw(schema, 120)
    pipeline = make_pipeline(preprocessing(), RandomForestClassifier(5, random_state=0))
    depths = {"randomforestclassifier__max_depth": [1, 3]}
    found: Any = {
        "grid": lambda: GridSearchCV(pipeline, depths, cv=2),
        "random": lambda: RandomizedSearchCV(
            pipeline, {"randomforestclassifier__max_depth": randint(1, 4)}, n_iter=2, cv=2, random_state=0
        ),
        "halving": lambda: HalvingGridSearchCV(pipeline, depths, cv=2, min_resources=40, random_state=0),
    }[search]()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found.fit(decode(schema, rows), classify(rows))
    answers = served(found, labelled(schema, found), rows)
    np.testing.assert_array_equal(answers["probabilities"], found.predict_proba(decode(schema, rows)))


@pytest.mark.parametrize(
    "settings",
    [
        {"transformer": StandardScaler()},
        {"transformer": RobustScaler(with_centering=False)},
        {"transformer": MinMaxScaler((1, 2))},
        {"transformer": MaxAbsScaler()},
        {},
        {"func": np.log, "inverse_func": np.exp},
        {"func": np.log1p, "inverse_func": np.expm1},
        {"func": np.square, "inverse_func": np.sqrt},
    ],
    ids=str,
)
def test_transformed_target_is_restored(settings: dict[str, Any]) -> None:
    """The value goes back through the inverse of the target's transformer."""
    schema = schema_of("weight", "count")
    rows = draw(schema, 150)
    regressor = RandomForestRegressor(5, random_state=0)
    model = TransformedTargetRegressor(regressor, **settings).fit(decode(schema, rows), np.abs(rows[:, 1]) * 1.7 + 0.3)
    np.testing.assert_allclose(
        served(model, schema, rows)["value"], model.predict(decode(schema, rows)), rtol=2e-15, atol=0
    )


def test_unknown_inverse_of_the_target_is_refused() -> None:
    """A function that cannot be looked into is refused."""
    schema = schema_of("weight")
    rows = draw(schema, 30)
    model = TransformedTargetRegressor(Ridge(), func=np.cbrt, inverse_func=lambda y: y**3).fit(
        decode(schema, rows), rows[:, 0]
    )
    with pytest.raises(NotConvertibleError, match="target"):
        build(model, schema)


def test_trees_take_an_encoders_values_in_float32() -> None:
    """A forest behind an encoder that returns float32 is exact; a model that would compute in float32 is refused."""
    schema = schema_of("word", "kind")
    rows = draw(schema, 100)
    encoder = OneHotEncoder(dtype=np.float32)
    forest = make_pipeline(encoder, RandomForestRegressor(5, random_state=0)).fit(
        decode(schema, rows), np.arange(100) % 7
    )
    np.testing.assert_array_equal(served(forest, schema, rows)["value"], forest.predict(decode(schema, rows)))
    with pytest.raises(NotConvertibleError, match="float32"):
        build(make_pipeline(encoder, Ridge()).fit(decode(schema, rows), np.arange(100) % 7), schema)


def test_only_columns_of_objects_hold_none() -> None:
    """Only objects can hold None; every other column's missing value is NaN, whatever its contract says."""
    columns = tuple(
        msgspec.structs.replace(COLUMNS[name], missing_as="none") for name in ("size", "word", "thing", "maybe")
    )
    schema = Schema(columns, "target", "regression")
    rows = np.full((1, 4), np.nan)
    held = [value is None for value in np.asarray(decode(schema, rows), dtype=object)[0]]
    assert [feature.missing_as == "none" for feature in input_frame(schema).features] == held


def test_wrong_task_is_refused() -> None:
    """A regressor under a contract of classification is refused."""
    schema = schema_of("weight")
    model = LinearRegression().fit(decode(schema, draw(schema, 20)), np.arange(20))
    with pytest.raises(NotConvertibleError, match="classification"):
        build(model, msgspec.structs.replace(schema, task="classification", labels=(0, 1)))


def test_histogram_boosting_takes_integer_codes() -> None:
    """Histogram boosting with categories from dtypes is given integer-coded columns as codes, and agrees."""
    schema = schema_of("grade", "weight", "kind")
    rows = draw(schema, 200)
    model = HistGradientBoostingClassifier(max_iter=5, categorical_features="from_dtype").fit(
        decode(schema, rows), rows[:, 1] > 0.2
    )
    found = served(model, labelled(schema, model), rows)
    np.testing.assert_allclose(found["probabilities"], model.predict_proba(decode(schema, rows)), rtol=0, atol=1e-15)
