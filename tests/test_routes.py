"""Tests of raw rows through every route: the reference is the fitted pipeline on the caller's own object, untouched."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor, make_column_transformer
from sklearn.datasets import load_diabetes
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, PoissonRegressor, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, OneHotEncoder, PolynomialFeatures, StandardScaler

import orris
from orris.api import InputWarning, Model
from orris.bundle import read_manifest, seal
from orris.errors import IntegrityError, NotReadyError, ParityError, RowError, SchemaError, TableError, TrainingError
from orris.protocols.instances import InstanceRows
from orris.protocols.invocations import Invocations
from orris.protocols.named import NamedRows
from orris.protocols.openinference import OpenInference
from orris.protocols.tensors import TensorReader, from_raw, from_values, to_raw
from orris.routes import compare
from orris.schema import Bounds
from orris.training.bundling import Given

JSON = {b"content-type": b"application/json"}
CSV = {b"content-type": b"text/csv"}
RNG = np.random.default_rng(0)


def loaded(pipeline: Any, X: Any, y: Any, **options: Any) -> Model:
    """Return the packaged pipeline as a server would load it."""
    return orris.load(orris.package(pipeline, X, y, name="m", store=None, **options))


def by_json(model: Model, document: Any) -> npt.NDArray[Any]:
    """Return the model's answers to a JSON body of named rows."""
    rows = NamedRows().read(model.engine, json.dumps(document).encode(), JSON).rows
    return model.engine.run(rows).found


def by_csv(model: Model, text: str) -> npt.NDArray[Any]:
    """Return the model's answers to a CSV body."""
    return model.engine.run(Invocations().read(model.engine, text.encode(), CSV).rows).found


def towns() -> tuple[pd.DataFrame, npt.NDArray[Any]]:
    """A column of text that says much about the target, and a number."""
    rng = np.random.default_rng(1)
    town = rng.choice(["Lima", "Oslo", "Rome"], 300)
    return pd.DataFrame({"town": town, "age": rng.normal(40, 9, 300)}), np.where(town == "Rome", 1, 0)


@pytest.mark.parametrize("unknown", ["ignore", "error"])
def test_a_level_that_the_packaged_rows_lack_is_known_from_the_encoder(unknown: str) -> None:
    """Rome is answered as scikit-learn answers it, also where the holdout has no Rome."""
    X, y = towns()
    encoder = OneHotEncoder(handle_unknown=unknown)
    pipeline = make_pipeline(
        make_column_transformer((encoder, ["town"]), (StandardScaler(), ["age"])), LogisticRegression()
    )
    pipeline.fit(X, y)
    holdout = X[X.town != "Rome"]
    model = loaded(pipeline, holdout, y[holdout.index])
    assert model.schema.columns[0].levels == ("Lima", "Oslo", "Rome")
    rome = {"town": "Rome", "age": 41.5}
    expected = pipeline.predict(pd.DataFrame([rome]))
    assert by_json(model, rome).tolist() == model.predict(pd.DataFrame([rome])).tolist() == expected.tolist() == [1]
    if unknown == "error":
        with pytest.raises(RowError, match="the fitted model takes no others"):
            by_json(model, {"town": "Paris", "age": 1})


def test_whole_numbers_that_only_an_encoder_reads_are_a_category() -> None:
    """A code that scikit-learn's encoder refuses is refused by the server too."""
    X = pd.DataFrame({"code": RNG.integers(1, 4, 200), "age": RNG.normal(size=200)})
    pipeline = make_pipeline(make_column_transformer((OneHotEncoder(), ["code"]), remainder="passthrough"), Ridge())
    model = loaded(pipeline.fit(X, X.code * 2.0), X, X.code * 2.0)
    assert model.schema.columns[0].levels == (1, 2, 3)
    with pytest.raises(RowError, match="not one of the levels"):
        model.predict([{"code": 9, "age": 0}])


def test_float32_stays_float32() -> None:
    """What was fitted on float32 rows is served as scikit-learn computes on float32 rows, to the last label."""
    rng = np.random.default_rng(3)
    columns = [f"x{i}" for i in range(5)]
    X = pd.DataFrame(rng.normal(10, 3, (400, 5)).round(1).astype(np.float32), columns=columns)
    y = (X.sum(axis=1) > 50).astype(int)
    pipeline = make_pipeline(StandardScaler(), RandomForestClassifier(20, random_state=0)).fit(X, y)
    model = loaded(pipeline, X, y)
    assert {column.dtype for column in model.schema.columns} == {"float32"}
    new = pd.DataFrame(rng.normal(10, 3, (3000, 5)).round(1).astype(np.float32), columns=columns)
    assert np.array_equal(model.predict_proba(new), pipeline.predict_proba(new))
    decimals = new.astype(float).round(1).head(50).to_dict("records")
    assert np.array_equal(by_json(model, decimals), pipeline.predict(new.head(50)))


def test_a_forest_on_float32_rows_is_compiled_exactly() -> None:
    """A forest on float32 rows is exact; a mixture with float64 columns is computed in float64."""
    rng = np.random.default_rng(4)
    X = pd.DataFrame({"a": rng.normal(size=300).astype(np.float32), "b": rng.normal(size=300)})
    y = (X.a + X.b > 0).astype(int)
    single = RandomForestClassifier(10, random_state=0).fit(X[["a"]], y)
    bundle = orris.package(single, X[["a"]], y, name="m", store=None)
    assert bundle.verdict.strategy == "exact"
    mixed = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    bundle = orris.package(mixed, X, y, name="m", store=None)
    assert bundle.verdict.strategy == "exact"
    tenth = [{"a": 0.1, "b": 0.1}]
    expected = mixed.predict_proba(pd.DataFrame(tenth).astype({"a": np.float32}))
    assert np.abs(orris.load(bundle).predict_proba(tenth) - expected).max() < 1e-12


