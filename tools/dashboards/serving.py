"""*Orris Model Serving*: requests, answers and their cost, for people on call."""

from __future__ import annotations

from tools.dashboards.frame import DEPLOYMENT, HERE, MODEL, PREDICT, Board, Row
from tools.dashboards.panels import (
    BYTES,
    COUNT,
    INDEX,
    RATE,
    ROWS_RATE,
    SECONDS,
    SHARE,
    Column,
    Query,
    Steps,
    chart,
    columns,
    heat,
    number,
)
from tools.dashboards.promql import durations, predictions, quantile, rate, summed, weighed

SLOW: Steps = ((0.1, "red"),)
BURN: Steps = ((1, "yellow"), (6, "orange"), (14.4, "red"))
ERRORS: Steps = ((0.001, "yellow"), (0.006, "orange"), (0.0144, "red"))
DRIFT: Steps = ((0.1, "yellow"), (0.25, "red"))
BUSY: Steps = ((0.7, "yellow"), (0.9, "red"))
HTTP_FAILED = ',status=~"5.."'
GRPC_FAILED = ',code=~"UNKNOWN|INTERNAL|UNAVAILABLE|DATA_LOSS|DEADLINE_EXCEEDED"'
CLUSTER = "needs kube-state-metrics"
KEDA = "needs KEDA's metrics"


def board() -> Board:
    """The dashboard."""
    rows = [_now(), _traffic(), _latency(), _saturation(), _process(), _model(), _autoscaling()]
    about = (
        "One deployment of Orris: traffic, errors, latency, saturation, the process, the model and its drift. Runbook:"
        " docs/alerts.md."
    )
    return Board("orris-serving", "Orris Model Serving", about, rows)


def _failed() -> str:
    return f"({predictions(HTTP_FAILED, GRPC_FAILED)} or vector(0)) / {predictions()}"


def _now() -> Row:
    burn = f"max(orris:predict_errors:ratio_rate1h{{{DEPLOYMENT}}}) / 0.001"
    ready = f"sum(orris_workers_ready{{{HERE}}}) / sum(orris_workers{{{HERE}}})"
    firing = 'count(ALERTS{alertname=~"Orris.*",alertstate="firing"}) or vector(0)'
    return Row(
        "Now",
        [
            number(
                "Predictions",
                "Requests a second on the predict routes and over gRPC.",
                predictions(),
                unit=RATE,
                limits=(),
            ),
            number(
                "Failed",
                "Share of the predictions answered with a failure of ours. Objective: 0.1 %.",
                _failed(),
                unit=SHARE,
                limits=ERRORS,
            ),
            number(
                "99th percentile",
                "99 % of the predictions take no longer.",
                quantile(0.99, durations()),
                unit=SECONDS,
                limits=SLOW,
            ),
            number(
                "Budget burn, 1 h",
                "1 spends the error budget of 30 days in 30 days; 14.4 wakes somebody.",
                burn,
                unit=COUNT,
                limits=BURN,
                decimals=1,
            ),
            number(
                "Workers ready",
                "Share of the workers that should run.",
                ready,
                unit=SHARE,
                limits=((0, "red"), (0.99, "green")),
            ),
            number(
                "Alerts firing",
                "Of observability/alerts, where Prometheus has loaded them.",
                firing,
                unit=COUNT,
                limits=((1, "red"),),
            ),
        ],
    )


def _traffic() -> Row:
    burn = [
        Query(
            f"orris:predict_errors:ratio_rate{window}{{{DEPLOYMENT}}} / 0.001",
            f"{{{{job}}}} {{{{namespace}}}} {{{{service}}}} {window}",
        )
        for window in ("5m", "1h", "6h")
    ]
    late = [
        Query(
            f"orris:predict_slow:ratio_rate{window}{{{DEPLOYMENT}}}",
            f"{{{{job}}}} {{{{namespace}}}} {{{{service}}}} {window}",
        )
        for window in ("5m", "1h", "6h")
    ]
    by_code = Query(summed("orris_grpc_requests_total", "method, code"), "{{method}} {{code}}")
    return Row(
        "Traffic and errors",
        [
            chart(
                "Requests by route",
                "All routes over HTTP.",
                Query(summed("http_requests_total", "route"), "{{route}}"),
                unit=RATE,
                stacked=True,
            ),
            chart(
                "Requests by status",
                "All routes over HTTP.",
                Query(summed("http_requests_total", "status"), "{{status}}"),
                unit=RATE,
                stacked=True,
            ),
            chart("Calls over gRPC", "By method and status.", by_code, unit=RATE, stacked=True),
            chart(
                "Failed predictions",
                "Share answered with a status of 500 and up.",
                Query(_failed(), "failed"),
                unit=SHARE,
                limits=ERRORS,
            ),
            chart(
                "Refused before the model was asked",
                "422: the input does not fit; 401, 403: no credential; 429: too fast; overloaded: too many in flight;"
                " not_ready: no model.",
                Query(summed("orris_rejected_total", "reason"), "{{reason}}"),
                unit=RATE,
                stacked=True,
            ),
            chart(
                "Error budget burn",
                "Times the pace that spends the budget of 30 days in 30 days.",
                *burn,
                unit=COUNT,
                limits=BURN,
            ),
            chart(
                "Predictions over 100 ms",
                "Share, for the latency objective of 1 %.",
                *late,
                unit=SHARE,
                limits=((0.01, "red"),),
                width=12,
            ),
            chart(
                "Predictions by protocol",
                "Each predict route, and ModelInfer over gRPC.",
                Query(summed("http_requests_total", "route", PREDICT), "{{route}}"),
                Query(summed("orris_grpc_requests_total", "method", f'{HERE},method="ModelInfer"'), "{{method}}"),
                unit=RATE,
                width=12,
            ),
        ],
    )


