"""An inference request of V2 as JSON: its members, and how much of a long one is parsed.

A long request is taken apart without being parsed. Of its tensors' data, no more elements are parsed than their shapes
say, and these are bounded; every other member has to be short, and there are few inputs. So whatever the body holds,
neither its memory nor the time for which the parser keeps other threads from running grows far beyond its length.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar

import msgspec

from orris.errors import BodyError
from orris.protocols.envelopes import MAX_COMMAS, short, without_nan
from orris.protocols.tensors import TensorReader, shape_text
from orris.schema.pieces import LONG_BYTES

MAX_OTHER_INPUTS = 100
"""Most inputs of a long request beside one per column."""

T = TypeVar("T")
_ABSENT = msgspec.Raw(b"")


class InputParameters(msgspec.Struct, gc=False):
    """Optional facts about an input, beside its data."""

    binary_data_size: int | None = None
    content_type: str | None = None
    shared_memory_region: Any = None


class Input(msgspec.Struct, gc=False):
    """An input tensor of a request."""

    name: str
    datatype: str
    shape: list[int]
    data: list[Any] | None = None
    parameters: InputParameters | None = None


class OutputParameters(msgspec.Struct, gc=False):
    """How an output is wanted."""

    binary_data: bool | None = None
    classification: Any = None
    shared_memory_region: Any = None


class Output(msgspec.Struct, gc=False):
    """An output that the request selects."""

    name: str
    parameters: OutputParameters | None = None


class Parameters(msgspec.Struct, gc=False):
    """Parameters of a request; others are ignored."""

    binary_data_output: bool = False
    content_type: str | None = None


class Request(msgspec.Struct, gc=False):
    """An inference request."""

    inputs: list[Input]
    id: str | None = None
    parameters: Parameters | None = None
    outputs: list[Output] | None = None


class _Members(msgspec.Struct, gc=False):
    """The members of a long request, as they were written."""

    inputs: msgspec.Raw
    id: msgspec.Raw = _ABSENT
    parameters: msgspec.Raw = _ABSENT
    outputs: msgspec.Raw = _ABSENT


class _InputMembers(msgspec.Struct, gc=False):
    """The members of an input of a long request, as they were written."""

    name: msgspec.Raw
    datatype: msgspec.Raw
    shape: msgspec.Raw
    data: msgspec.Raw = _ABSENT
    parameters: msgspec.Raw = _ABSENT


decode_request = msgspec.json.Decoder(Request).decode
"""A request whose JSON is plainly right; raises what msgspec raises."""

_decode_members = msgspec.json.Decoder(_Members).decode
_decode_input_members = msgspec.json.Decoder(_InputMembers).decode
_decode_input = msgspec.json.Decoder(Input).decode
_decode_data = msgspec.json.Decoder(list[Any] | None).decode


def read_request(reader: TensorReader, body: bytes) -> Request:
    """The request of a body.

    Raises:
        BodyError: Not JSON, not a request, or a long one with more in it than the model's rows need.
        RowError: A long request with more rows than one request may hold.
    """
    return _parse(body, decode_request) if len(body) <= LONG_BYTES else _read_long(reader, body)


def _read_long(reader: TensorReader, body: bytes) -> Request:
    n_columns = reader.schema.n_columns
    if body.count(b"NaN") > reader.max_rows * (n_columns + 1):
        raise BodyError(f"there are more values than {reader.max_rows} rows have; send them in parts")
    members = _parse(body, _decode_members)
    listed = msgspec.structs.astuple(_parse(members.inputs, _inputs_decoder(n_columns + MAX_OTHER_INPUTS)))
    inputs = [_read_long_input(reader, _parse(each, _decode_input_members)) for each in listed if each != _ABSENT]
    rest = _parse(_joined(members, "id", "parameters", "outputs", inputs=b"[]"), decode_request)
    return Request(inputs, rest.id, rest.parameters, rest.outputs)


def _read_long_input(reader: TensorReader, members: _InputMembers) -> Input:
    found = _parse(_joined(members, "name", "datatype", "shape", "parameters"), _decode_input)
    reader.check_size(found.name, found.datatype, found.shape)
    text = bytes(members.data)
    size = math.prod(found.shape)
    n_commas = size if found.datatype != "BYTES" else MAX_COMMAS * size
    if text.count(b"[") > 2 * size + len(found.shape) or text.count(b",") > n_commas:
        shape = shape_text(found.shape)
        raise BodyError(f"input '{found.name[:100]}': the data has more elements than shape {shape}")
    try:
        found.data = _decode_data(text) if text else None
    except (msgspec.DecodeError, RecursionError) as error:
        raise BodyError(f"input '{found.name[:100]}': the data is no list: {error}") from None
    return found


@lru_cache(maxsize=64)
def _inputs_decoder(n_inputs: int) -> Callable[[bytes | msgspec.Raw], Any]:
    """Decodes a list of inputs, each as it was written; more than ``n_inputs`` are an error before they are read."""
    fields: list[tuple[str, Any, Any]] = [(f"input{i}", msgspec.Raw, _ABSENT) for i in range(n_inputs)]
    listed = msgspec.defstruct("Inputs", fields, array_like=True, forbid_unknown_fields=True, gc=False)
    return msgspec.json.Decoder(listed).decode


def _joined(members: msgspec.Struct, *names: str, **more: bytes) -> bytes:
    """These members as a JSON object; raises ``BodyError`` for one that is too long to be parsed."""
    written = {name: bytes(getattr(members, name)) for name in names} | more
    parts = [b'"%b":%b' % (name.encode(), short(f"'{name}'", text)) for name, text in written.items() if text]
    return b"{%b}" % b",".join(parts)


def _parse(body: bytes | msgspec.Raw, decode: Callable[[bytes | msgspec.Raw], T]) -> T:
    try:
        return decode(body)
    except msgspec.ValidationError as error:
        raise BodyError(f"the request is not an inference request: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        text = bytes(body)
        without = without_nan(text) if b"NaN" in text else text
        if without == text:
            raise BodyError(f"the body is not JSON: {error}") from None
        return _parse(without, decode)
    except RecursionError:
        raise BodyError("the body is not usable JSON: it is nested too deeply") from None