def test_a_table_of_several_precisions_is_answered_as_the_pipeline_answers_it() -> None:
    """A scaler converts a mixed table to float64 at once, and the answers are those of the pipeline."""
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    pipeline = make_pipeline(StandardScaler(), Ridge()).fit(X, y)
    model = loaded(pipeline, X, y)
    mixed = X.astype({"age": np.float32, "bmi": np.float32})
    with warnings.catch_warnings():
        warnings.simplefilter("error", InputWarning)
        assert np.allclose(model.predict(mixed), pipeline.predict(mixed), rtol=1e-13, atol=0)
    assert model.manifest.others is not None
    assert model.manifest.others["float32"] == "beside"


def test_the_precision_of_the_answers_of_an_older_bundle_is_named() -> None:
    """A bundle that does not say what answers a mixed table answers it in float64, with a warning."""
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    model = loaded(make_pipeline(StandardScaler(), Ridge()).fit(X, y), X, y)
    older = Model(replace(model.engine, manifest=msgspec.structs.replace(model.manifest, others=None)))
    mixed = X.astype({"age": np.float32, "bmi": np.float32})
    with pytest.warns(InputWarning, match="computes in float64"):
        answers = older.predict(mixed)
    assert np.array_equal(answers, model.predict(mixed.astype(np.float64)))


TYPES: dict[str, dict[str, str]] = {
    "float64": dict.fromkeys("abc", "float64"),
    "float32": dict.fromkeys("abc", "float32"),
    "everything float32": dict.fromkeys("abcn", "float32"),
    "some float32": {"a": "float32", "b": "float32"},
    "one float32": {"a": "float32"},
    "float16": dict.fromkeys("abc", "float16"),
    "extended": dict.fromkeys("abc", "longdouble"),
    "objects": dict.fromkeys("abcn", "object"),
    "nullable": dict.fromkeys("abc", "Float32"),
    "Arrow": dict.fromkeys("abc", "float[pyarrow]"),
    "small integers": {"n": "int8"},
    "whole numbers": dict.fromkeys("abc", "int64"),
}


@pytest.mark.parametrize("fitted_on", ["float64", "float32", "some float32", "nullable"])
@pytest.mark.parametrize("parts", ["a whole table", "parts of a table", "a function"])
def test_tables_of_other_types_are_answered_as_by_the_pipeline_or_refused(fitted_on: str, parts: str) -> None:
    """No table of other floats, fitted on whichever, gets another answer than that of the fitted pipeline to it."""
    rng = np.random.default_rng(21)
    X = pd.DataFrame(rng.normal(10, 3, (200, 3)).round(1), columns=list("abc")).assign(n=rng.integers(0, 100, 200))
    y = X.sum(axis=1).to_numpy()
    prepared: dict[str, Any] = {
        "a whole table": StandardScaler(),
        "parts of a table": make_column_transformer((StandardScaler(), ["a", "b"]), (MinMaxScaler(), ["c", "n"])),
        "a function": FunctionTransformer(np.sqrt),
    }
    last = Ridge() if parts == "a function" else RandomForestRegressor(5, random_state=0)
    table = X.astype(TYPES[fitted_on])
    pipeline = make_pipeline(prepared[parts], last).fit(table, y)
    try:
        model = loaded(pipeline, table, y)
    except ParityError:
        assert (fitted_on, parts) == ("nullable", "a function")  # which computes in float32, as no other step does
        return
    answered = set()
    for name, types in TYPES.items():
        other = X.astype(types)
        try:
            expected = pipeline.predict(other)
            answers = model.predict(other)
        except (RowError, TypeError):
            continue
        answered.add(name)
        np.testing.assert_allclose(answers, expected, rtol=1e-12 if parts == "a function" else 0, atol=0, err_msg=name)
    assert {fitted_on, "float64" if parts != "a function" else fitted_on} <= answered


def test_whole_numbers_of_a_column_with_gaps_are_answered_beside_float32() -> None:
    """A column that had gaps, and was float64 for it, may come as integers beside a column of float32."""
    rng = np.random.default_rng(22)
    X = pd.DataFrame({"a": rng.normal(size=90).astype(np.float32), "n": rng.integers(0, 9, 90).astype(float)})
    X.loc[::9, "n"] = np.nan
    y = X.a + X.n.fillna(4)
    pipeline = make_pipeline(HistGradientBoostingRegressor(max_iter=5)).fit(X, y)
    complete = X.dropna().astype({"n": np.int64})
    assert np.array_equal(loaded(pipeline, X, y).predict(complete), pipeline.predict(complete))


def test_a_further_model_that_was_exchanged_is_not_used() -> None:
    """A file for float32 that answers otherwise is noticed by the digest, and by its golden rows if it is sealed."""
    pipeline, _ = FLOAT32_TABLES["a linear model behind products of columns"]
    X, y = _measured()
    folder = orris.package(pipeline.fit(X, y), X, y, name="m", store=None).folder
    manifest = read_manifest(folder)
    assert len(manifest.further["single.onnx"].rows) > 8
    (folder / "single.onnx").write_bytes((folder / "model.onnx").read_bytes())
    with pytest.raises(IntegrityError, match=r"single\.onnx"):
        orris.load(folder)
    kept = {name: getattr(manifest, name) for name in _SEALED}
    resealed = seal(folder, **kept)
    assert resealed.digest != manifest.digest
    model = orris.load(folder)
    single = X.astype(dict.fromkeys("abcd", np.float32))
    assert model.predict(X).tolist() == pipeline.predict(X).tolist()
    for use in (lambda: model.predict(single), model.engine.verify_further):
        with pytest.raises(NotReadyError, match=r"single\.onnx.*golden rows"):
            use()


