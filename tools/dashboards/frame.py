"""What all dashboards share.

The data source and the choices at the top, links to each other, rows of panels, and their JSON.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from grafana_foundation_sdk.builders import dashboard as building
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard
from tools.dashboards.panels import SOURCE, Panel

TAG = "orris"
DEPLOYMENT = 'job="$job",namespace=~"$namespace",service=~"$service"'
"""Matchers of the chosen deployments, for recordings."""

HERE = f'{DEPLOYMENT},instance=~"$instance"'
"""Matchers of the chosen replicas."""

MODEL = f'{HERE},model=~"$model"'
"""Matchers of the chosen models there."""

PREDICT = f'{HERE},method="POST",route=~".*(predict|infer|invocations|invoke)/?"'
"""Matchers of predictions over HTTP, as in ``observability/alerts/slo.yaml``."""

LABELS = {
    "namespace": "orris_build_info",
    "service": "orris_build_info",
    "instance": "orris_build_info",
    "model": "orris_model_info",
}
"""Choices beside the job, and which metric has their values."""


@dataclass(frozen=True)
class Row:
    """Panels under a heading."""

    title: str
    panels: list[Panel] = field(default_factory=list)


@dataclass(frozen=True)
class Board:
    """A dashboard: ``uid`` stays, so that links to it do.

    Of ``single`` one value is chosen, of the other ``choices`` any number.
    """

    uid: str
    title: str
    about: str
    rows: list[Row]
    choices: tuple[str, ...] = ("namespace", "service", "instance", "model")
    single: str = ""

    @property
    def file_name(self) -> str:
        """Name of its file."""
        return f"{self.uid}.json"


def render(board: Board) -> str:
    """The JSON of a dashboard, as Grafana imports it."""
    made = building.Dashboard(board.title).uid(board.uid).description(board.about).tags([TAG]).timezone("browser")
    made.time("now-1h", "now").refresh("30s").tooltip(dashboard.DashboardCursorSync.CROSSHAIR).editable()
    made.link(
        building.DashboardLink("Orris")
        .type(dashboard.DashboardLinkType.DASHBOARDS)
        .tags([TAG])
        .keep_time(True)
        .include_vars(True)
    )
    made.variables([building.DatasourceVariable("datasource").label("Data source").type("prometheus"), _job()])
    for label in board.choices:
        made.with_variable(_choice(label, many=label != board.single))
    made.annotations([_loads()])
    ids = iter(range(1, 1_000))
    for row in board.rows:
        made.with_row(building.Row(row.title).id(next(ids)))
        for panel in row.panels:
            made.with_panel(panel.id(next(ids)))  # type: ignore[attr-defined]
    return JSONEncoder(sort_keys=True, indent=2, ensure_ascii=False).encode(made.build()) + "\n"


def _job() -> building.QueryVariable:
    return (
        building.QueryVariable("job")
        .label("Job")
        .datasource(SOURCE)
        .query("label_values(orris_build_info, job)")
        .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .current(dashboard.VariableOption(text="orris", value="orris"))
    )


def _choice(label: str, many: bool) -> building.QueryVariable:
    """One or any number of a label's values.

    A label that nobody has (a namespace, outside of a cluster) is matched by ``.*``.
    """
    choice = (
        building.QueryVariable(label)
        .label(label.capitalize())
        .datasource(SOURCE)
        .query(f'label_values({LABELS[label]}{{job="$job"}}, {label})')
        .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(dashboard.VariableSort.ALPHABETICAL_ASC)
    )
    if not many:
        return choice
    every = dashboard.VariableOption(selected=True, text=["All"], value=["$__all"])
    return choice.multi(True).include_all(True).all_value(".*").current(every)


def _loads() -> building.AnnotationQuery:
    """A mark where a version is loaded."""
    loaded = f"orris_model_info{{{DEPLOYMENT}}}"
    expr = f"count by (model, version) ({loaded}) unless count by (model, version) ({loaded} offset 1m)"
    mark = building.AnnotationQuery().name("Versions loaded").datasource(SOURCE).enable(True).icon_color("blue")
    return mark.expr(expr)
