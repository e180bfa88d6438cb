"""Tests of the proof of right files, of named refusals, and of files made to deceive the reader."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
import xgboost
from onnx import TensorProto, helper, numpy_helper
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor, VotingRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler
from sklearn.tree import DecisionTreeRegressor

from orris.compile.parity.reference import Reference
from orris.compile.proof import prove
from orris.errors import NotProvedError
from orris.runtime import OnnxRuntime
from tests.compile.proof.models import CASES, adversarial_rows, model

_EXPONENTIALS = re.compile(
    r"classes|others|CatBoost of|exponential|boosting$|histogram$|poisson|encoded categories|adaboost|logistic"
    r"|discriminant|gradient$|ridge|SVC|lasso|target|principal|network|vote$|stack"
)
"""Cases whose answer is a sum of products or passes through an exponential, so that it may round differently."""

_POWERS = {"XGBoost, poisson", "XGBoost of categories", "XGBoost, three labels", "XGBoost forest"}
"""Cases that compute the exponential of XGBoost, in float32."""


@pytest.mark.parametrize("name", CASES)
def test_a_right_file_is_proved(name: str) -> None:
    """Every covered family is proved: to the last bit where nothing rounds differently, else up to a bound."""
    case = model(name)
    facts = prove(case.content, case.pipeline, case.schema).facts
    rounds = _EXPONENTIALS.search(name) and not name.startswith("XGBoost")  # which computes exponentials to the bit
    assert facts.equality == ("rounding" if rounds else "bits")
    assert any("glibc" in assumption for assumption in facts.assumes) == (name in _POWERS)
    assert facts.n_operators == len(onnx.load_model_from_string(case.content).graph.node)
    assert facts.assumes


_UNBOUNDED = ("ridge classifier", "linear SVC", "vote", "stack", "calibrated forest")
"""Cases without probabilities, and those that add sums of trees to what rounds, for which no bound is worked out."""


@pytest.mark.parametrize("name", [name for name in CASES if not name.startswith(_UNBOUNDED)])
def test_rounding_stays_within_its_bound(name: str) -> None:
    """On adversarial rows the answers of both models differ by no more than the proof says, and the bound is small."""
    case = model(name)
    rows, expected = Reference(case.pipeline, case.schema).ask(adversarial_rows(case)[:3000])
    found = OnnxRuntime(case.content).run(rows)
    bound = prove(case.content, case.pipeline, case.schema).rounding(rows, expected)
    assert bound is not None
    reference, served = (a.probabilities if a.values is None else a.values for a in (expected, found))
    assert reference is not None
    assert served is not None
    finite = np.isfinite(reference) & np.isfinite(bound)
    assert finite.mean() > 0.5
    assert (np.abs(reference[finite] - served[finite]) <= bound[finite]).all()
    assert np.median(bound[finite] / np.maximum(1, np.abs(reference[finite]))) < 1e-11


def test_the_facts_count_the_matched_parts() -> None:
    """Trees, splits and leaves are those of the fitted forest."""
    case = model("forest regressor")
    facts = prove(case.content, case.pipeline, case.schema).facts
    trees = [member.tree_ for member in case.pipeline.estimators_]
    assert facts.n_trees == len(trees)
    assert facts.n_leaves == sum(tree.n_leaves for tree in trees)
    assert facts.n_splits == sum(tree.node_count - tree.n_leaves for tree in trees)
    assert "6 trees" in facts.phrase()
    assert "the same bits for every row" in facts.phrase()


def test_a_file_of_another_model_is_refused_with_the_difference() -> None:
    """The message names the output and says what differs."""
    case = model("forest regressor")
    other = RandomForestRegressor(6, max_depth=5, random_state=1).fit(case.rows, np.arange(len(case.rows)))
    with pytest.raises(NotProvedError, match="'value'"):
        prove(case.content, other, case.schema)


def test_a_step_without_a_statement_is_named() -> None:
    """A pipeline that holds one is not proved."""
    case = model("logistic")
    pipeline = make_pipeline(Normalizer(), RandomForestClassifier(2))
    with pytest.raises(NotProvedError, match="Normalizer"):
        prove(case.content, pipeline, case.schema)


def test_a_vote_over_answers_in_float32_is_compared() -> None:
    """NumPy averages what XGBoost answers in float32, in an order that depends on the processor."""
    case = model("forest regressor")
    members = [("one", xgboost.XGBRegressor(n_estimators=2, n_jobs=1)), ("other", DecisionTreeRegressor())]
    vote = VotingRegressor(members).fit(case.rows, np.arange(len(case.rows)))
    with pytest.raises(NotProvedError, match="float32 from the answers of XGBRegressor"):
        prove(case.content, vote, case.schema)


@pytest.mark.parametrize("second", ["float32", "bool"])
def test_an_estimator_that_may_compute_in_float32_is_compared(second: str) -> None:
    """Where all its columns are float32, or booleans beside them."""
    case = model("logistic")
    kinds = ["float32", second, "float32", "float32"]
    pairs = zip(case.schema.columns, kinds, strict=True)
    columns = tuple(msgspec.structs.replace(column, dtype=kind) for column, kind in pairs)
    with pytest.raises(NotProvedError, match="StandardScaler may compute in float32"):
        prove(case.content, case.pipeline, msgspec.structs.replace(case.schema, columns=columns))


class Scaler(StandardScaler):  # type: ignore[misc]
    """Of the same package and another name."""


def test_a_subclass_is_not_taken_for_its_base() -> None:
    """It may have changed anything."""
    case = model("logistic")
    scaler = Scaler().fit(case.rows)
    with pytest.raises(NotProvedError, match="Scaler"):
        prove(case.content, make_pipeline(scaler, case.pipeline.steps[-1][1]), case.schema)


def test_labels_in_another_order_are_refused() -> None:
    """The positions that the file answers with are those of the contract's labels."""
    import msgspec

    case = model("logistic")
    turned = msgspec.structs.replace(case.schema, labels=case.schema.labels[::-1])
    with pytest.raises(NotProvedError, match="labels"):
        prove(case.content, case.pipeline, turned)