_SEALED = (
    *("name", "version", "created", "orris", "model_file", "front_file", "schema", "verdict", "golden", "examples"),
    *("float32", "float64", "others", "further", "metrics", "provenance"),
)


def test_a_bundle_without_golden_rows_of_its_further_model_is_read() -> None:
    """A bundle of an earlier version, whose digest does not hold ``single.onnx``, is loaded and answers float32."""
    pipeline, _ = FLOAT32_TABLES["trees behind a scaler"]
    X, y = _measured()
    folder = orris.package(pipeline.fit(X, y), X, y, name="m", store=None).folder
    manifest = read_manifest(folder)
    kept = {name: getattr(manifest, name) for name in _SEALED}
    assert seal(folder, **(kept | {"others": None, "further": {}})).digest != manifest.digest
    single = X.astype(dict.fromkeys("abcd", np.float32))
    assert orris.load(folder).predict(single).tolist() == pipeline.predict(single).tolist()


def _measured() -> tuple[pd.DataFrame, Any]:
    """300 rows of decimals with gaps, a town and a count; yes or no."""
    rng = np.random.default_rng(11)
    X = pd.DataFrame(rng.normal(10, 3, (300, 4)).round(1), columns=list("abcd"))
    y = np.where(X["a"] + X["b"] + rng.normal(size=300) > 20, "yes", "no")
    X = X.mask(rng.random(X.shape) < 0.05)
    return X.assign(town=rng.choice(["Lima", "Oslo"], 300), count=rng.integers(0, 9, 300)), y


def _prepared(*scalers: Any) -> Any:
    numbers = make_pipeline(SimpleImputer(add_indicator=True), *scalers)
    return make_column_transformer((numbers, list("abcd")), (OneHotEncoder(), ["town"]), remainder="passthrough")


FLOAT32_TABLES: dict[str, tuple[Any, str]] = {
    "trees behind a scaler": (
        make_pipeline(_prepared(StandardScaler()), RandomForestClassifier(9, random_state=0)),
        "file",
    ),
    "boosting without steps": (HistGradientBoostingClassifier(max_iter=9, random_state=0), "same"),
    "a linear model behind products of columns": (
        make_pipeline(_prepared(PolynomialFeatures(2, interaction_only=True), MinMaxScaler()), LogisticRegression()),
        "file",
    ),
    "scikit-learn's own": (
        CalibratedClassifierCV(make_pipeline(_prepared(FunctionTransformer(np.cbrt)), LogisticRegression()), cv=2),
        "library",
    ),
    "nothing that answers it alike": (
        make_pipeline(_prepared(StandardScaler(), FunctionTransformer(np.cbrt)), LogisticRegression()),
        "refused",
    ),
}


@pytest.mark.parametrize("name", FLOAT32_TABLES)
def test_a_table_of_float32_is_answered_as_the_pipeline_answers_it(name: str) -> None:
    """A pipeline that was fitted on float64 computes in float32 on such a table, and so does what is loaded."""
    pipeline, kind = FLOAT32_TABLES[name]
    X, y = _measured()
    X = X[list("abcd")] if kind == "same" else X
    pipeline.fit(X, y)
    bundle = orris.package(pipeline, X, y, name="m", store=None)
    assert bundle.manifest.float32 == kind
    assert (bundle.folder / "single.onnx").exists() == (kind == "file")
    model = orris.load(bundle)
    rng = np.random.default_rng(12)
    new = pd.concat([X, X.assign(**{name: rng.normal(10, 3, 300).round(1) for name in "abcd"})], ignore_index=True)
    single = new.astype(dict.fromkeys("abcd", np.float32))
    if kind == "refused":
        with pytest.raises(RowError, match=r"Give rows\.astype"):
            model.predict(single)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("error", InputWarning)
        answers, probabilities = model.predict(single), model.predict_proba(single)
    assert answers.tolist() == pipeline.predict(single).tolist()
    np.testing.assert_allclose(probabilities, pipeline.predict_proba(single), rtol=0, atol=1e-12)
    np.testing.assert_allclose(model.predict_proba(new), pipeline.predict_proba(new), rtol=0, atol=1e-12)


def test_an_array_of_float32_is_answered_as_the_pipeline_answers_it() -> None:
    """Thousands of float32 rows in an array are answered by a forest behind a scaler with the same bits."""
    rng = np.random.default_rng(3)
    X = rng.normal(10, 3, (400, 5)).round(1)
    y = (X.sum(axis=1) > 50).astype(int)
    pipeline = make_pipeline(StandardScaler(), RandomForestClassifier(20, random_state=0)).fit(X, y)
    model = loaded(pipeline, X, y)
    new = rng.normal(10, 3, (5000, 5)).round(1)
    assert not np.array_equal(pipeline.predict_proba(new), pipeline.predict_proba(new.astype(np.float32)))
    for rows in (new, new.astype(np.float32)):
        assert np.array_equal(model.predict_proba(rows), pipeline.predict_proba(rows))


