"""Grafana dashboards as code.

``python -m tools.dashboards`` (``python -m tools.dashboards``) writes ``observability/dashboards/*.json``.

``panels`` has the kinds of panels, ``frame`` what all dashboards share, ``serving``, ``quality`` and ``fleet`` what
each shows. The console (``observability/prometheus/console.html``) draws them without a Grafana.
"""
