"""Tests of the list of operators that an ONNX file may hold."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import skl2onnx
from onnx import TensorProto, defs, helper, numpy_helper

import orris.compile
from orris.api import Bundle
from orris.errors import ServingError
from orris.runtime import open_session
from orris.runtime.operators import OPERATORS, check_operators

Nodes = list[onnx.NodeProto]


def model(nodes: Nodes, initializers: list[TensorProto] | None = None) -> onnx.ModelProto:
    """Return a model of these nodes, from ``x`` to ``y``."""
    ends = [helper.make_tensor_value_info(name, TensorProto.DOUBLE, [None]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], initializers or [])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid("custom", 1)])


def in_a_body(node: onnx.NodeProto) -> Nodes:
    """Return an ``If`` whose branch holds the node."""
    body = helper.make_graph([node], "body", [], [helper.make_tensor_value_info("y", TensorProto.DOUBLE, [None])])
    return [helper.make_node("If", ["c"], ["y"], then_branch=body, else_branch=body)]


def elsewhere() -> TensorProto:
    """Return a tensor whose numbers are in another file."""
    tensor = numpy_helper.from_array(np.zeros(4), "k")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    return tensor


def with_a_function() -> onnx.ModelProto:
    """Return a model that defines a function."""
    made = model([helper.make_node("Abs", ["x"], ["y"])])
    made.functions.append(helper.make_function("custom", "F", ["a"], ["b"], [], [helper.make_opsetid("", 18)]))
    return made


ABS = helper.make_node("Abs", ["x"], ["y"])
NOISE = helper.make_node("RandomNormalLike", ["x"], ["y"])
REFUSED: dict[str, tuple[onnx.ModelProto, str]] = {
    "an operator with chance": (model([NOISE]), "RandomNormalLike is not allowed"),
    "in a body": (model(in_a_body(NOISE)), "RandomNormalLike is not allowed"),
    "in a body's body": (model(in_a_body(in_a_body(NOISE)[0])), "RandomNormalLike is not allowed"),
    "a domain of its own": (model([helper.make_node("Abs", ["x"], ["y"], domain="custom")]), "domain 'custom'"),
    "numbers in another file": (model([ABS], [elsewhere()]), "in another file"),
    "a constant in another file": (
        model([helper.make_node("Constant", [], ["k"], value=elsewhere()), ABS]),
        "in another file",
    ),
    "a function": (with_a_function(), "functions of its own"),
}


@pytest.mark.parametrize(("made", "problem"), REFUSED.values(), ids=REFUSED.keys())
def test_an_operator_that_is_not_on_the_list_is_refused_before_the_model_is_loaded(
    made: onnx.ModelProto, problem: str, tmp_path: Path
) -> None:
    """A model that holds something else is refused with its name, from bytes and from a file."""
    content = made.SerializeToString()
    with pytest.raises(ServingError, match=problem):
        open_session(content)
    file = tmp_path / "model.onnx"
    file.write_bytes(content)
    with pytest.raises(ServingError, match=rf"model\.onnx.*{problem}"):
        open_session(file)


@pytest.mark.parametrize(
    "content", [b"\x00garbage", b"ORTM" * 4, b"\xff" * 100], ids=["garbage", "names", "high bytes"]
)
def test_bytes_that_are_no_onnx_file_are_refused(content: bytes) -> None:
    """Bytes that are no ONNX file do not reach ONNX Runtime."""
    with pytest.raises(ServingError):
        open_session(content)


def test_a_body_of_known_operators_is_served() -> None:
    """Loops and branches that hold known operators alone are allowed, since Orris' own converters write them."""
    check_operators(model(in_a_body(ABS)).SerializeToString())


def test_the_model_that_orris_writes_is_served(iris: Bundle) -> None:
    """A published model passes the check."""
    check_operators(iris.folder / "model.onnx")


def written(package: str, pattern: Callable[[str], str]) -> set[str]:
    """Return ONNX's operators that the source of a package names."""
    source = "\n".join(file.read_text() for file in Path(package).rglob("*.py"))
    names = {schema.name for schema in defs.get_all_schemas()}
    return {name for name in names if re.search(pattern(name), source)}


def test_every_operator_that_our_converters_write_is_allowed() -> None:
    """The list holds whatever operator the source of the converters names."""
    (folder,) = orris.compile.__path__
    ours = written(folder, lambda name: rf"""["']{name}["']""")
    assert {"MatMul", "TreeEnsemble", "Loop"} <= ours <= OPERATORS


def test_the_list_holds_nothing_that_no_converter_writes() -> None:
    """Every operator on the list is named by the converters of Orris or of skl2onnx."""
    (folder,) = orris.compile.__path__
    theirs = str(Path(skl2onnx.__file__).parent)
    named = written(folder, lambda name: rf"""["']{name}["']""") | written(
        theirs,
        lambda name: (
            rf"""["']{name}["']|\bOnnx{name}(_\d+)?\b|\bapply_{re.sub(r"(?<=.)(?=[A-Z][a-z])", "_", name).lower()}\b"""
        ),
    )
    assert OPERATORS - named == set()
