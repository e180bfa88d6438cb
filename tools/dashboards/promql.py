"""Pieces of queries that the dashboards repeat."""

from __future__ import annotations

from tools.dashboards.frame import HERE, PREDICT

CALLS = f'{HERE},method="ModelInfer"'
"""Matchers of predictions over gRPC."""


def rate(metric: str, matchers: str = HERE) -> str:
    """A counter's rate over the interval that Grafana finds fit for the width of the graph."""
    return f"rate({metric}{{{matchers}}}[$__rate_interval])"


def summed(metric: str, by: str = "", matchers: str = HERE) -> str:
    """The sum of a counter's rates by labels."""
    return f"sum{f' by ({by})' if by else ''} ({rate(metric, matchers)})"


def predictions(http: str = "", grpc: str = "", by: str = "") -> str:
    """Predictions a second over HTTP and gRPC together; further matchers choose some of them."""
    grouped = f" by ({by})" if by else ""
    return (
        f"sum{grouped} ({rate('http_requests_total', PREDICT + http)} or"
        f" {rate('orris_grpc_requests_total', CALLS + grpc)})"
    )


def durations(by: str = "le") -> str:
    """Buckets of the predictions' durations, over HTTP and gRPC together."""
    grpc = rate("orris_grpc_request_duration_seconds_bucket", CALLS)
    return f"sum by ({by}) ({rate('http_request_duration_seconds_bucket', PREDICT)} or {grpc})"


def quantile(share: float, buckets: str) -> str:
    """A quantile of buckets."""
    return f"histogram_quantile({share}, {buckets})"


def weighed(metric: str, matchers: str, by: str) -> str:
    """The mean of a drift index over replicas, weighed by their rows (docs/drift.md)."""
    rows = f"on (job, instance, model, version) group_left () orris_drift_rows{{{matchers}}}"
    return f"sum by ({by}) ({metric}{{{matchers}}} * {rows}) / sum by ({by}) ({metric}{{{matchers}}} * 0 + {rows})"