def namibia(folder: Path) -> Path:
    """A table in which ``NA``, among other things, stands for Namibia."""
    rng = np.random.default_rng(5)
    lines = ["country,age,answer"]
    for _ in range(400):
        country = rng.choice(["NA", "NO", "PE"])
        lines.append(f"{country},{rng.integers(18, 80)},{'yes' if (country == 'NA') == (rng.random() < 0.9) else 'no'}")
    path = folder / "survey.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_text_for_a_missing_value_means_the_same_on_every_route(tmp_path: Path) -> None:
    """``NA`` in CSV, ``"NA"`` in JSON and ``"NA"`` in a DataFrame are one value, and so is an empty text."""
    model = orris.load(orris.train(namibia(tmp_path), target="answer", store=None, folds=0))
    rows = model.engine.reader.read
    for text in ("NA", "", " NA "):
        encoded, _ = rows(json.dumps({"country": text, "age": 30}).encode())
        assert np.isnan(encoded[0, 0])
    answers = [
        by_csv(model, "country,age\nNA,30\n")[0],
        by_json(model, {"country": "NA", "age": 30})[0],
        by_json(model, {"country": None, "age": 30})[0],
        by_json(model, {"country": "", "age": 30})[0],
    ]
    labels = [model.schema.labels[i] for i in answers]
    assert labels == [*model.predict(pd.DataFrame({"country": ["NA"], "age": [30]})).tolist() * 4]


def test_a_table_with_spaces_scores_the_same_read_by_pandas(tmp_path: Path) -> None:
    """Names and values that training trimmed are trimmed in a DataFrame, in JSON and in CSV."""
    rng = np.random.default_rng(6)
    work = rng.choice(["Private", "State"], 300)
    path = tmp_path / "adult.csv"
    rows = [f"{w}, {rng.integers(20, 60)}, {'high' if w == 'State' else 'low'}" for w in work]
    path.write_text("\n".join(["work, hours, income", *rows]) + "\n")
    model = orris.load(orris.train(path, target="income", store=None, folds=0))
    frame = pd.read_csv(path)
    assert frame.columns[1] == " hours"
    truth = frame[" income"].str.strip()
    assert (model.predict(frame) == truth).mean() > 0.99
    with_space, without = ({"work": text, "hours": 30} for text in (" Private", "Private"))
    assert by_json(model, with_space) == by_json(model, without)
    assert by_json(model, {" work ": "State", " hours": 30}) == by_csv(model, "work, hours\nState, 30\n")


def test_a_name_with_spaces_of_a_packaged_table_keeps_them() -> None:
    """Nothing was trimmed in training, so nothing is trimmed now, in JSON or in CSV."""
    X = pd.DataFrame({" amount ": RNG.normal(size=80), "b": RNG.normal(size=80)})
    pipeline = LinearRegression().fit(X, X[" amount "])
    model = loaded(pipeline, X, X[" amount "])
    assert np.allclose([by_json(model, {" amount ": 2, "b": 1}), by_csv(model, " amount ,b\n2,1\n")], 2)
    with pytest.raises(RowError, match="did you mean ' amount '"):
        by_csv(model, "amount,b\n2,1\n")


@pytest.mark.parametrize("meant", [None, ""])
def test_an_empty_v2_text_is_answered_as_a_missing_value_unless_it_is_a_level(meant: str | None) -> None:
    """An empty V2 text gets the fitted pipeline's answer to None, or to the level if it is one."""
    X = pd.DataFrame({"c": pd.Series(["yes", "no", meant] * 40, dtype=object), "x": RNG.normal(size=120)})
    y = np.array([1.0, 2.0, 5.0] * 40)
    pipeline = make_pipeline(
        make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["c"]), remainder="passthrough"), Ridge(1e-9)
    ).fit(X, y)
    model = loaded(pipeline, X, y)
    expected = pipeline.predict(pd.DataFrame({"c": pd.Series([meant, "yes", "Rome"], dtype=object), "x": [0.0] * 3}))
    assert len(set(expected.round(2))) == 3
    inputs = [from_values("c", "BYTES", [3], [b"", b"yes", b"Rome"]), from_values("x", "FP64", [3], [0.0] * 3)]
    rows = TensorReader(model.engine.schema).read([from_raw(*tensor[:3], to_raw(tensor)) for tensor in inputs])
    assert np.allclose(model.engine.run(rows).found, expected)
    document = {"inputs": [{"name": "c", "shape": [1], "datatype": "BYTES", "data": [""]}]}
    document["inputs"].append({"name": "x", "shape": [1], "datatype": "FP64", "data": [0.0]})
    rows = OpenInference().read(model.engine, json.dumps(document).encode(), JSON).rows
    assert np.allclose(model.engine.run(rows).found, expected[:1])


def test_a_quoted_text_in_csv_is_text() -> None:
    """A column with the level ``NA`` has it in quotation marks and without, if training read no ``NA`` as missing."""
    X = pd.DataFrame({"c": ["NA", "NO"] * 60, "x": RNG.normal(size=120)})
    y = (X.c == "NA").astype(float)
    pipeline = make_pipeline(
        make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["c"]), remainder="passthrough"), Ridge(1e-9)
    ).fit(X, y)
    model = loaded(pipeline, X, y)
    assert np.allclose(by_csv(model, 'c,x\n"NA",0\nNA,0\nNO,0\n'), [1, 1, 0], atol=1e-6)
    expected = pipeline.predict(pd.DataFrame({"c": ["", None], "x": [0.0, 0.0]}))
    assert np.allclose(by_csv(model, 'c,x\n"",0\n,0\n'), expected)