def _latency() -> Row:
    shares = ((0.5, "p50"), (0.9, "p90"), (0.99, "p99"), (0.999, "p99.9"))
    inference = summed("orris_inference_duration_seconds_bucket", "le, model, version", MODEL)
    by_route = summed("http_request_duration_seconds_bucket", "le, route", PREDICT)
    return Row(
        "Latency",
        [
            chart(
                "Predictions",
                "From the first byte read to the last byte handed over. Points are exemplars: they lead to a trace.",
                *(Query(quantile(share, durations()), name) for share, name in shares),
                unit=SECONDS,
                width=12,
                limits=SLOW,
                exemplars=True,
            ),
            heat("Predictions by duration", "How many a second took how long.", durations(), unit=SECONDS),
            chart(
                "99th percentile by route",
                "Predict routes.",
                Query(quantile(0.99, by_route), "{{route}}"),
                unit=SECONDS,
                width=12,
            ),
            chart(
                "The model alone",
                "Per call of the model; a call may answer several requests. The rest of a request's time is reading,"
                " waiting and writing.",
                Query(quantile(0.5, inference), "p50 {{model}} {{version}}"),
                Query(quantile(0.99, inference), "p99 {{model}} {{version}}"),
                unit=SECONDS,
                width=12,
            ),
        ],
    )


def _saturation() -> Row:
    busy = f"{rate('process_cpu_seconds_total')} / (orris_workers{{{HERE}}} > 0)"
    by = "model, version"
    rows = f"{summed('orris_batch_rows_sum', by, MODEL)} / {summed('orris_batch_rows_count', by, MODEL)}"
    overloaded = summed("orris_rejected_total", matchers=HERE + ',reason="overloaded"')
    turned = f"({overloaded} or vector(0)) / {predictions()}"
    files = f"process_open_fds{{{HERE}}} / (orris_workers{{{HERE}}} > 0) / process_max_fds{{{HERE}}}"
    return Row(
        "Saturation",
        [
            chart(
                "In flight",
                "Requests being answered now.",
                Query(f"orris_requests_in_flight{{{HERE}}}", "{{instance}}"),
                unit=COUNT,
                width=6,
            ),
            chart(
                "Busy workers",
                "Processor time per worker; 1 is all of it.",
                Query(busy, "{{instance}}"),
                unit=SHARE,
                limits=BUSY,
                width=6,
            ),
            chart(
                "Rows per call",
                "How far requests are answered together.",
                Query(rows, "{{model}} {{version}}"),
                unit=COUNT,
                width=6,
            ),
            chart(
                "Turned away",
                "Share of the predictions refused for too many in flight.",
                Query(turned, "overloaded"),
                unit=SHARE,
                width=6,
            ),
            chart(
                "Open files",
                "Share of the limit.",
                Query(files, "{{instance}}"),
                unit=SHARE,
                limits=((0.8, "red"),),
                width=12,
            ),
            chart(
                "Log lines dropped",
                "Lines that nobody took from standard output.",
                Query(summed("orris_log_lines_dropped_total", "kind"), "{{kind}}"),
                unit="cps",
                width=12,
            ),
        ],
    )


