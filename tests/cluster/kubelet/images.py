"""Images: what a reference in a pod stands for on this machine, read from a file that tests may change."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.image.dockerfile import stages


@dataclass(frozen=True)
class Image:
    """What a container is started from; its root is this machine's, read through an overlay.

    Attributes:
        entrypoint: What runs, before the arguments.
        command: Arguments if the pod has none.
        environ: Its variables; ``$(POD_IP)`` is replaced by the pod's loopback address.
        user: Its user, a number; -1: root.
        workdir: Where it starts.
        folders: Folders of the image, by path, and where they are on this machine.
    """

    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    environ: dict[str, str] = field(default_factory=dict)
    user: int = -1
    workdir: str = "/"
    folders: dict[str, str] = field(default_factory=dict)


class Images:
    """The images of a file: JSON, an object of images by their reference."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def get(self, reference: str) -> Image | None:
        """The image, or ``None``: it cannot be pulled."""
        found = self._all().get(reference)
        return None if found is None else Image(**found)

    def put(self, reference: str, image: Image) -> None:
        """Add an image, or replace it."""
        found = self._all() | {reference: vars(image)}
        fresh = self.path.with_suffix(".new")
        fresh.write_text(json.dumps(found, indent=1), "utf-8")
        fresh.replace(self.path)

    def _all(self) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = json.loads(self.path.read_text("utf-8")) if self.path.exists() else {}
        return found


def orris_image(bundle: Path) -> Image:
    """Orris' image with a model, as the Dockerfile describes it.

    The environment that runs this is at ``/opt/orris``, and the server listens on the pod's address in place of all
    addresses, which all pods share here.
    """
    environ: dict[str, str] = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
    described = {"WORKDIR": "/", "USER": "-1", "ENTRYPOINT": "[]", "CMD": "[]"}
    for word, rest in stages()["server"] + stages()["with-model"]:
        if word == "ENV":
            pairs = dict(pair.split("=", 1) for pair in rest.split())
            environ |= {key: value.replace("${PATH}", environ["PATH"]) for key, value in pairs.items()}
        elif word in described:
            described[word] = rest
    assert environ["ORRIS_HOST"] == "0.0.0.0"  # noqa: S104 (the image's)
    return Image(
        entrypoint=json.loads(described["ENTRYPOINT"]),
        command=json.loads(described["CMD"]),
        environ=environ | {"ORRIS_HOST": "$(POD_IP)"},
        user=int(described["USER"].partition(":")[0]),
        workdir=described["WORKDIR"],
        folders={"/opt/orris": sys.prefix, "/opt/model": str(bundle.resolve())},
    )


def wrk_image(program: str = "/usr/bin/wrk") -> Image:
    """The image of ``loadtests/image/Dockerfile``: Debian's wrk."""
    assert os.access(program, os.X_OK), f"{program} is not there; Debian's package wrk has it"
    return Image(entrypoint=[program], environ={"PATH": "/usr/bin:/bin"}, user=10001)
