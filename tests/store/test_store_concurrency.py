"""Tests of publishers at the same instant, in processes of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

from orris.store import Store
from tests.store.sealing import MakeBundle, seal_bundle
from tests.waiting import PATIENCE_SECONDS


def _publish_together(url: str, folders: list[Path], tmp_path: Path) -> list[str]:
    answer = tmp_path / "outcomes.json"
    command = [sys.executable, "-m", "tests.store.together", url, str(answer), *map(str, folders)]
    subprocess.run(command, cwd=Path(__file__).parents[2], check=True, timeout=PATIENCE_SECONDS)
    outcomes: list[str] = json.loads(answer.read_text())
    return outcomes


def test_eight_publishers_lose_no_record(url: str, make_bundle: MakeBundle, tmp_path: Path) -> None:
    """Eight versions published at once are all there, and the alias's log has eight records, numbered without a gap."""
    versions = [f"1.{minor}.0" for minor in range(8)]
    folders = [make_bundle(version) for version in versions]
    assert _publish_together(url, folders, tmp_path) == ["published"] * 8
    store = Store(url)
    assert [(info.version, info.problem) for info in store.versions("iris")] == [
        (version, None) for version in versions
    ]
    log = store.history("iris", "latest")
    assert [record.number for record in log] == list(range(1, 9))
    assert {record.author for record in log} == {folder.name for folder in folders}
    assert [record.previous for record in log] == [None, *(record.version for record in log[:-1])]
    assert store.resolve("iris:latest").version == log[-1].version


PUBLISHER = """
import sys
from pathlib import Path
from orris.store import Store

store = Store(sys.argv[1])
for folder in sys.argv[2:]:
    store.publish(Path(folder))
"""


def test_an_alias_is_read_at_every_moment_of_publications(make_bundle: MakeBundle, tmp_path: Path) -> None:
    """While another process publishes forty versions, every read of the alias finds one of them."""
    store = Store(str(tmp_path / "artifacts"))
    first, *others = [make_bundle(f"1.{minor}.0") for minor in range(41)]
    store.publish(first)
    reads: set[str] = set()
    with subprocess.Popen([sys.executable, "-c", PUBLISHER, store.url, *map(str, others)]) as publisher:
        while publisher.poll() is None:
            reads.add(store.resolve("iris:latest").version)
    assert publisher.returncode == 0
    assert len(reads) > 1
    assert store.resolve("iris:latest").version == "1.40.0"


def test_one_of_several_publishers_of_a_version_wins(url: str, tmp_path: Path, cache: Path) -> None:
    """Of four different bundles for one version one is published whole, and the other publishers get an error."""
    contents = [f"model {number}".encode() for number in range(4)]
    folders = [
        seal_bundle(tmp_path / f"bundle-{number}", "iris", "1.0.0", content) for number, content in enumerate(contents)
    ]
    outcomes = _publish_together(url, folders, tmp_path)
    assert Counter(outcomes) == {"published": 1, "VersionExistsError": 3}
    store, winner = Store(url), outcomes.index("published")
    assert (store.fetch("iris@1.0.0", cache) / "model.onnx").read_bytes() == contents[winner]
    assert [record.author for record in store.history("iris", "latest")] == [f"bundle-{winner}"]


def test_one_of_two_publishers_of_the_same_bundle_wins(url: str, make_bundle: MakeBundle, tmp_path: Path) -> None:
    """Identical content published twice at once is one publication."""
    folder = make_bundle("1.0.0")
    outcomes = _publish_together(url, [folder, seal_bundle(tmp_path / "twin", "iris", "1.0.0", b"model")], tmp_path)
    assert Counter(outcomes) == {"published": 1, "VersionExistsError": 1}
    assert len(Store(url).history("iris", "latest")) == 1
