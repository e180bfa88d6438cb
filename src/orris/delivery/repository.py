"""The git repository around a GitOps tree.

One file is committed on a branch of its own, without touching the working tree or the index.

The commit is made of objects (``hash-object``, ``write-tree``, ``commit-tree``), so nothing is checked out and no other
change of the working tree can slip in. git is called with argument lists, never through a shell.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from orris.errors import PromotionError

_TIMEOUT_SECONDS = 120


class Repository:
    """The repository that ``path`` is in.

    Raises:
        PromotionError: git is not installed, there is no repository, or it has no commit.
    """

    def __init__(self, path: Path) -> None:
        self.root = path
        self.root = Path(self._git("rev-parse", "--show-toplevel"))
        self.head = self._git("rev-parse", "--verify", "HEAD^{commit}")

    def relative(self, file: Path) -> str:
        """A file's path in the repository, with slashes."""
        return file.resolve().relative_to(self.root.resolve()).as_posix()

    def require_clean(self, file: Path) -> None:
        """Let nothing be promoted over changes that are in no commit.

        Raises:
            PromotionError: The file has changes, or is not tracked.
        """
        state = self._git("status", "--porcelain", "--", self.relative(file))
        if state:
            what = "is not tracked by git" if state.startswith("??") else "has changes that are not committed"
            raise PromotionError(f"{file}: {what}; commit it or put it back, then promote again")

    def require_no_branch(self, branch: str) -> None:
        """Let no branch be overwritten.

        Raises:
            PromotionError: The branch exists here, or is no name that git takes.
        """
        self._git("check-ref-format", "--branch", branch)
        if self._git("for-each-ref", "--format=%(objectname)", f"refs/heads/{branch}"):
            raise PromotionError(
                f"the branch {branch} exists already: merge it, or delete it with  git branch -D {branch}  and promote"
                " again"
            )

    def commit(self, file: Path, text: str, branch: str, message: str) -> str:
        """Commit ``file`` with other content on a new branch that starts at ``HEAD``; returns the commit's id.

        Raises:
            PromotionError: git refused, for example because it does not know who commits.
        """
        path = self.relative(file)
        mode = self._git("ls-tree", "HEAD", "--", path).split(maxsplit=1)[0]
        blob = self._git("hash-object", "-w", "--stdin", f"--path={path}", stdin=text)  # as `git add` would
        with tempfile.TemporaryDirectory() as folder:
            index = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
            self._git("read-tree", self.head, environ=index)
            self._git("update-index", "--cacheinfo", f"{mode},{blob},{path}", environ=index)
            tree = self._git("write-tree", environ=index)
        signed = ["-S"] if self._is_set("commit.gpgsign") else []
        commit = self._git("commit-tree", tree, "-p", self.head, *signed, "-F", "-", stdin=message)
        self._git("update-ref", "-m", "orris promote", f"refs/heads/{branch}", commit, "")  # only if there is none
        return commit

    def push(self, branch: str, remote: str = "origin") -> None:
        """Push the branch; a branch of that name which holds something else is not overwritten.

        Raises:
            PromotionError: The remote refused.
        """
        self._git("push", remote, f"refs/heads/{branch}:refs/heads/{branch}")

    def base(self) -> str:
        """The branch that is checked out; ``main`` where none is, as in many CI systems."""
        try:
            return self._git("symbolic-ref", "--short", "HEAD")
        except PromotionError:
            return "main"

    def earlier(self, file: Path) -> Iterator[tuple[str, str]]:
        """The commits that changed ``file``, newest first, each with the content that it left."""
        path = self.relative(file)
        for commit in self._git("log", "--format=%H", "HEAD", "--", path).split():
            try:
                yield commit, self._git("show", f"{commit}:{path}", strip=False)
            except PromotionError:  # the commit removed it
                continue

    def open_pull_request(self, branch: str, title: str, body: str) -> str:
        """Open a pull request with GitHub's ``gh``, which reads its token from the environment; returns the address.

        Raises:
            PromotionError: ``gh`` is not installed, or refused.
        """
        if shutil.which("gh") is None:
            raise PromotionError(
                f"{branch} is pushed, but `gh` is not installed, so no pull request was opened; open it by hand"
            )
        return self._run(
            ["gh", "pr", "create", "--base", self.base(), "--head", branch, "--title", title, "--body-file", "-"],
            stdin=body,
        )

    def _is_set(self, key: str) -> bool:
        try:
            return self._git("config", "--type=bool", "--get", key) == "true"
        except PromotionError:  # the key is not there
            return False

    def _git(
        self, *arguments: str, stdin: str | None = None, environ: dict[str, str] | None = None, strip: bool = True
    ) -> str:
        return self._run(["git", *arguments], stdin=stdin, environ=environ, strip=strip)

    def _run(
        self, command: list[str], *, stdin: str | None = None, environ: dict[str, str] | None = None, strip: bool = True
    ) -> str:
        try:
            done = subprocess.run(  # noqa: S603 (an argument list of ours; no shell)
                command,
                cwd=self.root,
                input=None if stdin is None else stdin.encode(),  # bytes: line ends stay as they are
                stdin=subprocess.DEVNULL if stdin is None else None,
                capture_output=True,
                timeout=_TIMEOUT_SECONDS,
                check=False,
                env=os.environ | {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0"} | (environ or {}),
            )
        except FileNotFoundError:
            raise PromotionError(f"{command[0]} is not installed, or {self.root} is no folder") from None
        except subprocess.TimeoutExpired:
            raise PromotionError(f"{' '.join(command[:2])}: no answer within {_TIMEOUT_SECONDS} s") from None
        if done.returncode:
            said = (
                done.stderr.decode(errors="replace").strip() or done.stdout.decode(errors="replace").strip()
            ).replace("\n", "; ")
            raise PromotionError(f"{' '.join(command[:2])} in {self.root}: {said or f'exit code {done.returncode}'}")
        text = done.stdout.decode()
        return text.strip() if strip else text
