"""Tests of volumes: folders that change whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster.kubelet.api import Object
from tests.cluster.kubelet.environment import MissingError, UnsupportedError
from tests.cluster.kubelet.volumes import Volumes, published


def files(folder: Path) -> dict[str, str]:
    """What a reader of the folder sees."""
    return {path.name: path.read_text("utf-8") for path in folder.iterdir() if not path.name.startswith("..")}


def test_files_of_a_volume_change_together(tmp_path: Path) -> None:
    """A new version appears through one link, keys that are gone vanish, and nothing of the old version stays."""
    published(tmp_path, {"a": b"1", "b": b"1"}, 0o640, None)
    assert files(tmp_path) == {"a": "1", "b": "1"}
    assert (tmp_path / "a").readlink() == Path("..data/a")
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640
    before = (tmp_path / "..data").resolve()
    published(tmp_path, {"a": b"1", "b": b"1"}, 0o640, None)
    assert (tmp_path / "..data").resolve() == before
    published(tmp_path, {"a": b"2", "c/d": b"2"}, 0o640, None)
    assert (tmp_path / "a").read_text("utf-8") == "2"
    assert (tmp_path / "c" / "d").read_text("utf-8") == "2"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["..data", "..version_1", "a", "c"]


def test_volumes_are_made_and_renewed(tmp_path: Path) -> None:
    """ConfigMaps, Secrets with chosen keys and empty folders are made; a change of a ConfigMap arrives."""
    objects: dict[tuple[str, str], Object] = {
        ("ConfigMap", "m"): {"data": {"a": "1"}},
        ("Secret", "s"): {"data": {"k": "eA==", "other": "eQ=="}},
    }
    pod: Object = {
        "spec": {
            "volumes": [
                {"name": "map", "configMap": {"name": "m"}},
                {"name": "secret", "secret": {"secretName": "s", "items": [{"key": "k", "path": "key.pem"}]}},
                {"name": "tmp", "emptyDir": {}},
            ]
        }
    }
    volumes = Volumes(pod, tmp_path, lambda kind, name: objects.get((kind, name)), lambda _: None)
    made = volumes.prepare()
    assert files(made["map"]) == {"a": "1"}
    assert files(made["secret"]) == {"key.pem": "x"}
    assert made["tmp"].stat().st_mode & 0o777 == 0o777
    objects["ConfigMap", "m"] = {"data": {"a": "2"}}
    volumes.refresh()
    assert files(made["map"]) == {"a": "2"}


@pytest.mark.parametrize(
    ("volume", "error"),
    [
        ({"configMap": {"name": "none"}}, MissingError),
        ({"secret": {"secretName": "none"}}, MissingError),
        ({"image": {"reference": "none"}}, MissingError),
        ({"hostPath": {"path": "/"}}, UnsupportedError),
    ],
)
def test_a_volume_that_cannot_be_made_is_an_error(volume: Object, error: type[Exception], tmp_path: Path) -> None:
    """What is not there, and kinds that the kubelet does not have, are errors."""
    pod: Object = {"spec": {"volumes": [{"name": "it", **volume}]}}
    with pytest.raises(error):
        Volumes(pod, tmp_path, lambda _kind, _name: None, lambda _: None).prepare()
