"""Generate the Python code of the gRPC messages from their ``.proto`` files: ``python -m tools.proto``.

``python tools/proto.py`` writes it, ``python tools/proto.py --check`` ends with 1 if what is there is stale. The code
is protoc's, but for one thing: it registers its messages in a pool of Orris' own, so that a program which also loads a
client's copy of the same protocol (tritonclient's, KServe's) can load both.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "src" / "orris" / "protocols" / "grpc"
OUTPUT = FOLDER / "generated"

_POOLS = {
    "from google.protobuf import descriptor_pool as _descriptor_pool": (
        "from orris.protocols.grpc.generated import POOL as _POOL"
    ),
    "_descriptor_pool.Default()": "_POOL",
}


def generate() -> dict[Path, str]:
    """The code by the file that it belongs in."""
    from grpc_tools import protoc  # noqa: PLC0415 (a development dependency)

    sources = sorted(file.name for file in FOLDER.glob("*.proto"))
    with tempfile.TemporaryDirectory() as name:
        if protoc.main(["protoc", f"-I{FOLDER}", f"--python_out={name}", f"--pyi_out={name}", *sources]):
            sys.exit("protoc failed")
        return {OUTPUT / file.name: _in_own_pool(file) for file in sorted(Path(name).iterdir())}


def _in_own_pool(file: Path) -> str:
    text = file.read_text()
    if file.suffix == ".py":
        for theirs, ours in _POOLS.items():
            if text.count(theirs) != 1:
                sys.exit(f"{file.name}: protoc writes other code than expected; see _POOLS in {Path(__file__).name}")
            text = text.replace(theirs, ours)
    return text


def main(*flags: str) -> None:
    """Write the code, or compare."""
    code = generate()
    if "--check" not in flags:
        for file, text in code.items():
            file.write_text(text)
        return
    there = {file: file.read_text() for file in OUTPUT.glob("*_pb2.py*")}
    stale = sorted({file.name for file in {*code, *there} if code.get(file) != there.get(file)})
    if stale:
        sys.exit(f"{', '.join(stale)}: not what the .proto files say; run  python -m tools.proto")


if __name__ == "__main__":
    main(*sys.argv[1:])