def test_an_empty_text_beside_a_missing_value_is_a_level_where_it_is_quoted() -> None:
    """Both can be published, and each has one meaning: CSV's empty value without quotation marks is missing."""
    X = pd.DataFrame({"c": pd.Series(["yes", "", None] * 40, dtype=object), "x": RNG.normal(size=120)})
    y = np.array([1.0, 2.0, 5.0] * 40)
    encode = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["c"]), remainder="passthrough")
    pipeline = make_pipeline(encode, Ridge(1e-9)).fit(X, y)
    model = loaded(pipeline, X, y)
    expected = pipeline.predict(pd.DataFrame({"c": pd.Series(["", None], dtype=object), "x": [0.0, 0.0]}))
    assert np.allclose(by_csv(model, 'c,x\n"",0\n,0\n'), expected)
    assert np.allclose(by_json(model, [{"c": "", "x": 0}, {"c": None, "x": 0}]), expected)
    without = X[X.c.notna()]
    model = loaded(pipeline.fit(without, y[without.index]), without, y[without.index])
    expected = pipeline.predict(pd.DataFrame({"c": [""], "x": [0.0]}))
    assert np.allclose([by_csv(model, "c,x\n,0\n"), by_csv(model, 'c,x\n"",0\n')], expected)


@pytest.mark.parametrize("dtype", ["float64", "float32", "object", "category"])
def test_numbers_with_fractions_that_an_encoder_tells_apart_are_levels(dtype: Any) -> None:
    """What the encoder holds is answered on every route, and other values are refused."""
    doses = RNG.choice([0.1, 1.0, 2.5], 90)
    X = pd.DataFrame({"dose": pd.Series(doses, dtype=dtype), "age": RNG.normal(size=90)})
    pipeline = make_pipeline(make_column_transformer((OneHotEncoder(), ["dose"]), remainder="passthrough"), Ridge())
    model = loaded(pipeline.fit(X, doses * 2), X, doses * 2)
    expected = pipeline.predict(pd.DataFrame({"dose": pd.Series([0.1], dtype=X.dose.dtype), "age": [0.0]}))
    assert np.allclose(model.predict([{"dose": 0.1, "age": 0}]), expected, rtol=1e-9)
    assert np.allclose(by_csv(model, "dose,age\n0.10,0\n"), expected, rtol=1e-9)
    tensors = [from_values("dose", "FP64", [1], [0.1]), from_values("age", "FP64", [1], [0.0])]
    assert np.allclose(model.engine.run(TensorReader(model.engine.schema).read(tensors)).found, expected, rtol=1e-9)
    assert np.allclose(by_json(model, {"dose": 1, "age": 900.5}), by_json(model, {"dose": 1.0, "age": 900.5}))
    with pytest.raises(RowError, match="not one of the levels, and the fitted model takes no others"):
        by_json(model, {"dose": 0.2, "age": 0})
    with pytest.raises(RowError, match="not one of the levels, and the fitted model takes no others"):
        by_csv(model, "dose,age\n0.2,0\n")


def test_integers_beyond_float64_are_answered_as_by_scikit_learn() -> None:
    """Times in nanoseconds, as rows of integers: the pipeline converts them to float64, and so does every route."""
    X = pd.DataFrame({"time": 1_700_000_000_000_000_000 + RNG.integers(0, 10**15, 90), "n": RNG.integers(0, 9, 90)})
    X["time"] |= 1
    y = (X.time % 10**12) / 1e12
    pipeline = make_pipeline(StandardScaler(), Ridge()).fit(X, y)
    model = loaded(pipeline, X, y)
    expected = pipeline.predict(X.head(1))
    time, n = X.iloc[0].tolist()
    assert np.allclose(by_json(model, {"time": time, "n": n}), expected, rtol=1e-12)
    assert np.allclose(by_csv(model, f"time,n\n{time},{n}\n"), expected, rtol=1e-12)
    tensors = [from_values("time", "INT64", [1], [time]), from_values("n", "INT64", [1], [n])]
    assert np.allclose(model.engine.run(TensorReader(model.engine.schema).read(tensors)).found, expected, rtol=1e-12)
    with pytest.raises(SchemaError, match="declared integer, and holds integers beyond"):
        loaded(pipeline, X, y, integer=["time"])


def test_an_answer_that_is_no_number_is_a_refusal_that_names_the_column() -> None:
    """An answer that is not finite is refused with the column, and a finite one is given however large the input."""
    rng = np.random.default_rng(7)
    X = pd.DataFrame(rng.uniform(0, 3, (300, 6)), columns=list("abcdef"))
    model_of_rate = PoissonRegressor(alpha=0).fit(X, rng.poisson(np.exp(X.a)))
    model = loaded(model_of_rate, X, rng.poisson(np.exp(X.a)))
    beyond = X.iloc[:1].assign(a=float(X.a.max()) + 1)
    assert np.allclose(model.predict(beyond), model_of_rate.predict(beyond))
    with pytest.raises(RowError, match="column 'a': the model has no finite answer to this row"):
        model.predict(X.iloc[:1].assign(a=1e4))
    with pytest.raises(RowError, match=r"^row 0: the model has no finite answer"):
        model.predict(pd.DataFrame([dict.fromkeys("abcdef", 1e5)]))


