"""What kustomize makes of a folder of ``deploy/``, limited to what the tree uses.

``test_overlays.py`` holds it to the real kustomize.

Known: ``resources`` (files and folders), ``components``, strategic-merge ``patches`` by path (custom resources have no
merge keys, so a list is replaced, as in kustomize), ``configMapGenerator`` with files and without a hash,
``replacements`` of one field by another.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

Object = dict[str, Any]

KNOWN = {"apiVersion", "kind", "resources", "components", "patches", "configMapGenerator", "replacements"}


def documents(file: Path) -> list[Object]:
    """The YAML documents of a file."""
    return [document for document in yaml.safe_load_all(file.read_text("utf-8")) if document is not None]


def build(folder: Path, components: tuple[str, ...] = (), below: list[Object] | None = None) -> list[Object]:
    """The objects of a folder; ``components`` are added to those of its own, as Flux's Kustomization does."""
    [overlay] = documents(folder / "kustomization.yaml")
    assert set(overlay) <= KNOWN, f"{folder}: this build does not know {sorted(set(overlay) - KNOWN)}"
    objects = [] if below is None else below
    for resource in overlay.get("resources", []):
        path = folder / resource
        objects += documents(path) if path.is_file() else build(path)
    for component in (*overlay.get("components", []), *components):
        objects = build(folder / component, below=objects)
    objects += [config_map(folder, generator) for generator in overlay.get("configMapGenerator", [])]
    for patch in overlay.get("patches", []):
        for document in documents(folder / patch["path"]):
            [target] = [each for each in objects if identity(each) == identity(document)]
            merge(target, document)
    for replacement in overlay.get("replacements", []):
        replace(objects, replacement)
    names = [identity(each) for each in objects]
    assert len(set(names)) == len(names), f"{folder}: an object is there twice"
    return objects


def identity(found: Object) -> tuple[str, str, str, str]:
    """What makes an object the one that it is."""
    metadata = found["metadata"]
    return found["apiVersion"], found["kind"], metadata.get("namespace", ""), metadata["name"]


def config_map(folder: Path, generator: Object) -> Object:
    """A ConfigMap with the content of files."""
    options = generator["options"]
    assert options["disableNameSuffixHash"]
    metadata = {"name": generator["name"], "namespace": generator["namespace"], "labels": options["labels"]}
    data = {Path(file).name: (folder / file).read_text("utf-8") for file in generator["files"]}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def merge(target: Object, patch: Object) -> None:
    """Mappings are merged, ``null`` removes, everything else replaces."""
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, dict) and isinstance(target.get(key), dict):
            merge(target[key], value)
        else:
            target[key] = value


def replace(objects: list[Object], replacement: Object) -> None:
    """Copy one object's field to fields of others."""
    value = field(selected(objects, replacement["source"])[0], replacement["source"]["fieldPath"])
    for target in replacement["targets"]:
        for found in selected(objects, target["select"]):
            for path in target["fieldPaths"]:
                holder, last = place(found, path)
                assert last in holder
                holder[last] = value


def selected(objects: list[Object], selector: Object) -> list[Object]:
    """Return the objects of a kind and a name."""
    found = [
        each for each in objects if (each["kind"], each["metadata"]["name"]) == (selector["kind"], selector["name"])
    ]
    assert found, f"nothing is selected by {selector}"
    return found


def field(found: Object, path: str) -> Any:
    """Return the value at a path such as ``spec.ref.tag``."""
    holder, last = place(found, path)
    return holder[last]


def place(found: Object, path: str) -> tuple[Any, str]:
    """Return the container of a path's last step, and that step; a number is a position in a list."""
    *way, last = path.split(".")
    holder: Any = found
    for step in way:
        holder = holder[int(step) if step.isdigit() else step]
    return holder, last
