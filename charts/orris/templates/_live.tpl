{{/* What runs already, as far as an upgrade has to respect it. There is nothing on a first install, nor without a cluster (`helm template`, Argo CD). */}}

{{/* The Deployment or the Rollout that runs, as JSON: (dict "root" $ "kind" "Deployment"). */}}
{{- define "orris.live" -}}
{{- $root := .root -}}
{{- $api := ternary "argoproj.io/v1alpha1" "apps/v1" (eq .kind "Rollout") -}}
{{- if $root.Capabilities.APIVersions.Has (printf "%s/%s" $api .kind) -}}
{{- lookup $api .kind $root.Release.Namespace (include "orris.fullname" $root) | default dict | toJson -}}
{{- else -}}
{}
{{- end -}}
{{- end }}

{{/* The kind of the workload that `strategy.type` asks for, and the other kind. */}}
{{- define "orris.kind" -}}
{{- ternary "Rollout" "Deployment" (eq (include "orris.isRollout" .) "true") -}}
{{- end }}
{{- define "orris.otherKind" -}}
{{- ternary "Deployment" "Rollout" (eq (include "orris.isRollout" .) "true") -}}
{{- end }}

{{/* Whether the workload of `strategy.previous` stays beside the new one: "true" or nothing. */}}
{{- define "orris.keepsPrevious" -}}
{{- with .Values.strategy.previous -}}
{{- if ne (eq . "rolling") (eq $.Values.strategy.type "rolling") }}true{{ end -}}
{{- end -}}
{{- end }}

{{/*
`spec.replicas` of a workload, if it has to be stated: (dict "root" $ "kind" "Deployment").

Without an autoscaler it is a value. With one it belongs to the autoscaler: stated, each upgrade would fight for it, and each rollback would restore an
old number. But a workload that does not state it is made with 1 pod, so the one that makes it states the minimum. And where the release has stated it
before, leaving it out makes it 1. So the number that runs is stated again until somebody else owns it: server-side apply records that in managedFields;
a client-side release states it for good, and an annotation says so.
*/}}
{{- define "orris.replicas" -}}
{{- $root := .root -}}
{{- if eq $root.Values.autoscaling.type "none" -}}
{{ $root.Values.replicas }}
{{- else -}}
{{- $live := include "orris.live" . | fromJson -}}
{{- $least := int $root.Values.autoscaling.minReplicas -}}
{{- if $live -}}
{{- if include "orris.statesReplicas" (dict "root" $root "live" $live) -}}
{{ max $least (int $live.spec.replicas) }}
{{- end -}}
{{- else -}}
{{- $other := include "orris.live" (dict "root" $root "kind" (ternary "Deployment" "Rollout" (eq .kind "Rollout"))) | fromJson -}}
{{- if $other -}}
{{ max $least (int $other.spec.replicas) }}
{{- else if include "orris.startsAtMinimum" $root -}}
{{ $least }}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Whether a workload that is not there yet is made with the minimum of its autoscaler: "true" or nothing. */}}
{{- define "orris.startsAtMinimum" -}}
{{- $start := .Values.autoscaling.startAtMinimum | default "auto" -}}
{{- if eq $start "always" -}}
true
{{- else if eq $start "auto" -}}
{{- /* Without a cluster nobody knows whether it is there. Every namespace has this account; the release's may be made with the release. */ -}}
{{- if or (lookup "v1" "ServiceAccount" .Release.Namespace "default") (lookup "v1" "Namespace" "" "default") }}true{{ end -}}
{{- end -}}
{{- end }}

{{/* Whether this release, and nobody else, has stated `spec.replicas` of a running workload: "true" or nothing. */}}
{{- define "orris.statesReplicas" -}}
{{- $root := .root -}}
{{- $applied := false -}}
{{- $own := false -}}
{{- $others := false -}}
{{- range .live.metadata.managedFields | default list -}}
{{- $spec := dig "fieldsV1" "f:spec" dict . -}}
{{- if and (eq .operation "Apply") (hasKey $spec "f:template") -}}
{{- $applied = true -}}
{{- $own = hasKey $spec "f:replicas" -}}
{{- else if hasKey $spec "f:replicas" -}}
{{- $others = true -}}
{{- end -}}
{{- end -}}
{{- if $applied -}}
{{- if and $own (not $others) }}true{{ end -}}
{{- else if dig "annotations" "orris.ml/replicas" "" .live.metadata -}}
true
{{- else if not (include "orris.liveAutoscaler" $root) -}}
true
{{- end -}}
{{- end }}

