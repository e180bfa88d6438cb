"""The plan as a values file of the chart."""

from __future__ import annotations

from typing import Any

from orris.capacity.planning import Plan


def values_of(plan: Plan, scaler: str = "hpa") -> dict[str, Any]:
    """The values that the plan decides, as ``helm --values`` takes them.

    Args:
        plan: The plan.
        scaler: ``hpa``, ``keda`` or ``none``; the numbers of the other scaler are there too, and are not used.
    """
    memory = f"{plan.memory_mib}Mi"
    # KEDA asks Prometheus for what it scrapes through the ServiceMonitor.
    scraped = {"serviceMonitor": {"enabled": True}} if scaler == "keda" else {}
    return {
        "server": {
            "workers": plan.workers,
            "threads": plan.threads,
            "env": {"ORRIS_MAX_QUEUE_SECONDS": f"{plan.queue_seconds:g}"},
        },
        "replicas": plan.min_replicas,
        "autoscaling": {
            "type": scaler,
            "minReplicas": plan.min_replicas,
            "maxReplicas": max(plan.min_replicas, plan.max_replicas),
            "hpa": {"cpuPercent": plan.cpu_percent},
            "keda": {
                "predictionsPerMinute": plan.predictions_per_minute,
                "fallback": {"replicas": plan.min_replicas},
            },
        },
        "resources": {"requests": {"cpu": f"{plan.cpus:g}", "memory": memory}, "limits": {"memory": memory}},
        **scraped,
    }


def values_text(plan: Plan, scaler: str = "hpa") -> str:
    """The values file, with a comment that says where it comes from."""
    import yaml  # noqa: PLC0415

    about = plan.measured
    head = [
        f"# Capacity of {about.model or 'the measured model'}, as orris plan measured it; plan.md has the reasons.",
        *(f"# {condition}" for condition in about.conditions),
    ]
    return "\n".join(head) + "\n" + yaml.safe_dump(values_of(plan, scaler), sort_keys=False)
