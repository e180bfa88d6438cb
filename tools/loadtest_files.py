"""``python -m tools.loadtest_files``.

The ConfigMap that carries ``loadtests/wrk/predict.lua`` into a cluster, or into the file that is named; and the copies
of the files that ``orris experiment`` and ``orris load`` need, which are part of the package.
"""

from __future__ import annotations

import sys
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "loadtests"
CONFIG_MAP = FOLDER / "k8s" / "configmap.yaml"
PACKAGE = Path(__file__).parents[1] / "src" / "orris"
COPIED = {"wrk/predict.lua": "loadtest/engines/predict.lua", "k8s/job-1000.yaml": "autoscaling/job-1000.yaml"}

HEAD = """\
# Written by `python -m tools.loadtest_files` from ../wrk/predict.lua; do not edit.
apiVersion: v1
kind: ConfigMap
metadata:
  name: orris-loadtest
  labels: {app.kubernetes.io/name: orris-loadtest}
data:
  predict.lua: |
"""


def config_map() -> str:
    """The ConfigMap as YAML."""
    script = (FOLDER / "wrk" / "predict.lua").read_text("utf-8")
    return HEAD + "".join(f"    {line}" if line.strip() else line for line in script.splitlines(keepends=True))


if __name__ == "__main__":
    (Path(sys.argv[1]) if sys.argv[1:] else CONFIG_MAP).write_text(config_map(), "utf-8")
    for name, copy in COPIED.items() if not sys.argv[1:] else ():
        (PACKAGE / copy).write_bytes((FOLDER / name).read_bytes())
