"""Telemetry: metrics, logs, traces and drift of a running server."""