def test_a_target_on_a_log_scale_answers_beyond_the_training_range() -> None:
    """A salary that is one more than training saw is answered."""
    rng = np.random.default_rng(8)
    X = pd.DataFrame({"salary": rng.integers(20_000, 49_917, 400).astype(float)})
    y = np.exp(X.salary / 20_000)
    pipeline = TransformedTargetRegressor(LinearRegression(), func=np.log1p, inverse_func=np.expm1).fit(X, y)
    model = loaded(pipeline, X, y)
    for salary in (49_917.0, 60_000.0, 0.0, -5e4):
        row = pd.DataFrame({"salary": [salary]})
        assert np.allclose(model.predict(row), pipeline.predict(row), rtol=1e-9)
    with pytest.raises(RowError, match="column 'salary': the model has no finite answer"):
        model.predict([{"salary": 1e9}])


def customers() -> tuple[pd.DataFrame, Any]:
    """A table with columns that the pipeline drops."""
    rng = np.random.default_rng(9)
    X = pd.DataFrame(
        {
            "customerID": [f"id-{i:05}" for i in range(200)],
            "age": rng.integers(18, 80, 200),
            "signup_date": pd.date_range("2020-01-01", periods=200),
            "plan": rng.choice(["a", "b"], 200),
        }
    )
    y = (X.age > 50).astype(int)
    pipeline = make_pipeline(
        make_column_transformer((StandardScaler(), ["age"]), (OneHotEncoder(), ["plan"]), remainder="drop"),
        LogisticRegression(),
    )
    return X, pipeline.fit(X, y)


def test_columns_that_the_pipeline_never_reads_are_not_in_the_contract() -> None:
    """Rows in every form may carry or leave out columns that the pipeline never reads."""
    X, pipeline = customers()
    model = loaded(pipeline, X, (X.age > 50).astype(int))
    assert model.schema.names == ("age", "plan")
    expected = pipeline.predict(X).tolist()
    assert model.predict(X).tolist() == model.predict(X[["plan", "age"]]).tolist() == expected
    full = {"customerID": "x:1", "age": 70, "signup_date": "2021-01-01T00:00:00", "plan": "a"}
    assert by_json(model, full) == by_json(model, {"age": 70, "plan": "a"})
    body = json.dumps({"instances": [list(full.values()), [70, "a"], {"age": 70, "plan": "a"}]}).encode()
    assert len({*model.engine.run(InstanceRows().read(model.engine, body, JSON).rows).found.tolist()}) == 1
    assert by_csv(model, "customerID,age,plan\n7,70,a\n") == by_json(model, full)


def test_unread_columns_of_an_array_keep_their_place() -> None:
    """A pipeline that was fitted on an array gets arrays of the same width, unread columns included."""
    X = np.column_stack([np.arange(100.0), RNG.normal(size=(100, 3))])
    y = X[:, 2] > 0
    pipeline = make_pipeline(make_column_transformer((StandardScaler(), [2, 3])), LogisticRegression()).fit(X, y)
    model = loaded(pipeline, X, y)
    assert model.schema.names == ("x2", "x3")
    assert model.predict(X).tolist() == model.predict(X[:, 2:]).tolist() == pipeline.predict(X).tolist()


def test_a_missing_value_is_answered_where_the_pipeline_answers_it() -> None:
    """A column with an imputer answers missing values with a warning, unless it is declared required."""
    X = pd.DataFrame({"n": RNG.integers(0, 9, 150), "x": RNG.normal(size=150)})
    y = X.n + X.x
    pipeline = make_pipeline(SimpleImputer(), StandardScaler(), Ridge()).fit(X, y)
    model = loaded(pipeline, X, y)
    row = pd.DataFrame({"n": [2.5], "x": [None]}, dtype=float)
    assert np.allclose([by_json(model, {"n": 2.5, "x": None}), by_json(model, {"n": 2.5})], pipeline.predict(row))
    kinds = model.engine.watch.kinds(model.engine.reader.read(b'{"n": 2.5}')[0])
    assert [kind for _, _, kind in kinds] == ["fraction", "missing"]
    strict = loaded(pipeline, X, y, required=["x"], integer=["n"], bounds={"x": Bounds(maximum=9)})
    for document, words in (({"n": 2.5, "x": 1}, "declared integer"), ({"n": 2}, "declared required")):
        with pytest.raises(RowError, match=words):
            by_json(strict, document)
    with pytest.raises(RowError, match=r"must be at most 9 \(a declared bound\)"):
        by_json(strict, {"n": 2, "x": 10})
    plain = loaded(make_pipeline(StandardScaler(), Ridge()).fit(X, y), X, y)
    with pytest.raises(RowError, match="the fitted model takes no missing values here"):
        by_json(plain, {"n": 2, "x": None})


def rows_by(way: str, model: Model, row: dict[str, Any]) -> npt.NDArray[Any]:
    """Return the answer to one row on one route."""
    if way == "DataFrame":
        return model.predict(pd.DataFrame([row]))
    if way == "CSV":
        cells = [
            "" if value is None else f'"{value}"' if isinstance(value, str) else str(value) for value in row.values()
        ]
        return by_csv(model, f"{','.join(row)}\n{','.join(cells)}\n")
    if way == "instances":
        body = json.dumps({"instances": [list(row.values())]}).encode()
        return model.engine.run(InstanceRows().read(model.engine, body, JSON).rows).found
    if way == "V2":
        types = {str: "BYTES", int: "INT64"}
        inputs = [
            {"name": name, "shape": [1, 1], "datatype": types.get(type(value), "FP64"), "data": [value]}
            for name, value in row.items()
        ]
        body = json.dumps({"inputs": inputs}).encode()
        return model.engine.run(OpenInference().read(model.engine, body, JSON).rows).found
    return by_json(model, row)


