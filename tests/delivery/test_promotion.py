"""Tests of ``orris promote`` on real git repositories and a real store."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from orris.signing import sign
from orris.store import Store
from tests.delivery.gitops import IMAGE, OTHER_IMAGE, Tree

STAGE = "deploy/apps/stage/release.yaml"
FOREST = ("1.2.0", "--to", "stage")


def gates(document: str) -> dict[str, bool]:
    """Return the gates of a ``--json`` answer, which ends where an error's text begins."""
    return {gate["name"]: gate["passed"] for gate in json.loads(document[: document.rindex("}") + 1])["gates"]}


def test_the_version_of_dev_is_promoted_to_stage(tree: Tree) -> None:
    """The model's version and dev's image are one commit on a branch of its own, whose diff is shown."""
    tree.run("dev", "1.1.0", OTHER_IMAGE)
    head = tree.git("rev-parse", "HEAD")
    text = tree.promote("1.1.0", "--from", "dev", "--to", "stage")
    assert tree.pins("stage", "promote/stage-1.1.0") == (OTHER_IMAGE, "1.1.0")
    assert tree.git("rev-parse", "promote/stage-1.1.0^") == head
    assert tree.git("log", "-1", "--format=%an %s", "promote/stage-1.1.0") == "Ada Promote iris 1.1.0 to stage"
    assert tree.git("diff", "--no-color", "main", "promote/stage-1.1.0").rpartition("@@")[2].partition("\n")[2] in text


def test_only_two_lines_of_one_file_change(tree: Tree) -> None:
    """A promotion changes the lines of the digest and the version and no other."""
    tree.run("dev", "1.1.0", OTHER_IMAGE)
    tree.promote("1.1.0", "--from", "dev", "--to", "stage")
    assert tree.git("diff", "--numstat", "main", "promote/stage-1.1.0") == f"2\t2\t{STAGE}"
    lines = [
        line
        for line in tree.git("diff", "--unified=0", "main", "promote/stage-1.1.0").splitlines()
        if re.match(r"[-+] ", line)
    ]
    assert lines == [
        f"-      digest: {IMAGE}",
        f"+      digest: {OTHER_IMAGE}",
        "-      version: 1.0.0",
        "+      version: 1.1.0",
    ]


def test_working_tree_and_index_stay_as_they_are(tree: Tree) -> None:
    """Other work in progress, staged or not, neither moves nor gets into the commit."""
    (tree.root / "README.md").write_text("half a sentence", "utf-8")
    (tree.root / "new.txt").write_text("staged", "utf-8")
    tree.git("add", "new.txt")
    before = tree.git("status", "--porcelain=v2", "--branch")
    tree.promote("1.1.0", "--to", "stage")
    assert tree.git("status", "--porcelain=v2", "--branch") == before
    assert tree.git("diff", "--name-only", "main", "promote/stage-1.1.0") == STAGE


def test_the_first_promotion_needs_an_image(tree: Tree) -> None:
    """The first promotion to an environment needs an image and compares with no live version."""
    assert "no image has been promoted here" in tree.promote("1.0.0", "--to", "prod", expect=1)
    assert "nothing is live" in tree.promote("1.0.0", "--to", "prod", "--image-digest", IMAGE)
    assert tree.pins("prod", "promote/prod-1.0.0") == (IMAGE, "1.0.0")


def test_a_dry_run_commits_nothing(tree: Tree) -> None:
    """A dry run shows the change and commits nothing."""
    before = tree.git("for-each-ref")
    text = tree.promote("1.1.0", "--to", "stage", "--dry-run")
    assert "+      version: 1.1.0" in text
    assert "nothing is committed" in text
    assert tree.git("for-each-ref") == before


def test_a_running_version_is_not_promoted_again(tree: Tree) -> None:
    """Promoting the version that runs already succeeds and commits nothing."""
    assert "nothing to do" in tree.promote("1.0.0", "--from", "dev", "--to", "stage")
    assert tree.git("branch", "--format=%(refname:short)") == "main"