def _process() -> Row:
    replaced = f"increase(orris_worker_restarts_total{{{HERE}}}[$__rate_interval])"
    started = f"changes(process_start_time_seconds{{{HERE}}}[$__rate_interval])"
    threads = f"orris_threads{{{HERE}}}"
    return Row(
        "Process",
        [
            chart(
                "Restarts",
                "Workers that were replaced, and starts of the whole server.",
                Query(replaced, "workers {{instance}}"),
                Query(started, "server {{instance}}"),
                unit=COUNT,
            ),
            chart(
                "Workers",
                "That answer, and that should.",
                Query(f"orris_workers_ready{{{HERE}}}", "ready {{instance}}"),
                Query(f"orris_workers{{{HERE}}}", "wanted {{instance}}"),
                unit=COUNT,
            ),
            chart(
                "Up since",
                "Time since the server started.",
                Query(f"time() - process_start_time_seconds{{{HERE}}}", "{{instance}}"),
                unit=SECONDS,
            ),
            chart(
                "Memory",
                "Resident; shared memory counts for each worker.",
                Query(f"process_resident_memory_bytes{{{HERE}}}", "{{instance}}"),
                unit=BYTES,
            ),
            chart(
                "Garbage collections",
                "Runs of Python's collector by generation; those of generation 2 take long.",
                Query(summed("python_gc_collections_total", "generation"), "generation {{generation}}"),
                unit="cps",
            ),
            chart("Threads", "A number that keeps rising is a leak.", Query(threads, "{{instance}}"), unit=COUNT),
        ],
    )


def _model() -> Row:
    live = f"count by (model, version, format, strategy, digest) (orris_model_info{{{MODEL}}})"
    warned = Query(summed("orris_input_warnings_total", "column, kind", MODEL), "{{column}} {{kind}}")
    agreed = summed("orris_shadow_rows_total", "model, version", MODEL + ',outcome="agreed"')
    asked = summed("orris_shadow_rows_total", "model, version", MODEL + ',outcome=~"agreed|differed"')
    drifted = weighed("orris_drift_psi", MODEL, "model, version, column")
    return Row(
        "Model",
        [
            columns(
                "Versions live",
                "Loaded on so many replicas. Older ones are kept for a rollback.",
                Column("Replicas", live, COUNT),
                labels=("model", "version", "digest", "format", "strategy"),
                width=12,
            ),
            chart(
                "Rows by version",
                "Which version answers.",
                Query(summed("orris_predictions_total", "model, version", MODEL), "{{model}} {{version}}"),
                unit=ROWS_RATE,
                width=12,
                stacked=True,
            ),
            chart(
                "Predictions by class",
                "Rows a second by predicted class; of a regressor the class is empty.",
                Query(summed("orris_predictions_total", "label", MODEL), "{{label}}"),
                unit=ROWS_RATE,
                width=12,
                stacked=True,
            ),
            chart("Input warnings", "Unusual values that were answered, by column.", warned, unit="cps", width=12),
            chart(
                "Shadow agreement",
                "Share of the shadow's rows answered alike.",
                Query(f"{agreed} / {asked}", "{{model}} {{version}}"),
                unit=SHARE,
                top=1,
            ),
            chart(
                "Drift by column",
                "Population stability index: from 0.1 moderate, from 0.25 large.",
                Query(drifted, "{{model}} {{version}} {{column}}"),
                unit=INDEX,
                limits=DRIFT,
            ),
            chart(
                "Drift of the predictions",
                "The mix of the answers against those to the training rows.",
                Query(weighed("orris_drift_prediction_psi", MODEL, "model, version"), "{{model}} {{version}}"),
                unit=INDEX,
                limits=DRIFT,
            ),
        ],
    )


def _autoscaling() -> Row:
    scaler = 'namespace=~"$namespace",horizontalpodautoscaler=~"(keda-hpa-)?$service.*"'
    return Row(
        "Autoscaling (needs kube-state-metrics, KEDA)",
        [
            chart(
                "Replicas wanted and there",
                "Of the HorizontalPodAutoscaler, KEDA's too. At the maximum for long: raise it.",
                *(
                    Query(
                        f"kube_horizontalpodautoscaler_{metric}{{{scaler}}}", f"{name} {{{{horizontalpodautoscaler}}}}"
                    )
                    for metric, name in (
                        ("status_current_replicas", "there"),
                        ("status_desired_replicas", "wanted"),
                        ("spec_min_replicas", "least"),
                        ("spec_max_replicas", "most"),
                    )
                ),
                unit=COUNT,
                width=12,
                empty=CLUSTER,
            ),
            chart(
                "What KEDA scales by",
                "The value of each trigger, as the autoscaler is told.",
                Query('keda_scaler_metrics_value{scaledObject=~"$service.*"}', "{{scaledObject}} {{metric}}"),
                unit=COUNT,
                width=12,
                empty=KEDA,
            ),
        ],
    )
