"""Which converter handles which estimator, by the public name of the estimator's class.

A module of ``orris.compile.converters`` registers its converters by names such as
``"sklearn.linear_model.LogisticRegression"`` or ``"xgboost.XGBClassifier"``, so the library itself is imported only by
the user who fitted such a model. The modules are found in the package: a new family is one file, listed nowhere.

A converter appends to the graph the operations that the fitted estimator carries out, in float64 and in the same order,
so that the answers are the same to the last bits. It raises ``NotConvertibleError`` for a setting that it cannot
reproduce: never approximate.
"""

from __future__ import annotations

import pkgutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any, Generic, TypeVar

from orris.compile.graph import Frame, Graph, Prediction
from orris.errors import NotConvertibleError

TransformerConverter = Callable[[Graph, Any, Frame], Frame]
PredictorConverter = Callable[[Graph, Any, Frame], Prediction]
LibraryFileWriter = Callable[[Any], tuple[str, bytes]]
_T = TypeVar("_T", bound=TransformerConverter)
_P = TypeVar("_P", bound=PredictorConverter)
_W = TypeVar("_W", bound=LibraryFileWriter)
_C = TypeVar("_C")

_CONVERTERS = "orris.compile.converters"


@dataclass(frozen=True)
class Converter(Generic[_C]):
    """A registered converter, and the frames that it takes.

    Attributes:
        convert: ``(graph, fitted estimator, frame) -> frame`` or ``-> prediction``.
        takes_codes: It takes category codes; otherwise integer-coded categories reach it as the integers themselves.
        takes_single: It takes a frame that scikit-learn holds in float32; otherwise such a frame is refused. The name
            of a fitted attribute: it takes one if that is float64, to which NumPy widens what it multiplies.
        delegates: The estimator hands its rows to estimators inside it, whose columns' names are its own.
    """

    convert: _C
    takes_codes: bool = False
    takes_single: bool | str = False
    delegates: bool = False


_transformers: dict[str, Converter[TransformerConverter]] = {}
_predictors: dict[str, Converter[PredictorConverter]] = {}
_library_files: dict[str, LibraryFileWriter] = {}


def transformer(*classes: str, delegates: bool = False) -> Callable[[_T], _T]:
    """Register a converter ``(graph, fitted estimator, frame) -> frame`` for exactly these classes.

    Args:
        classes: Public names, ``"module.Class"``.
        delegates: See ``Converter``.
    """

    def register(converter: _T) -> _T:
        entry: Converter[TransformerConverter] = Converter(converter, delegates=delegates)
        _transformers.update(dict.fromkeys(classes, entry))
        return converter

    return register


def predictor(
    *classes: str, takes_codes: bool = False, takes_single: bool | str = False, delegates: bool = False
) -> Callable[[_P], _P]:
    """Register a converter ``(graph, fitted estimator, frame) -> prediction`` for exactly these classes.

    Args:
        classes: Public names, ``"module.Class"``.
        takes_codes: See ``Converter``.
        takes_single: See ``Converter``.
        delegates: See ``Converter``; implies the two before.
    """

    def register(converter: _P) -> _P:
        entry: Converter[PredictorConverter] = Converter(
            converter, takes_codes or delegates, takes_single or delegates, delegates
        )
        _predictors.update(dict.fromkeys(classes, entry))
        return converter

    return register


def library_file(*classes: str) -> Callable[[_W], _W]:
    """Register a writer ``(fitted estimator) -> (name in the bundle, content)`` of the library's own model file.

    It is a further way of serving, tried before scikit-learn's: ``orris.runtime`` must read a file of that name.
    """

    def register(writer: _W) -> _W:
        _library_files.update(dict.fromkeys(classes, writer))
        return writer

    return register


def transformer_of(estimator: Any) -> Converter[TransformerConverter] | None:
    """The converter of a fitted transformer, if there is one."""
    return _found(_transformers, estimator)


def predictor_of(estimator: Any) -> Converter[PredictorConverter] | None:
    """The converter of a fitted classifier or regressor, if there is one."""
    return _found(_predictors, estimator)


def library_file_of(estimator: Any) -> LibraryFileWriter | None:
    """The writer of a fitted estimator's own model file, if there is one."""
    return _found(_library_files, estimator)


def registered() -> dict[str, str]:
    """Public names of all classes with a converter, and the module of ``orris.compile.converters`` that has it."""
    _import_converters()
    entries: list[tuple[str, Converter[Any]]] = [*_transformers.items(), *_predictors.items()]
    return {name: entry.convert.__module__.rpartition(".")[2] for name, entry in entries}


def is_exactly(estimator: Any, *classes: str) -> bool:
    """Whether the estimator's own class, not a base class of it, is one of these public names."""
    return not _names_of(estimator).isdisjoint(classes)


def public_name(estimator: Any) -> str:
    """The name of its class in messages: a bare name for scikit-learn's classes, an import path for others."""
    name = min(_names_of(estimator), key=lambda name: (name.count("."), len(name)))
    return type(estimator).__name__ if name.startswith("sklearn.") else name


def _found(entries: Mapping[str, _C], estimator: Any) -> _C | None:
    _import_converters()
    return next((entries[name] for name in _names_of(estimator) if name in entries), None)


def _names_of(estimator: Any) -> frozenset[str]:
    """The names under which an estimator's own class can be imported: from its module and the packages above."""
    kind = type(estimator)
    parts = kind.__module__.split(".")
    modules = [".".join(parts[:n]) for n in range(len(parts), 0, -1)]
    own = f"{kind.__module__}.{kind.__qualname__}"
    public = {
        f"{module}.{kind.__name__}"
        for module in modules
        if getattr(sys.modules.get(module), kind.__name__, None) is kind
    }
    return frozenset({own, *public})


@cache
def _import_converters() -> None:
    package = import_module(_CONVERTERS)
    for module in pkgutil.iter_modules(package.__path__):
        import_module(f"{_CONVERTERS}.{module.name}")


def require_values(frame: Frame, estimator: Any) -> None:
    """Raise ``NotConvertibleError`` if a column still holds category codes where the estimator computes with values."""
    for feature in frame.features:
        if feature.levels is not None:
            raise NotConvertibleError(
                f"{type(estimator).__name__} is given the category column '{feature.name}' without an encoder before it"
            )