def test_the_source_must_run_the_version(tree: Tree) -> None:
    """A version that the source environment does not run is not promoted."""
    assert "dev runs 1.0.0, not 1.1.0" in tree.promote("1.1.0", "--from", "dev", "--to", "stage", expect=1)
    assert "nothing has been promoted to prod yet" in tree.promote("1.0.0", "--from", "prod", "--to", "stage", expect=1)
    assert tree.git("branch", "--format=%(refname:short)") == "main"


def test_worse_metrics_are_refused(tree: Tree) -> None:
    """A version with worse metrics is refused, unless the tolerance is wider or another metric is compared."""
    text = tree.promote(*FOREST, expect=1)
    assert "refused by 1 gate (metrics)" in text
    assert re.search(r"log_loss 0\.\d+ -> 0\.\d+", text)
    assert gates(tree.promote(*FOREST, "--dry-run", "--json", "--tolerance", "5"))["metrics"]
    assert gates(tree.promote(*FOREST, "--dry-run", "--json", "--metric", "accuracy"))["metrics"]


@pytest.mark.parametrize(
    ("version", "words"),
    [("2.0.0", "column 'sepal_length' had the bounds > 0 and has ≥ 4"), ("3.0.0", "column 'sepal_width' is gone")],
)
def test_a_schema_that_breaks_callers_is_refused(tree: Tree, version: str, words: str) -> None:
    """A breaking schema is refused with its columns; ``--allow-schema-change`` accepts it and names them still."""
    strict = tree.promote(version, "--to", "stage", "--metric", "accuracy", "--tolerance", "1", expect=1)
    assert "refused by 1 gate (schema)" in strict
    assert words in strict
    assert words in tree.promote(
        version, "--to", "stage", "--allow-schema-change", "--metric", "accuracy", "--tolerance", "1"
    )


def test_a_damaged_bundle_is_refused(tree: Tree, tmp_path: Path) -> None:
    """A damaged bundle is refused with the file's name, and the other gates are shown beside it."""
    store = tmp_path / "store"
    shutil.copytree(tree.store, store)
    damaged = store / "iris" / "versions" / "1.1.0" / "model.onnx"
    damaged.chmod(0o644)
    damaged.write_bytes(damaged.read_bytes() + b"!")
    text = Tree(tree.root, store).promote("1.1.0", "--to", "stage", "--json", expect=1)
    assert gates(text) == {"image": True, "bundle": False, "parity": True, "schema": True, "metrics": True}
    assert "model.onnx" in text


def test_with_a_key_the_signature_is_a_gate(tree: Tree, tmp_path: Path) -> None:
    """With a key, from an option or a setting, only a version signed with that key passes."""
    keys = {name: write_keys(tmp_path, name) for name in ("ours", "theirs")}
    signed = Tree(tree.root, tmp_path / "store")
    shutil.copytree(tree.store, signed.store)
    key = str(keys["ours"][1])
    assert "not signed" in signed.promote("1.1.0", "--to", "stage", "--verify-key", key, expect=1)
    store = Store(signed.store)
    store.attach_signature(
        "iris@1.1.0", sign(store.fetch("iris@1.1.0"), keys["ours"][0], signature=tmp_path / "model.sig")
    )
    dry = ("1.1.0", "--to", "stage", "--dry-run", "--json")
    assert gates(signed.promote(*dry, "--verify-key", key))["signature"]
    assert gates(signed.promote(*dry, ORRIS_VERIFY_KEY=key))["signature"]
    theirs = signed.promote("1.1.0", "--to", "stage", "--json", "--verify-key", str(keys["theirs"][1]), expect=1)
    assert [name for name, passed in gates(theirs).items() if not passed] == ["signature"]


