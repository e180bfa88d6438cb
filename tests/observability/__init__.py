"""Tests of what is in observability/: alerts, dashboards, and both against a real Prometheus."""
