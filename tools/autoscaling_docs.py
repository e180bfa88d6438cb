"""``python -m tools.autoscaling_docs [FOLDER]``.

Writes the measured and the simulated table of docs/autoscaling.md and their plots. FOLDER is the output of ``orris
experiment autoscaling``, first with ``--local`` and then with ``--simulate``: its results are kept in benchmarks/.
"""

from __future__ import annotations

import sys
from pathlib import Path

from orris.autoscaling.plots import draw_experiment
from orris.autoscaling.report import markdown
from orris.autoscaling.results import read_experiment, write_experiment

ROOT = Path(__file__).parents[1]
MEASURED = ROOT / "benchmarks" / "autoscaling.json"
SIMULATED = ROOT / "benchmarks" / "autoscaling-simulation.md"
PAGE = ROOT / "docs" / "autoscaling.md"
PICTURE = ROOT / "docs" / "images" / "autoscaling.png"
SIMULATION_PICTURE = PICTURE.with_name("autoscaling-simulation.png")


def page(text: str) -> str:
    """The page with both tables in their places."""
    measured = markdown(read_experiment(MEASURED), PICTURE.relative_to(PAGE.parent).as_posix())
    simulated = SIMULATED.read_text("utf-8")
    return _placed(_placed(text, "measured", measured), "simulated", simulated)


def _placed(text: str, name: str, table: str) -> str:
    begin = f"<!-- {name}: written by python -m tools.autoscaling_docs -->\n"
    end = f"<!-- end of {name} -->\n"
    before, _, rest = text.partition(begin)
    after = rest.partition(end)[2]
    return f"{before}{begin}\n{table}\n{end}{after}"


def keep(folder: Path) -> None:
    """Keep the results of a run."""
    write_experiment(read_experiment(folder / "autoscaling.json"), MEASURED)
    table = (folder / "simulation.md").read_text("utf-8").partition("\n\n")[2]
    picture = SIMULATION_PICTURE.relative_to(PAGE.parent).as_posix()
    SIMULATED.write_text(table.replace("(simulation.png)", f"({picture})"), "utf-8")
    SIMULATION_PICTURE.write_bytes((folder / "simulation.png").read_bytes())


if __name__ == "__main__":
    if sys.argv[1:]:
        keep(Path(sys.argv[1]))
    PAGE.write_text(page(PAGE.read_text("utf-8")), "utf-8")
    draw_experiment(read_experiment(MEASURED), PICTURE)