{{/* Whether an autoscaler of this release runs: "true" or nothing. */}}
{{- define "orris.liveAutoscaler" -}}
{{- $name := include "orris.fullname" . -}}
{{- if lookup "autoscaling/v2" "HorizontalPodAutoscaler" .Release.Namespace $name -}}
true
{{- else if .Capabilities.APIVersions.Has "keda.sh/v1alpha1/ScaledObject" -}}
{{- if lookup "keda.sh/v1alpha1" "ScaledObject" .Release.Namespace $name }}true{{ end -}}
{{- end -}}
{{- end }}

{{/*
Whether KEDA has to take over an HPA that its webhook would refuse a ScaledObject for: one that an older chart made, without the annotation of
horizontalpodautoscaler.yaml. "true" or nothing.
*/}}
{{- define "orris.takesHpaOver" -}}
{{- with lookup "autoscaling/v2" "HorizontalPodAutoscaler" .Release.Namespace (include "orris.fullname" .) -}}
{{- if not (or .metadata.ownerReferences (dig "annotations" "validations.keda.sh/hpa-ownership" "" .metadata)) }}true{{ end -}}
{{- end -}}
{{- end }}

{{/* Whether a running workload has as many ready pods as another: (dict "live" … "than" …). "true" or nothing. */}}
{{- define "orris.standsFor" -}}
{{- if .live -}}
{{- $wanted := min (int .live.spec.replicas) (int .than.spec.replicas) -}}
{{- $seen := eq (toString (dig "status" "observedGeneration" "" .live)) (toString .live.metadata.generation) -}}
{{- if and $seen (gt $wanted 0) (ge (dig "status" "readyReplicas" 0 .live | int) $wanted) }}true{{ end -}}
{{- end -}}
{{- end }}

{{/* Refuses an upgrade that would leave the Service without ready pods, or in conflict with Argo Rollouts. */}}
{{- define "orris.checkSwitch" -}}
{{- $type := .Values.strategy.type -}}
{{- $previous := .Values.strategy.previous -}}
{{- $live := include "orris.live" (dict "root" . "kind" (include "orris.kind" .)) | fromJson -}}
{{- $other := include "orris.live" (dict "root" . "kind" (include "orris.otherKind" .)) | fromJson -}}
{{- if and $other (ne (dig "metadata" "labels" "app.kubernetes.io/instance" "" $other) .Release.Name) -}}
{{- $other = dict -}}
{{- end -}}
{{- $leaves := ternary "rolling" "canary" (eq $other.kind "Deployment") -}}
{{- $service := lookup "v1" "Service" .Release.Namespace (include "orris.fullname" .) -}}
{{- if and (ne $type "blueGreen") (hasKey (dig "spec" "selector" dict $service | default dict) "rollouts-pod-template-hash") -}}
{{- $leaves = "blueGreen" -}}
{{- if ne $previous "blueGreen" -}}
{{- fail (printf "strategy: this release is blueGreen, and Argo Rollouts holds the selector of its Service. To leave it for %s, set strategy.previous to blueGreen, and with Helm 4 pass --force-conflicts (docs/upgrades.md)" $type) -}}
{{- end -}}
{{- end -}}
{{- if and (eq $type "blueGreen") (ne $previous "canary") (dig "spec" "strategy" "canary" "" $live) -}}
{{- fail "strategy: this release is canary. To make it blueGreen, upgrade with strategy.previous set to canary first, which brings no new version, and once more without it (docs/upgrades.md)" -}}
{{- end -}}
{{- if and $other (not (include "orris.keepsPrevious" .)) (not (include "orris.standsFor" (dict "live" $live "than" $other))) -}}
{{- fail (printf "strategy: the pods of the %s would be gone before others are ready. Upgrade with strategy.previous set to %s first, which keeps them, and once more without it when the new pods are ready (docs/upgrades.md)" $other.kind $leaves) -}}
{{- end -}}
{{- /* Back from a switch whose new pods are not ready: the Deployment still has all of its own, so nothing is left that anybody needs. */ -}}
{{- $returns := and $other (eq $type "rolling") (include "orris.standsFor" (dict "live" $live "than" $other)) -}}
{{- range list $live $other -}}
{{- if and (eq .kind "Rollout") (not $returns) $previous (ne $previous "rolling") (ne $previous $type) (ne (dig "status" "phase" "Healthy" .) "Healthy") -}}
{{- fail (printf "strategy: the Rollout is %s: promote or abort its new version before you leave %s" .status.phase $previous) -}}
{{- end -}}
{{- end -}}
{{- end }}
