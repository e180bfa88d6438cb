{{/* Names, labels and references: what objects call each other by. */}}

{{/* The release's name: one release, one set of objects. */}}
{{- define "orris.fullname" -}}
{{- default .Release.Name .Values.fullnameOverride | trunc 53 | trimSuffix "-" -}}
{{- end }}

{{/* What finds the server's pods, and nothing else of the release. */}}
{{- define "orris.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: server
{{- end }}

{{/* Labels of every object but the tests, which are another component. */}}
{{- define "orris.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "orris.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | replace "+" "_" | quote }}
app.kubernetes.io/part-of: {{ .Chart.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "orris.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end }}
{{- end }}

{{- define "orris.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{ default (include "orris.fullname" .) .Values.serviceAccount.name }}
{{- else -}}
{{ default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{/* Whether Argo Rollouts brings out new versions: "true" or nothing. */}}
{{- define "orris.isRollout" -}}
{{- if ne .Values.strategy.type "rolling" }}true{{ end }}
{{- end }}

{{/* What the pods belong to, as an autoscaler names it. */}}
{{- define "orris.scaleTarget" -}}
{{- if include "orris.isRollout" . -}}
apiVersion: argoproj.io/v1alpha1
kind: Rollout
{{- else -}}
apiVersion: apps/v1
kind: Deployment
{{- end }}
name: {{ include "orris.fullname" . }}
{{- end }}

{{/* Secret with the certificate of the Ingress. */}}
{{- define "orris.tlsSecret" -}}
{{- if .Values.ingress.tlsSecret -}}
{{ .Values.ingress.tlsSecret }}
{{- else if .Values.certificate.enabled -}}
{{ include "orris.fullname" . }}-tls
{{- end }}
{{- end }}

{{/* What the server has to fetch over HTTPS while it runs or before it starts: "true" or nothing. */}}
{{- define "orris.fetches" -}}
{{- if or (eq .Values.model.source "store") .Values.auth.jwt.jwks }}true{{ end }}
{{- end }}