def write_keys(folder: Path, name: str) -> tuple[Path, Path]:
    """Write a new pair of keys and return the private and the public file."""
    private = ec.generate_private_key(ec.SECP256R1())
    files = folder / f"{name}-private.pem", folder / f"{name}-public.pem"
    no_encryption = serialization.NoEncryption()
    files[0].write_bytes(
        private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, no_encryption)
    )
    files[1].write_bytes(
        private.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return files


def test_an_unknown_version_is_answered_with_the_known_ones(tree: Tree) -> None:
    """The error of an unknown version names the known versions of the environment's model."""
    text = tree.promote("9.9.9", "--to", "stage", expect=1)
    assert "'iris' has no version 9.9.9; newest first: 3.0.0, 2.0.0" in text


def test_a_live_version_that_the_store_has_lost_stops_the_promotion(tree: Tree) -> None:
    """A live version that the store has lost cannot be compared, and the error names the file that pins it."""
    tree.run("stage", "1.0.9")
    text = tree.promote("1.1.0", "--to", "stage", expect=1)
    assert "release.yaml: what it runs is not in the store" in text
    assert "1.0.9" in text


def test_a_rollback_uses_the_history_of_the_file(tree: Tree) -> None:
    """A rollback restores the previous image and model, whatever was committed since and whatever their metrics."""
    tree.run("stage", "1.2.0", OTHER_IMAGE)
    with tree.file("stage").open("a", encoding="utf-8") as file:
        file.write("# a remark\n")
    tree.git("commit", "--quiet", "--all", "--message", "Remark")
    tree.promote("--rollback", "--to", "stage")
    assert tree.pins("stage", "rollback/stage-1.0.0") == (IMAGE, "1.0.0")
    assert tree.git("diff", "--numstat", "main", "rollback/stage-1.0.0") == f"2\t2\t{STAGE}"
    tree.merge("rollback/stage-1.0.0")
    tree.promote("--rollback", "--to", "stage")
    assert tree.pins("stage", "rollback/stage-1.2.0") == (OTHER_IMAGE, "1.2.0")


def test_a_rollback_needs_an_earlier_version(tree: Tree) -> None:
    """A rollback to the zeros of an environment without a promotion is refused."""
    assert "no way back" in tree.promote("--rollback", "--to", "stage", expect=1)


def test_a_file_with_changes_is_not_promoted_over(tree: Tree) -> None:
    """If the environment's file has uncommitted changes, the error names it and nothing is committed."""
    with tree.file("stage").open("a", encoding="utf-8") as file:
        file.write("# not finished\n")
    text = tree.promote("1.1.0", "--to", "stage", expect=1)
    assert "stage/release.yaml: has changes that are not committed" in text
    assert tree.git("branch", "--format=%(refname:short)") == "main"


def test_a_file_outside_git_is_not_promoted_over(tree: Tree, tmp_path: Path) -> None:
    """A file that git does not track, or in no repository, is not promoted; a dry run works."""
    shutil.copytree(tree.root / "deploy", tree.root / "other")
    assert "is not tracked by git" in tree.promote("1.1.0", "--to", "stage", "--tree", "other", expect=1)
    shutil.copytree(tree.root / "deploy", tmp_path / "loose")
    loose = str(tmp_path / "loose")
    assert "not a git repository" in tree.promote("1.1.0", "--to", "stage", "--tree", loose, expect=1)
    assert "+      version: 1.1.0" in tree.promote("1.1.0", "--to", "stage", "--tree", loose, "--dry-run")


def test_a_branch_is_never_overwritten(tree: Tree) -> None:
    """A second promotion of the same version is refused and leaves the branch of the first."""
    tree.promote("1.1.0", "--to", "stage")
    first = tree.git("rev-parse", "promote/stage-1.1.0")
    assert "promote/stage-1.1.0 exists already" in tree.promote("1.1.0", "--to", "stage", expect=1)
    assert tree.git("rev-parse", "promote/stage-1.1.0") == first


def test_a_remote_branch_is_never_overwritten(tree: Tree, tmp_path: Path) -> None:
    """If two people promote the same version, git refuses the second push."""
    tree.git("push", "--quiet", "origin", "main")
    other = tmp_path / "other"
    tree.git("clone", "--quiet", "--branch", "main", str(tmp_path / "origin.git"), str(other))
    second = Tree(other, tree.store)
    second.git("config", "user.name", "Bob")
    second.git("config", "user.email", "bob@example.org")
    assert "promote/stage-1.1.0" in tree.promote("1.1.0", "--to", "stage", "--push")
    assert "git push" in second.promote("1.1.0", "--to", "stage", "--push", expect=1)
    assert tree.git("ls-remote", "origin", "promote/stage-1.1.0").startswith(
        tree.git("rev-parse", "promote/stage-1.1.0")
    )


def test_in_ci_a_push_opens_the_pull_request(tree: Tree, tmp_path: Path) -> None:
    """The pull request is made by a recorded stand-in for gh, with base, branch, title and the report as its body."""
    stand_in = tmp_path / "bin" / "gh"
    stand_in.parent.mkdir()
    stand_in.write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/told\ncat > {tmp_path}/body\necho https://example.org/pull/7\n'
    )
    stand_in.chmod(0o755)
    path = f"{stand_in.parent}:/usr/local/bin:/usr/bin:/bin"
    text = tree.promote("1.1.0", "--to", "stage", "--push", "--json", CI="true", PATH=path)
    answer = json.loads(text)
    assert answer["pull_request"] == "https://example.org/pull/7"
    assert answer["pushed"]
    told = (tmp_path / "told").read_text("utf-8").splitlines()
    title = "Promote iris 1.1.0 to stage"
    assert told == [
        "pr",
        "create",
        "--base",
        "main",
        "--head",
        "promote/stage-1.1.0",
        "--title",
        title,
        "--body-file",
        "-",
    ]
    body = (tmp_path / "body").read_text("utf-8")
    assert [
        part for part in ("| gate |", "### Metrics", "### Change", "+      version: 1.1.0") if part not in body
    ] == []
    assert tree.git("ls-remote", "origin", "promote/stage-1.1.0").startswith(answer["commit"])


