{{/* What no schema can say: values that contradict each other. Renders to nothing, or fails with what to do. */}}
{{- define "orris.check" -}}
{{- with .Values.model }}
{{- if and (eq .source "store") (not (and .name .version .store)) }}
{{- fail "model.source is store: set model.name, model.version and model.store (its URL)" }}
{{- end }}
{{- if and (eq .source "oci") (not .reference) }}
{{- fail "model.source is oci: set model.reference, an image by digest" }}
{{- end }}
{{- end }}
{{- with .Values.auth.jwt }}
{{- if and .jwks .existingSecret }}
{{- fail "auth.jwt: set jwks (a URL) or existingSecret, not both" }}
{{- end }}
{{- if and (or .jwks .existingSecret) (not (and .issuer .audience)) }}
{{- fail "auth.jwt: set issuer and audience too, or any token of that issuer would be taken" }}
{{- end }}
{{- end }}
{{- with .Values.auth }}
{{- if and .metrics.required (not (or .apiKeys.existingSecret .adminToken.existingSecret .jwt.jwks .jwt.existingSecret)) }}
{{- fail "auth.metrics.required: there is no credential that /metrics could ask for; set auth.apiKeys, auth.jwt or auth.adminToken" }}
{{- end }}
{{- end }}
{{- if and .Values.auth.metrics.required .Values.serviceMonitor.enabled (not .Values.auth.metrics.existingSecret) }}
{{- fail "auth.metrics.required: Prometheus would be refused; set auth.metrics.existingSecret, a secret with the key that it sends" }}
{{- end }}
{{- if ne .Values.autoscaling.type "none" }}
{{- if gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas) }}
{{- fail "autoscaling: minReplicas is more than maxReplicas" }}
{{- end }}
{{- end }}
{{- if eq .Values.autoscaling.type "keda" }}
{{- with .Values.autoscaling.keda }}
{{- if not (or .predictionsPerMinute .latencyMilliseconds .failuresPerMinute) }}
{{- fail "autoscaling.keda: set predictionsPerMinute, latencyMilliseconds or failuresPerMinute" }}
{{- end }}
{{- end }}
{{- if and (int .Values.autoscaling.keda.fallback.replicas | lt (int .Values.autoscaling.maxReplicas)) }}
{{- fail "autoscaling.keda.fallback.replicas is more than maxReplicas" }}
{{- end }}
{{- end }}
{{- if and (or (eq .Values.autoscaling.type "keda") (and (include "orris.isRollout" .) .Values.strategy.analysis.enabled)) (not .Values.serviceMonitor.enabled) }}
{{- fail "KEDA and the analysis of a Rollout ask Prometheus for series of the ServiceMonitor: set serviceMonitor.enabled" }}
{{- end }}
{{- range $name := list "httpRoute" "grpcRoute" }}
{{- $route := index $.Values $name }}
{{- if and $route.enabled (not $route.parentRefs) }}
{{- fail (printf "%s: set parentRefs, the Gateway that leads here" $name) }}
{{- end }}
{{- end }}
{{- if and .Values.httpRoute.enabled .Values.grpcRoute.enabled }}
{{- if and (deepEqual .Values.httpRoute.parentRefs .Values.grpcRoute.parentRefs) (not (and .Values.httpRoute.hostnames .Values.grpcRoute.hostnames)) }}
{{- fail "grpcRoute and httpRoute are on the same listener: set hostnames of both, and different ones" }}
{{- end }}
{{- range .Values.grpcRoute.hostnames }}
{{- if has . $.Values.httpRoute.hostnames }}
{{- fail (printf "grpcRoute and httpRoute share the host name %s: a listener refuses the second of them" .) }}
{{- end }}
{{- end }}
{{- end }}
{{- if and .Values.grpcRoute.enabled (not .Values.server.grpc) }}
{{- fail "grpcRoute: server.grpc is false" }}
{{- end }}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) }}
{{- fail "ingress: set hosts" }}
{{- end }}
{{- if and .Values.certificate.enabled (not .Values.ingress.hosts) }}
{{- fail "certificate: it is for ingress.hosts, of which there are none; for a Gateway, annotate the Gateway with cert-manager.io/cluster-issuer" }}
{{- end }}
{{- $cpu := "" }}
{{- range $part := list "requests" "limits" }}
{{- $cpu = default $cpu (dig $part "cpu" "" $.Values.resources | toString) }}
{{- end }}
{{- if $cpu }}
{{- $milli := ternary (trimSuffix "m" $cpu | float64) (mulf (trimSuffix "m" $cpu | float64) 1000.0) (hasSuffix "m" $cpu) }}
{{- $busy := mul .Values.server.workers .Values.server.threads }}
{{- if and (gt $busy 1) (gt (mulf $busy 1000.0) $milli) }}
{{- fail (printf "server.workers × server.threads is %d, but the pod asks for %s CPU: they would only stop each other" $busy $cpu) }}
{{- end }}
{{- end }}
{{- end }}
