"""Volumes of a pod: folders on this machine that are mounted into its containers."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from tests.cluster.kubelet.api import Object
from tests.cluster.kubelet.environment import Lookup, MissingError, UnsupportedError, contents
from tests.cluster.kubelet.images import Image

GROUP_READABLE = 0o440


class Volumes:
    """The volumes of one pod below a folder of it."""

    def __init__(self, pod: Object, folder: Path, lookup: Lookup, image: Callable[[str], Image | None]) -> None:
        self._volumes: list[Object] = pod["spec"].get("volumes", [])
        self._group: int | None = (pod["spec"].get("securityContext") or {}).get("fsGroup")
        self._folder = folder
        self._lookup = lookup
        self._image = image

    def prepare(self) -> dict[str, Path]:
        """Make every volume; returns the folder of each by its name.

        Raises:
            MissingError: A ConfigMap or a Secret is not there, or an image cannot be pulled.
            UnsupportedError: A volume of another kind.
        """
        return {volume["name"]: self._made(volume) for volume in self._volumes}

    def refresh(self) -> None:
        """Write what has changed in ConfigMaps and Secrets; readers see either all of the old or all of the new."""
        for volume in self._volumes:
            if "configMap" in volume or "secret" in volume:
                self._made(volume)

    def _made(self, volume: Object) -> Path:
        folder: Path = self._folder / volume["name"]
        if "image" in volume:
            image = self._image(volume["image"]["reference"])
            if image is None or "/" not in image.folders:
                raise MissingError(
                    f"the image {volume['image']['reference']} of a volume cannot be pulled", "ImagePullBackOff"
                )
            return Path(image.folders["/"])
        folder.mkdir(parents=True, exist_ok=True)
        if "emptyDir" in volume:
            if self._group is not None:
                os.chown(folder, -1, self._group)
            folder.chmod(0o2777 if self._group is not None else 0o777)
        elif "configMap" in volume:
            self._write(folder, "ConfigMap", volume["configMap"], volume["configMap"]["name"])
        elif "secret" in volume:
            self._write(folder, "Secret", volume["secret"], volume["secret"]["secretName"])
        else:
            [kind] = volume.keys() - {"name"}
            raise UnsupportedError(f"the volume {volume['name']} is of the kind {kind}")
        return folder

    def _write(self, folder: Path, kind: str, source: Object, name: str) -> None:
        found = self._lookup(kind, name)
        if found is None and not source.get("optional"):
            raise MissingError(f'{kind.lower()} "{name}" not found')
        files = contents({**(found or {}), "kind": kind})
        paths = {each["path"]: each["key"] for each in source.get("items") or []} or {key: key for key in files}
        missing = [key for key in paths.values() if key not in files]
        if missing and not source.get("optional"):
            raise MissingError(f'{kind.lower()} "{name}" has no key "{missing[0]}"')
        mode = source.get("defaultMode", 0o644)
        published(folder, {path: files[key] for path, key in paths.items() if key in files}, mode, self._group)


def published(folder: Path, files: dict[str, bytes], mode: int, group: int | None) -> None:
    """Write files as kubelet's AtomicWriter does: into a folder of their own, to which the link ``..data`` is moved.

    Each file is a link through ``..data``, so one rename changes them all.
    """
    data = folder / "..data"
    before = data.resolve() if data.is_symlink() else None
    if before is not None and files == {
        str(path.relative_to(before)): path.read_bytes() for path in before.rglob("*") if path.is_file()
    }:
        return
    number = int(before.name.rpartition("_")[2]) + 1 if before is not None else 0
    fresh = folder / f"..version_{number}"
    for name, content in files.items():
        path = fresh / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(mode | (GROUP_READABLE if group is not None else 0))
        if group is not None:
            os.chown(path, -1, group)
    fresh.mkdir(exist_ok=True)
    link = folder / "..data_new"
    link.symlink_to(fresh.name)
    link.rename(data)
    for top in {name.partition("/")[0] for name in files}:
        if not (folder / top).is_symlink():
            (folder / top).symlink_to(f"..data/{top}")
    for each in folder.iterdir():
        if each.is_symlink() and each != data and not each.exists():
            each.unlink()
    if before is not None:
        shutil.rmtree(before)
