"""The algorithm of Kubernetes' HorizontalPodAutoscaler, and the rule by which it follows KEDA's metrics.

Written from its documentation (https://kubernetes.io/docs/concepts/workloads/autoscaling/horizontal-pod-autoscale/) and
held against the controller's own test tables (kubernetes/kubernetes, ``pkg/controller/podautoscaler``, v1.36)::

    pods, samples ──group──> totals ──resource_replicas──> proposal ──stabilise──> ──limit by policies──> decision

All times are seconds of one clock, of which only differences count. CPU is in millicores.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from orris.errors import ExperimentError


@dataclass(frozen=True, slots=True)
class Policy:
    """At most ``value`` pods, or percent of the pods, within ``period_seconds``."""

    type: Literal["Pods", "Percent"]
    value: int
    period_seconds: float


@dataclass(frozen=True, slots=True)
class ScalingRules:
    """One direction of ``spec.behavior``.

    Attributes:
        stabilization_window_seconds: How long past recommendations hold the replicas back.
        policies: How fast the replicas may change; empty: not at all.
        select_policy: Which policy counts, by the change that it allows; ``Disabled``: this direction is off.
        tolerance: Share by which usage may leave its target without a change; ``None``: the controller's.
    """

    stabilization_window_seconds: float
    policies: tuple[Policy, ...]
    select_policy: Literal["Max", "Min", "Disabled"] = "Max"
    tolerance: float | None = None


# The defaults of autoscaling/v2, which hold where spec.behavior leaves a direction out.
DEFAULT_SCALE_UP = ScalingRules(0, (Policy("Pods", 4, 15), Policy("Percent", 100, 15)))
DEFAULT_SCALE_DOWN = ScalingRules(300, (Policy("Percent", 100, 15),))


@dataclass(frozen=True, slots=True)
class Spec:
    """The specification of a HorizontalPodAutoscaler, with the controller's own settings.

    Attributes:
        min_replicas: Fewest replicas.
        max_replicas: Most replicas.
        target: Percent of the requested CPU, or for KEDA's rule the metric's value for each pod.
        scale_up: Rules of scaling up.
        scale_down: Rules of scaling down.
        tolerance: ``--horizontal-pod-autoscaler-tolerance``.
        sync_seconds: ``--horizontal-pod-autoscaler-sync-period``.
        cpu_initialization_seconds: ``--horizontal-pod-autoscaler-cpu-initialization-period``: how long after its start
            a pod's CPU counts only if the pod is ready and the sample began after it became ready.
        initial_readiness_seconds: ``--horizontal-pod-autoscaler-initial-readiness-delay``: a pod that became unready
            within this time of its start has never been ready.
    """

    min_replicas: int
    max_replicas: int
    target: float
    scale_up: ScalingRules = DEFAULT_SCALE_UP
    scale_down: ScalingRules = DEFAULT_SCALE_DOWN
    tolerance: float = 0.1
    sync_seconds: float = 15
    cpu_initialization_seconds: float = 300
    initial_readiness_seconds: float = 30

    def faster(self, factor: float) -> Spec:
        """The same spec with every period and window divided by ``factor``, for experiments of minutes."""

        def rules(slow: ScalingRules) -> ScalingRules:
            policies = tuple(replace(policy, period_seconds=policy.period_seconds / factor) for policy in slow.policies)
            window = slow.stabilization_window_seconds / factor
            return replace(slow, stabilization_window_seconds=window, policies=policies)

        return replace(
            self,
            scale_up=rules(self.scale_up),
            scale_down=rules(self.scale_down),
            sync_seconds=self.sync_seconds / factor,
            cpu_initialization_seconds=self.cpu_initialization_seconds / factor,
            initial_readiness_seconds=self.initial_readiness_seconds / factor,
        )

    def within_tolerance(self, ratio: float) -> bool:
        """Whether usage / target is near enough to 1 that nothing changes."""
        down = self.tolerance if self.scale_down.tolerance is None else self.scale_down.tolerance
        up = self.tolerance if self.scale_up.tolerance is None else self.scale_up.tolerance
        return 1 - down <= ratio <= 1 + up


@dataclass(frozen=True, slots=True)
class Pod:
    """The properties of a pod that the algorithm reads.

    Attributes:
        name: Its name, under which samples are found.
        request_millicores: The CPU that it requests.
        started_at: ``status.startTime``; ``None``: it was not started yet.
        ready_changed_at: When the condition ``Ready`` became what it is.
        ready: Its condition ``Ready``; ``None``: it has none yet.
        phase: ``status.phase``.
        deleted: It is being ended.
    """

    name: str
    request_millicores: int
    started_at: float | None
    ready_changed_at: float
    ready: bool | None = True
    phase: Literal["Pending", "Running", "Failed"] = "Running"
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class Sample:
    """CPU of a pod in the ``window_seconds`` up to ``at``, as metrics-server reports it."""

    millicores: int
    at: float
    window_seconds: float


@dataclass(slots=True)
class Totals:
    """Pods by what their samples are worth.

    Attributes:
        ready: Pods whose samples count.
        ready_millicores: The CPU of those.
        ready_requests: The requested CPU of those.
        unready: Pods that are starting.
        unready_requests: The requested CPU of those.
        missing: Running pods without a sample.
        missing_requests: The requested CPU of those.
    """

    ready: int = 0
    ready_millicores: int = 0
    ready_requests: int = 0
    unready: int = 0
    unready_requests: int = 0
    missing: int = 0
    missing_requests: int = 0


def group(spec: Spec, pods: Iterable[Pod], samples: Mapping[str, Sample], now: float) -> Totals:
    """Sum the pods up by what their samples are worth; failed and deleted pods do not count at all."""
    totals = Totals()
    for pod in pods:
        if pod.deleted or pod.phase == "Failed":
            continue
        sample = samples.get(pod.name)
        if pod.phase == "Running" and sample is None:
            totals.missing += 1
            totals.missing_requests += pod.request_millicores
        elif pod.phase == "Pending" or sample is None or _is_starting(spec, pod, sample, now):
            totals.unready += 1
            totals.unready_requests += pod.request_millicores
        else:
            totals.ready += 1
            totals.ready_millicores += sample.millicores
            totals.ready_requests += pod.request_millicores
    return totals


def _is_starting(spec: Spec, pod: Pod, sample: Sample, now: float) -> bool:
    if pod.ready is None or pod.started_at is None:
        return True
    if pod.started_at + spec.cpu_initialization_seconds > now:
        return not pod.ready or sample.at < pod.ready_changed_at + sample.window_seconds
    return not pod.ready and pod.started_at + spec.initial_readiness_seconds > pod.ready_changed_at


@dataclass(frozen=True, slots=True)
class Proposal:
    """Replicas before stabilisation and limits, and the usage that they follow from.

    Attributes:
        replicas: The replicas.
        usage: Percent of the requested CPU; for KEDA's rule, the metric for each pod.
    """

    replicas: int
    usage: float


def resource_replicas(spec: Spec, current: int, totals: Totals) -> Proposal:
    """The replicas that bring the mean CPU to its target: ``ceil(pods * usage / target)``.

    Missing samples count as full use when the replicas would fall and as none when they would rise; pods that are
    starting count as no use when the replicas would rise. Neither may turn the direction round.

    Raises:
        ExperimentError: No pod has a sample that counts.
    """
    if totals.ready_requests == 0:
        raise ExperimentError("no sample of CPU counts: all pods are starting, or none has reported")
    usage = totals.ready_millicores * 100 // totals.ready_requests
    ratio = usage / spec.target
    rising_while_starting = totals.unready > 0 and ratio > 1
    if not rising_while_starting and totals.missing == 0:
        if spec.within_tolerance(ratio):
            return Proposal(current, usage)
        return Proposal(math.ceil(ratio * totals.ready), usage)

    pods, millicores, requests = totals.ready, totals.ready_millicores, totals.ready_requests
    if totals.missing and ratio != 1:
        pods += totals.missing
        requests += totals.missing_requests
        millicores += 0 if ratio > 1 else totals.missing_requests * int(max(100, spec.target)) // 100
    if rising_while_starting:
        pods += totals.unready
        requests += totals.unready_requests
    cautious = (millicores * 100 // requests) / spec.target
    if spec.within_tolerance(cautious) or (ratio < 1 < cautious) or (cautious < 1 < ratio):
        return Proposal(current, usage)
    replicas = math.ceil(cautious * pods)
    if (cautious < 1 and replicas > current) or (cautious > 1 and replicas < current):
        return Proposal(current, usage)
    return Proposal(replicas, usage)


def average_value_replicas(spec: Spec, current: int, total: float) -> Proposal:
    """The replicas for an external metric with an average value, as KEDA's triggers have it: ``ceil(total / target)``.

    The same rule brings a workload up from 0 replicas, where the tolerance does not count.

    Args:
        spec: Its target is the value for each pod.
        current: The replicas that there are.
        total: The metric over all pods.
    """
    if current and spec.within_tolerance(total / (spec.target * current)):
        return Proposal(current, total / current)
    return Proposal(math.ceil(total / spec.target), total / current if current else total)


@dataclass(frozen=True, slots=True)
class Decision:
    """The decision of an autoscaler at one time.

    Attributes:
        replicas: The replicas from now on.
        reason: The limit that was decisive, as the conditions of a HorizontalPodAutoscaler name it.
        recommended: The replicas before stabilisation and limits; ``None``: no sample counted.
        usage: What it followed from; ``None``: no sample counted.
    """

    replicas: int
    reason: str
    recommended: int | None
    usage: float | None


@dataclass(slots=True)
class _Change:
    at: float
    replicas: int


@dataclass(slots=True)
class Autoscaler:
    """A HorizontalPodAutoscaler and its memory: past recommendations, and past changes of the replicas."""

    spec: Spec
    recommendations: list[_Change] = field(default_factory=list)
    ups: list[_Change] = field(default_factory=list)
    downs: list[_Change] = field(default_factory=list)

    def step(self, now: float, current: int, pods: Iterable[Pod], samples: Mapping[str, Sample]) -> Decision:
        """Decide on the CPU of pods, as the controller does at every sync."""
        return self.decide(now, current, group(self.spec, pods, samples, now))

    def decide(self, now: float, current: int, totals: Totals) -> Decision:
        """The same from totals, where pods are too many to be listed."""
        try:
            return self.follow(now, current, resource_replicas(self.spec, current, totals))
        except ExperimentError:
            return Decision(current, "FailedGetResourceMetric", None, None)

    def follow(self, now: float, current: int, proposal: Proposal) -> Decision:
        """Stabilise and limit a proposal, and remember it."""
        if not self.recommendations:
            self.recommendations.append(_Change(now, current))
        low, high = self.spec.min_replicas, self.spec.max_replicas
        if current > high or current < low:
            replicas, reason = (high, "TooManyReplicas") if current > high else (low, "TooFewReplicas")
        else:
            stable = self.stabilised(now, current, proposal.replicas)
            replicas, reason = self.limited(now, current, stable)
            if reason == "DesiredWithinRange" and stable != proposal.replicas:
                rising = proposal.replicas >= current
                reason = "ScaleUpStabilized" if rising else "ScaleDownStabilized"
        self._remember(now, current, replicas)
        return Decision(replicas, reason, proposal.replicas, proposal.usage)

    def stabilised(self, now: float, current: int, wanted: int) -> int:
        """The recommendation of both stabilisation windows: up at most to the lowest, down at most to the highest."""
        up_since = now - self.spec.scale_up.stabilization_window_seconds
        down_since = now - self.spec.scale_down.stabilization_window_seconds
        lowest = min([wanted, *(each.replicas for each in self.recommendations if each.at > up_since)])
        highest = max([wanted, *(each.replicas for each in self.recommendations if each.at > down_since)])
        since = min(up_since, down_since)
        self.recommendations = [each for each in self.recommendations if each.at >= since]
        self.recommendations.append(_Change(now, wanted))
        return min(max(current, lowest), highest)

    def limited(self, now: float, current: int, wanted: int) -> tuple[int, str]:
        """The replicas that the policies and the bounds of the spec allow, and the name of the limit."""
        if wanted > current:
            limit = max(current, self._limit(now, current, self.spec.scale_up, up=True))
            most, reason = self.spec.max_replicas, "TooManyReplicas"
            if most > limit:
                most, reason = limit, "ScaleUpLimit"
            if wanted > most:
                return most, reason
        elif wanted < current:
            limit = min(current, self._limit(now, current, self.spec.scale_down, up=False))
            fewest, reason = self.spec.min_replicas, "TooFewReplicas"
            if fewest < limit:
                fewest, reason = limit, "ScaleDownLimit"
            if wanted < fewest:
                return fewest, reason
        return wanted, "DesiredWithinRange"

    def _limit(self, now: float, current: int, rules: ScalingRules, *, up: bool) -> int:
        if rules.select_policy == "Disabled" or not rules.policies:
            return current
        limits = []
        for policy in rules.policies:
            since = now - policy.period_seconds
            added = sum(each.replicas for each in self.ups if each.at > since)
            deleted = sum(each.replicas for each in self.downs if each.at > since)
            before = current - added + deleted
            if policy.type == "Pods":
                limits.append(before + policy.value if up else before - policy.value)
            elif up:
                limits.append(math.ceil(before * (1 + policy.value / 100)))
            else:
                limits.append(int(before * (1 - policy.value / 100)))
        return max(limits) if (rules.select_policy == "Max") == up else min(limits)

    def _remember(self, now: float, current: int, replicas: int) -> None:
        """Keep a change as long as a policy of either direction looks back at it."""
        if replicas == current:
            return
        (self.ups if replicas > current else self.downs).append(_Change(now, abs(replicas - current)))
        policies = (*self.spec.scale_up.policies, *self.spec.scale_down.policies)
        since = now - max((policy.period_seconds for policy in policies), default=0)
        self.ups = [each for each in self.ups if each.at >= since]
        self.downs = [each for each in self.downs if each.at >= since]
