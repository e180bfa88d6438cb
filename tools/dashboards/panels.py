"""The kinds of panels that the dashboards are made of, with the settings that they share.

A function makes a builder of the Grafana Foundation SDK from what differs: a title, a sentence on how to read it,
queries, a unit and a width, of 24 columns. Heights are in grid units of 30 pixels.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

from grafana_foundation_sdk.builders import bargauge, common, heatmap, prometheus, stat, table, text, timeseries
from grafana_foundation_sdk.builders.dashboard import FieldColor, ThresholdsConfig
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common as kinds
from grafana_foundation_sdk.models import dashboard
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode, HeatmapColorScale
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

SECONDS, BYTES, SHARE, RATE, COUNT, INDEX = "s", "bytes", "percentunit", "reqps", "short", "none"
"""Units by Grafana's names. Metrics are in base units, and Grafana chooses the prefix."""

ROWS_RATE = "rowsps"
SOURCE = dashboard.DataSourceRef(type_val="prometheus", uid="${datasource}")
HEIGHT = 8

Panel: TypeAlias = Builder[dashboard.Panel]
Steps: TypeAlias = tuple[tuple[float, str], ...]
"""From which value on which colour; below the first, green."""


class Query(NamedTuple):
    """A query and what its lines are called: ``legend`` may name labels as ``{{label}}``."""

    expr: str
    legend: str = ""


def chart(
    title: str,
    about: str,
    *queries: Query,
    unit: str,
    width: int = 8,
    stacked: bool = False,
    limits: Steps = (),
    top: float | None = None,
    exemplars: bool = False,
    empty: str = "",
) -> Panel:
    """Lines over time.

    ``limits`` are drawn as lines, ``top`` is the end of the axis, ``empty`` is shown where there is no data.
    """
    panel = (
        timeseries.Panel()
        .title(title)
        .description(about)
        .datasource(SOURCE)
        .unit(unit)
        .min(0)
        .span(width)
        .height(HEIGHT)
    )
    panel.line_width(1).fill_opacity(60 if stacked else 8).show_points(kinds.VisibilityMode.NEVER)
    panel.legend(
        common.VizLegendOptions()
        .display_mode(kinds.LegendDisplayMode.LIST)
        .placement(kinds.LegendPlacement.BOTTOM)
        .show_legend(True)
    )
    panel.tooltip(common.VizTooltipOptions().mode(kinds.TooltipDisplayMode.MULTI).sort(kinds.SortOrder.DESCENDING))
    if stacked:
        panel.stacking(common.StackingConfig().mode(kinds.StackingMode.NORMAL))
    if limits:
        panel.thresholds(_steps(limits)).thresholds_style(
            common.GraphThresholdsStyleConfig().mode(kinds.GraphTresholdsStyleMode.DASHED)
        )
    if top is not None:
        panel.max(top)
    if unit == INDEX and limits:
        panel.axis_soft_max(limits[-1][0] * 1.2)
    if empty:
        panel.no_value(empty)
    for ref, query in zip("ABCDEFGH", queries, strict=False):
        panel.with_target(_target(query, ref).range().exemplar(exemplars))
    return panel


def number(
    title: str, about: str, expr: str, *, unit: str, limits: Steps = (), width: int = 4, decimals: int | None = None
) -> Panel:
    """The latest value, large, with its course behind it."""
    panel = stat.Panel().title(title).description(about).datasource(SOURCE).unit(unit).span(width).height(4)
    panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"])).graph_mode(kinds.BigValueGraphMode.AREA)
    panel.color_mode(kinds.BigValueColorMode.VALUE).thresholds(_steps(limits))
    panel.color_scheme(FieldColor().mode(dashboard.FieldColorModeId.THRESHOLDS))
    if decimals is not None:
        panel.decimals(decimals)
    panel.with_target(_target(Query(expr), "A").range())
    return panel


def bars(
    title: str, about: str, query: Query, *, unit: str, limits: Steps = (), width: int = 8, top: float | None = None
) -> Panel:
    """The latest values as bars, one for each series."""
    panel = (
        bargauge.Panel().title(title).description(about).datasource(SOURCE).unit(unit).min(0).span(width).height(HEIGHT)
    )
    panel.orientation(kinds.VizOrientation.HORIZONTAL).display_mode(kinds.BarGaugeDisplayMode.BASIC)
    panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"])).thresholds(_steps(limits))
    panel.color_scheme(FieldColor().mode(dashboard.FieldColorModeId.THRESHOLDS))
    if top is not None:
        panel.max(top)
    panel.with_target(_target(query, "A").instant())
    return panel


def heat(title: str, about: str, expr: str, *, unit: str, width: int = 12) -> Panel:
    """Buckets of a histogram over time; ``expr`` is a rate by ``le``."""
    panel = (
        heatmap.Panel().title(title).description(about).datasource(SOURCE).span(width).height(HEIGHT).calculate(False)
    )
    colour = heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Oranges").steps(64).exponent(0.5)
    panel.color(colour.scale(HeatmapColorScale.EXPONENTIAL)).y_axis(heatmap.YAxisConfig().unit(unit)).cell_gap(1)
    panel.with_target(_target(Query(expr, "{{le}}"), "A").range().format(PromQueryFormat.HEATMAP).exemplar(True))
    return panel


class Column(NamedTuple):
    """A column of a table: its heading, the query of its values, their unit."""

    title: str
    expr: str
    unit: str
    limits: Steps = ()


def columns(
    title: str, about: str, *wanted: Column, labels: tuple[str, ...], width: int = 24, height: int = HEIGHT
) -> Panel:
    """A table with a row for each set of ``labels``, which come first, and a column for each query."""
    panel = table.Panel().title(title).description(about).datasource(SOURCE).span(width).height(height)
    names: dict[str, object] = {}
    for ref, column in zip("ABCDEFGHIJKLMN", wanted, strict=False):
        panel.with_target(_target(Query(column.expr), ref).instant().format(PromQueryFormat.TABLE))
        names[f"Value #{ref}" if len(wanted) > 1 else "Value"] = column.title
        settings = [dashboard.DynamicConfigValue(id_val="unit", value=column.unit)]
        if column.unit == INDEX:
            settings.append(dashboard.DynamicConfigValue(id_val="decimals", value=2))
        if column.limits:
            settings.append(dashboard.DynamicConfigValue(id_val="thresholds", value=_steps(column.limits).build()))
            settings.append(dashboard.DynamicConfigValue(id_val="custom.cellOptions", value={"type": "color-text"}))
        panel.override_by_name(column.title, settings)
    panel.with_transformation(dashboard.DataTransformerConfig(id_val="merge", options={}))
    organized: dict[str, Any] = {
        "excludeByName": {"Time": True},
        "indexByName": {label: i for i, label in enumerate(labels)},
        "renameByName": names,
    }
    panel.with_transformation(dashboard.DataTransformerConfig(id_val="organize", options=organized))
    return panel


def prose(title: str, content: str, *, width: int = 8, height: int = HEIGHT) -> Panel:
    """Markdown."""
    return text.Panel().title(title).content(content).span(width).height(height)


def _target(query: Query, ref: str) -> prometheus.Dataquery:
    return (
        prometheus.Dataquery().expr(query.expr).legend_format(query.legend or "__auto").ref_id(ref).datasource(SOURCE)
    )


def _steps(limits: Steps) -> ThresholdsConfig:
    steps = [
        dashboard.Threshold(value=None, color="green"),
        *(dashboard.Threshold(value=value, color=colour) for value, colour in limits),
    ]
    return ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps(steps)