def test_a_report_is_written_although_a_gate_fails(tree: Tree, tmp_path: Path) -> None:
    """The report is written even if a gate fails, so that a job's summary shows the reason."""
    tree.promote("3.0.0", "--to", "stage", "--report", str(tmp_path / "report.md"), expect=1)
    text = (tmp_path / "report.md").read_text("utf-8")
    assert "**A gate failed: nothing is changed.**" in text
    assert "| `sepal_width` | is gone | yes |" in text


def test_git_without_an_author_is_an_error(tree: Tree) -> None:
    """Without an author the error has git's own message, exit code 1, and no branch is left behind."""
    tree.git("config", "--unset", "user.name")
    tree.git("config", "--unset", "user.email")
    tree.git("config", "user.useConfigOnly", "true")
    assert "user.email" in tree.promote(
        "1.1.0", "--to", "stage", expect=1, HOME=str(tree.root.parent), XDG_CONFIG_HOME="/nonexistent"
    )
    assert tree.git("branch", "--format=%(refname:short)") == "main"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["1.1.0"], "say which environment"),
        (["--to", "stage"], "say which version"),
        (["1.1.0", "--to", "production"], "there are dev, prod, stage"),
        (["1.1.0", "--to", "stage", "--from", "stage"], "the same environment"),
        (["1.1.0", "--to", "stage", "--rollback"], "--rollback finds what ran before by itself"),
        (["1.1.0", "--to", "stage", "--metric", "beauty"], "measured for neither version"),
        (["1.1.0", "--to", "stage", "--tolerance", "-1"], "greater than or equal to 0"),
    ],
    ids=["no-target", "no-version", "unknown", "same", "rollback", "metric", "tolerance"],
)
def test_wrong_usage_is_exit_code_2(tree: Tree, arguments: list[str], words: str) -> None:
    """Wrong usage ends with exit code 2 and advice."""
    assert words in tree.promote(*arguments, expect=2)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["1.1"], "version '1.1'"), (["1.1.0", "--image-digest", "latest"], "--image-digest: 'latest' is no digest")],
    ids=["version", "digest"],
)
def test_a_malformed_pin_is_refused(tree: Tree, arguments: list[str], words: str) -> None:
    """A malformed pin is refused before git or the store is used."""
    assert words in tree.promote(*arguments, "--to", "stage", expect=1)
