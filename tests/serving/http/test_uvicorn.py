"""Tests of the methods of uvicorn that the server replaces or calls, and of the start-up check for them."""

from __future__ import annotations

import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from orris.errors import ServingError
from orris.serving.http import server


def test_the_table_has_every_replaced_method() -> None:
    """Each method that Server and uvicorn.Server both define is in the table, and none of them is private."""
    replaced = {name for name in vars(server.Server) if name in vars(uvicorn.Server) and not name.startswith("__")}
    assert replaced == set(server.OVERRIDDEN)
    assert [name for name in replaced if name.startswith("_")] == []


def test_the_installed_version_has_every_method() -> None:
    """The start-up check passes for the installed version of uvicorn."""
    server.check_uvicorn()


@pytest.mark.parametrize(
    ("owner", "name"),
    [*((uvicorn.Server, name) for name in server.OVERRIDDEN), *((HttpToolsProtocol, name) for name in server.CALLED)],
)
def test_a_version_without_a_method_is_refused(monkeypatch: pytest.MonkeyPatch, owner: type, name: str) -> None:
    """The server does not start on a uvicorn without one of the methods, and the error names it."""
    defining = next(each for each in owner.__mro__ if name in vars(each))
    monkeypatch.delattr(defining, name)
    for base in owner.__mro__:  # what a base class of the standard library defines would hide the loss
        if name in vars(base):
            monkeypatch.delattr(base, name)
    with pytest.raises(ServingError, match=f"{owner.__name__}.{name}"):
        server.check_uvicorn()
