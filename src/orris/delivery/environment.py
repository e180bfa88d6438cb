"""An environment's file in the GitOps tree: the image and the model that it pins.

``TREE/apps/NAME/release.yaml`` is the patch that makes the environment: a HelmRelease with ``spec.values.image.digest``
and ``spec.values.model.version``. What all environments share is in ``TREE/apps/base/values.yaml``. An edit replaces
the text of those two values and nothing else: comments, quotes, order and line ends stay as they are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from orris.errors import PromotionError, SettingsError

FILE = "release.yaml"
BASE = "base"
DIGEST_KEY = ("spec", "values", "image", "digest")
VERSION_KEY = ("spec", "values", "model", "version")
NOTHING_LIVE = "0.0.0"
"""The model version of an environment to which nothing has been promoted yet."""

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_NO_DIGEST = "sha256:" + "0" * 64


@dataclass(frozen=True, slots=True)
class Pins:
    """The versions that an environment runs: ``image_digest`` (``sha256:…``) and ``model_version``."""

    image_digest: str
    model_version: str

    @property
    def has_image(self) -> bool:
        """Whether an image was ever promoted here."""
        return self.image_digest != _NO_DIGEST

    @property
    def has_model(self) -> bool:
        """Whether a model was ever promoted here."""
        return self.model_version != NOTHING_LIVE


@dataclass(frozen=True, slots=True)
class Environment:
    """One environment.

    Attributes:
        name: Its name, the folder's.
        file: The file that pins what it runs.
        text: The file's content.
        pins: What that says.
        model: Name of the model that it serves.
        repository: The image's name, without a digest.
    """

    name: str
    file: Path
    text: str
    pins: Pins
    model: str
    repository: str


def environments(tree: Path) -> list[str]:
    """Names of the environments in a tree, sorted."""
    return sorted(file.parent.name for file in (tree / "apps").glob(f"*/{FILE}") if file.parent.name != BASE)


def read_environment(tree: Path, name: str) -> Environment:
    """Read one environment of a tree.

    Raises:
        SettingsError: There is no such environment; says which there are.
        PromotionError: Its file cannot be read, or lacks a key; names file and key.
    """
    known = environments(tree)
    if name not in known:
        there = (
            f"there are {', '.join(known)}"
            if known
            else f"no folder of {tree / 'apps'} has a {FILE}; say where the tree is with  --tree"
        )
        raise SettingsError(f"{tree}: no environment '{name}'; {there}")
    file = tree / "apps" / name / FILE
    text = _read(file)
    values = _mapping(file, text).get("spec", {}).get("values", {})
    shared = _shared(tree)
    found = {
        key: values.get(key, {}) | {} if isinstance(values.get(key, {}), dict) else {} for key in ("image", "model")
    }
    model = found["model"].get("name") or shared.get("model", {}).get("name")
    repository = found["image"].get("repository") or shared.get("image", {}).get("repository")
    for key, value in (("model.name", model), ("image.repository", repository)):
        if not isinstance(value, str) or not value:
            raise PromotionError(
                f"{tree / 'apps' / BASE / 'values.yaml'}: {key} is missing, and {file} does not say it either"
            )
    return Environment(name, file, text, read_pins(text, str(file)), str(model), str(repository))


def read_pins(text: str, origin: str) -> Pins:
    """The pins in the text of an environment's file; ``origin`` names it in errors.

    Raises:
        PromotionError: A key is missing, there twice, or no text; names file and key.
    """
    digest = _scalar(text, DIGEST_KEY, origin).value
    check_digest(digest, f"{origin}: {'.'.join(DIGEST_KEY)}")
    return Pins(digest, _scalar(text, VERSION_KEY, origin).value)


def check_digest(digest: str, origin: str) -> str:
    """Return ``digest`` if it is one; ``origin`` says where it was given.

    Raises:
        PromotionError: It is not ``sha256:`` and 64 hexadecimal digits.
    """
    if not _DIGEST.fullmatch(digest):
        raise PromotionError(
            f"{origin}: {digest!r} is no digest; an image is pinned as  sha256:  and 64 hexadecimal digits, never by"
            " a tag"
        )
    return digest


def edit(text: str, pins: Pins, origin: str) -> str:
    """The file's text with other pins.

    Raises:
        PromotionError: A key is missing; names file and key.
    """
    nodes = sorted(
        (
            (_scalar(text, DIGEST_KEY, origin), pins.image_digest),
            (_scalar(text, VERSION_KEY, origin), pins.model_version),
        ),
        key=lambda pair: -pair[0].start_mark.index,
    )
    for node, value in nodes:  # the later one first: what is before it stays where it is
        quote = node.style if node.style in {"'", '"'} else ""
        text = text[: node.start_mark.index] + quote + value + quote + text[node.end_mark.index :]
    return text


def _read(file: Path) -> str:
    try:
        return file.read_bytes().decode("utf-8")  # bytes: line ends stay as they are
    except (OSError, UnicodeDecodeError) as error:
        raise PromotionError(f"{file}: could not be read: {error}") from None


def _mapping(file: Path, text: str) -> dict[str, Any]:
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise PromotionError(f"{file}: no YAML document: {error}") from None
    return found if isinstance(found, dict) else {}


def _shared(tree: Path) -> dict[str, Any]:
    file = tree / "apps" / BASE / "values.yaml"
    return _mapping(file, _read(file)) if file.exists() else {}


def _scalar(text: str, key: tuple[str, ...], origin: str) -> yaml.ScalarNode:
    """The node of a value, with its place in the text."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise PromotionError(f"{origin}: not one YAML document: {error}") from None
    for depth, part in enumerate(key):
        found = (
            [value for name, value in node.value if name.value == part] if isinstance(node, yaml.MappingNode) else []
        )
        if len(found) != 1:
            raise PromotionError(f"{origin}: {'.'.join(key[: depth + 1])} is {'there twice' if found else 'missing'}")
        node = found[0]
    if not isinstance(node, yaml.ScalarNode) or node.style in {"|", ">"} or node.tag != "tag:yaml.org,2002:str":
        raise PromotionError(f"{origin}: {'.'.join(key)} is no text; put it in quotes")
    return node