@pytest.mark.parametrize("way", ["DataFrame", "JSON", "instances", "V2", "CSV"])
def test_a_declaration_refuses_on_every_route(way: str) -> None:
    """The model itself takes each of these values, and the refusal says that the declaration does not."""
    X, y = towns()
    X["visits"] = np.arange(300) % 7
    encode = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["town"]), remainder=SimpleImputer())
    pipeline = make_pipeline(encode, Ridge()).fit(X, y)
    declared = {"required": ["age"], "integer": ["visits"], "closed": ["town"], "bounds": {"age": Bounds(maximum=120)}}
    free, bound = loaded(pipeline, X, y), loaded(pipeline, X, y, **declared)
    row = {"town": "Rome", "age": 41.5, "visits": 3}
    for change, words in (
        ({"age": None}, "a value is needed: the column is declared required"),
        ({"visits": 2.5}, "the column is declared integer"),
        ({"town": "Paris"}, "not one of the levels, and the column is declared closed"),
        ({"age": 121.0}, r"must be at most 120 \(a declared bound\)"),
    ):
        changed = row | change
        frame = pd.DataFrame([changed]).astype({"age": float})
        assert np.allclose(rows_by(way, free, changed), pipeline.predict(frame))
        with pytest.raises(RowError, match=words):
            rows_by(way, bound, changed)


def test_unknown_columns_are_ignored_with_a_warning_and_misspelt_ones_refused() -> None:
    """Unknown columns cause a warning, and misspelt ones a refusal even if the absent column may be missing."""
    X = pd.DataFrame({"age": RNG.normal(size=90), "income": RNG.normal(size=90)})
    pipeline = make_pipeline(SimpleImputer(), Ridge()).fit(X, X.age)
    model = loaded(pipeline, X, X.age)
    with pytest.warns(InputWarning, match="'colour'"):
        assert np.allclose(model.predict(X.assign(colour="red")), pipeline.predict(X))
    for rows in (X.rename(columns={"income": "Income"}), [{"age": 1, "incmoe": 2}]):
        with pytest.raises(RowError, match="did you mean 'income'"):
            model.predict(rows)


@pytest.mark.parametrize(
    "form",
    [
        lambda X: X.to_numpy(),
        lambda X: X.to_numpy().astype(np.float32).astype(np.float64),
        lambda X: X.to_numpy().tolist(),
        lambda X: X.to_dict("list"),
        lambda X: X.to_dict("records"),
        lambda X: X.convert_dtypes(),
        lambda X: X.convert_dtypes(dtype_backend="pyarrow"),
        lambda X: pa.Table.from_pandas(X, preserve_index=False),
        pl.from_pandas,
        lambda X: pl.from_pandas(X).lazy(),
        lambda X: [dict(row) for _, row in X.iterrows()],
    ],
)
def test_rows_may_come_in_any_form(form: Any) -> None:
    """Rows in any form get the answers to the DataFrame."""
    X, y = load_diabetes(return_X_y=True, as_frame=True, scaled=False)
    X = X.head(40).astype(np.float64)
    pipeline = make_pipeline(StandardScaler(), Ridge()).fit(X, y.head(40))
    model = loaded(pipeline, X, y.head(40).to_numpy().reshape(-1, 1))
    expected = pipeline.predict(X)
    if not isinstance(form(X), np.ndarray):
        assert np.allclose(model.predict(form(X)), expected, rtol=1e-12)
    assert np.allclose(model.predict(X.iloc[0]), expected[:1], rtol=1e-12)


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", "g", "O"])
def test_an_array_may_have_any_numeric_dtype(dtype: str) -> None:
    """The answers are the pipeline's to an array of that type, and one of float16 is refused with what to give."""
    X = np.random.default_rng(12).integers(0, 9, (60, 3)).astype(float)
    pipeline = make_pipeline(StandardScaler(), Ridge()).fit(X, X[:, 0] - X[:, 2])
    model = loaded(pipeline, X, X[:, 0] - X[:, 2])
    if dtype == "f2":
        with pytest.raises(RowError, match=r"Give rows\.astype\('float64'\)"):
            model.predict(X.astype(dtype))
        return
    assert np.allclose(model.predict(X.astype(dtype)), pipeline.predict(X.astype(dtype)), rtol=1e-12)