Deceit = Callable[[onnx.ModelProto], Any]


def _shadow(model: onnx.ModelProto) -> None:
    """A constant that a caller could replace."""
    tensor = model.graph.initializer[0]
    model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))


def _same_name_twice(model: onnx.ModelProto) -> None:
    copy = numpy_helper.from_array(
        numpy_helper.to_array(model.graph.initializer[0]) + 1, model.graph.initializer[0].name
    )
    model.graph.initializer.append(copy)


def _external(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="elsewhere.bin")


def _stored_twice(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.double_data.extend([0.0] * int(np.prod(tensor.dims)))


def _function(model: onnx.ModelProto) -> None:
    """A function of the name of an operator, which a runtime would call instead."""
    body = [helper.make_node("Neg", ["x"], ["y"])]
    model.functions.append(helper.make_function("", "Sub", ["x", "z"], ["y"], body, model.opset_import))


def _sparse(model: onnx.ModelProto) -> None:
    values = numpy_helper.from_array(np.ones(1), "sparse")
    model.graph.sparse_initializer.append(
        helper.make_sparse_tensor(values, numpy_helper.from_array(np.zeros(1, np.int64), "at"), [4])
    )


def _unused(model: onnx.ModelProto) -> None:
    model.graph.node.insert(0, helper.make_node("Neg", [model.graph.input[0].name], ["idle"]))


def _metadata(model: onnx.ModelProto) -> None:
    """ONNX Runtime reads settings of the session from there."""
    model.metadata_props.add(key="ort_config", value='{"session_options": {"graph_optimization_level": 99}}')


def _subgraph(model: onnx.ModelProto) -> None:
    inner = helper.make_graph([helper.make_node("Identity", ["rows"], ["out"])], "inner", [], [])
    model.graph.node[0].attribute.append(helper.make_attribute("body", inner))


def _attribute_twice(model: onnx.ModelProto) -> None:
    node = next(node for node in model.graph.node if node.attribute)
    node.attribute.append(node.attribute[0])


def _overload(model: onnx.ModelProto) -> None:
    model.graph.node[0].overload = "other"


def _other_domain(model: onnx.ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    model.graph.node[0].domain = "com.microsoft"


def _old_opset(model: onnx.ModelProto) -> None:
    """``Softmax`` and ``Clip`` meant something else then."""
    next(entry for entry in model.opset_import if not entry.domain).version = 11


def _opset_twice(model: onnx.ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("", 13))


def _redefined(model: onnx.ModelProto) -> None:
    """A tensor that is made twice: a reader that takes the first and one that takes the last differ."""
    model.graph.node.insert(1, helper.make_node("Neg", [model.graph.input[0].name], list(model.graph.node[0].output)))


def _backwards(model: onnx.ModelProto) -> None:
    nodes = list(model.graph.node)[::-1]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _narrow(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT


def _shape_info(model: onnx.ModelProto) -> None:
    model.graph.value_info.append(helper.make_tensor_value_info("rows", TensorProto.FLOAT, [1]))


@pytest.mark.parametrize(
    "deceive",
    [
        _shadow,
        _same_name_twice,
        _external,
        _stored_twice,
        _function,
        _sparse,
        _unused,
        _metadata,
        _subgraph,
        _attribute_twice,
        _overload,
        _other_domain,
        _old_opset,
        _opset_twice,
        _redefined,
        _backwards,
        _narrow,
        _shape_info,
    ],
)
@pytest.mark.parametrize("name", ["logistic", "forest over one-hot"])
def test_a_file_that_could_mean_something_else_is_refused(name: str, deceive: Deceit) -> None:
    """Whatever the reader does not interpret ends the proof, also where the rest of the file is right."""
    case = model(name)
    changed = onnx.load_model_from_string(case.content)
    deceive(changed)
    with pytest.raises(NotProvedError):
        prove(changed.SerializeToString(), case.pipeline, case.schema)


def test_an_unknown_field_is_refused() -> None:
    """An unknown field is refused, because a later version of the format could change the meaning of the rest."""
    case = model("logistic")
    with pytest.raises(NotProvedError, match="fields"):
        prove(case.content + b"\xfa\x3f\x01x", case.pipeline, case.schema)


def test_bytes_that_are_no_model_are_refused() -> None:
    """Bytes that are no model are refused by our own error and not by an exception of the parser."""
    case = model("logistic")
    with pytest.raises(NotProvedError):
        prove(b"not a model", case.pipeline, case.schema)


def test_a_tree_that_runs_in_a_circle_is_refused() -> None:
    """A tree whose nodes form a circle is refused, and reading it ends."""
    case = model("decision tree regressor")
    changed = onnx.load_model_from_string(case.content)
    for node in changed.graph.node:
        for attribute in node.attribute:
            if attribute.name == "nodes_truenodeids":
                attribute.ints[1] = 0
            if attribute.name == "nodes_trueleafs":
                attribute.ints[1] = 0
    with pytest.raises(NotProvedError, match=r"child of two splits|belong to no tree"):
        prove(changed.SerializeToString(), case.pipeline, case.schema)


def test_packed_votes_that_could_overflow_are_refused() -> None:
    """Counts in the digits of one number are read only where no digit can run over into the next."""
    case = model("forest of pure leaves")
    changed = onnx.load_model_from_string(case.content)
    for tensor in changed.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.dtype == np.float64 and array.size == 3:
            tensor.CopyFrom(numpy_helper.from_array(np.array([[1.0, 0.5, 0.25]]), tensor.name))
        if array.dtype == np.float64 and array.shape == (1, 1):
            tensor.CopyFrom(numpy_helper.from_array(np.array([[2.0]]), tensor.name))
    for node in changed.graph.node:
        for attribute in node.attribute:
            if attribute.name == "leaf_weights":
                weights = numpy_helper.to_array(attribute.t)
                base = np.unique(weights)[1]
                attribute.t.CopyFrom(
                    numpy_helper.from_array(2.0 ** np.rint(np.log(weights) / np.log(base)), "leaf_weights")
                )
    with pytest.raises(NotProvedError, match=r"probabilities|label"):
        prove(changed.SerializeToString(), case.pipeline, case.schema)


def test_none_among_numbers_is_compared() -> None:
    """An imputer that looks for NaN does not fill it, so the pipeline is not followed there."""
    case = model("scaled forest")
    first = msgspec.structs.replace(case.schema.columns[0], dtype="object", missing_as="none")
    schema = msgspec.structs.replace(case.schema, columns=(first, *case.schema.columns[1:]))
    with pytest.raises(NotProvedError, match="None"):
        prove(case.content, case.pipeline, schema)