def test_a_frame_without_names_is_an_array() -> None:
    """scikit-learn knows the columns of ``pd.DataFrame(array)`` by their positions, and so does the contract."""
    X = pd.DataFrame(np.random.default_rng(14).normal(size=(60, 3)))
    parts = make_column_transformer((StandardScaler(), [0, 2]), remainder="passthrough")
    pipeline = make_pipeline(parts, Ridge()).fit(X, X[0] - X[1])
    model = loaded(pipeline, X, X[0] - X[1])
    assert model.schema.names == ("x0", "x1", "x2")
    assert np.allclose(model.predict(X), pipeline.predict(X), rtol=1e-12)
    assert np.allclose(model.predict(X.to_numpy()), pipeline.predict(X), rtol=1e-12)


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_house_table_is_compiled_exactly_as_csv_and_as_parquet(form: str, tmp_path: Path) -> None:
    """Prices are not held to the tolerance of probabilities; gaps make a column of integers float in Parquet."""
    rng = np.random.default_rng(13)
    n = 600
    houses = pd.DataFrame(
        {
            "area": rng.normal(140, 40, n).round(1),
            "lot": rng.integers(200, 90_000, n),
            "rooms": pd.array(rng.integers(1, 9, n), dtype="Int64"),
            "year": pd.array(rng.integers(1900, 2024, n), dtype="Int64"),
            "tax": rng.normal(50_000, 20_000, n).round(2),
            "town": rng.choice(["Lima", "Oslo", "Rome"], n),
        }
    )
    houses["price"] = (2_000 * houses["area"] + 3 * houses["lot"] + 9_000 * houses["town"].eq("Rome")).round(0)
    houses.loc[rng.random(n) < 0.1, "rooms"] = pd.NA
    houses.loc[rng.random(n) < 0.1, "year"] = pd.NA
    path = tmp_path / f"houses.{form}"
    if form == "csv":
        houses.to_csv(path, index=False)
    else:
        houses.astype({"rooms": "float64", "year": "float64"}).to_parquet(path, index=False)
    bundle = orris.train(path, target="price", model="ridge", store=None, folds=0)
    assert bundle.verdict.strategy == "exact"
    assert bundle.verdict.proof is not None
    assert bundle.verdict.rows_by_route["JSON"] == n


def test_a_pipeline_fitted_on_polars_keeps_its_names() -> None:
    """A pipeline fitted on polars keeps its column names, with missing texts and a target as a column vector."""
    rng = np.random.default_rng(11)
    town = rng.choice(np.array(["Lima", "Oslo", None], dtype=object), 200)
    X = pl.DataFrame({"town": town.tolist(), "age": rng.integers(18, 80, 200)})
    y = np.where(town == "Oslo", 1.0, 0.0).reshape(-1, 1)
    parts = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["town"]), (StandardScaler(), ["age"]))
    pipeline = make_pipeline(parts, Ridge()).fit(X, y.ravel())
    bundle = orris.package(pipeline, X, y, name="m", store=None)
    model = orris.load(bundle)
    assert model.schema.names == ("town", "age")
    assert np.allclose(model.predict(X), pipeline.predict(X), rtol=1e-12)
    without = pl.DataFrame({"town": [None], "age": [30]}, schema={"town": pl.String, "age": pl.Int64})
    assert np.allclose(by_json(model, {"town": None, "age": 30}), pipeline.predict(without))


def test_input_that_cannot_be_packaged_is_refused() -> None:
    """A sparse matrix, a pipeline that is not fitted, and more targets than rows are refused with the reason."""
    from scipy.sparse import csr_matrix

    X, y = load_diabetes(return_X_y=True)
    with pytest.raises(TableError, match="sparse"):
        loaded(Ridge().fit(X, y), csr_matrix(X), y)
    with pytest.raises(TrainingError, match="is not fitted"):
        loaded(make_pipeline(StandardScaler(), Ridge()), X, y)
    with pytest.raises(TrainingError, match="one target per row"):
        loaded(Ridge().fit(X, y), X, y[:-1])


def test_a_model_that_answers_raw_rows_otherwise_is_not_published(tmp_path: Path) -> None:
    """A model whose answers to raw rows differ is not published, and the error names the row and the route."""
    X, y = towns()
    pipeline = make_pipeline(
        make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["town"])), LogisticRegression()
    ).fit(X, y)
    bundle = orris.package(pipeline, X, y, name="m", store=None)
    assert bundle.verdict.rows_by_route == dict.fromkeys(["DataFrame", "JSON", "instances", "V2", "CSV"], 300)
    other = X.assign(town=X.town.replace("Rome", "Rom"))
    with pytest.raises(ParityError, match=r"DataFrame: .* training rows are answered otherwise .* row \d+"):
        compare(bundle.folder, Given(pipeline, other, None, X))
    assert not list(tmp_path.iterdir())
    wrong = tmp_path / "rows.csv"
    X.assign(town=X.town.replace("Rome", "Oslo")).to_csv(wrong, index=False)
    with pytest.raises(ParityError, match=r"^the file's own lines: .* the first of them row \d+, column 'town'"):
        compare(bundle.folder, Given(pipeline, X, wrong, X))
    stateful = make_pipeline(FunctionTransformer(), LinearRegression()).fit(X[["age"]], y)
    assert msgspec.structs.asdict(orris.package(stateful, X[["age"]], y, name="m", store=None).verdict)["rows_by_route"]


def test_one_none_among_many_nan_is_compared() -> None:
    """Rows with None and with NaN, which scikit-learn's encoders distinguish, are both compared."""
    towns = np.array(["Lima", "Oslo", np.nan] * 3000, dtype=object)
    towns[[4100, 4103]] = None
    X = pd.DataFrame({"town": pd.Series(towns, dtype=object), "size": np.arange(9000.0) / 9000})
    y = np.array([0, 1, 1] * 3000)
    y[[4100, 4103]] = 0
    encode_towns = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["town"]), remainder="passthrough")
    pipeline = make_pipeline(encode_towns, LogisticRegression(max_iter=200)).fit(X, y)
    with pytest.raises(ParityError, match=r"column 'town' holds both None and NaN.*row 4100.*notna\(\), None\)"):
        orris.package(pipeline, X, y, name="towns", store=None)
    X["town"] = X["town"].where(X["town"].notna(), None)
    model = loaded(pipeline.fit(X, y), X, y)
    assert model.predict([{"town": None, "size": 0.5}]) == pipeline.predict(X.iloc[[2]].assign(size=0.5))
