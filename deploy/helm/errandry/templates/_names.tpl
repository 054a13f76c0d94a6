{{/* Names and labels. Every name ends up no longer than 63 characters, the length of a DNS label. */}}

{{- define "errandry.fullname" -}}
{{- $name := .Values.fullnameOverride | default .Release.Name -}}
{{- if le (len $name) 30 -}}
{{- $name -}}
{{- else -}}
{{- printf "%s-%s" (trunc 21 $name | trimSuffix "-") (sha256sum $name | trunc 8) -}}
{{- end -}}
{{- end -}}

{{/* A pool's name as a DNS label. Pools may have underscores and long names; a changed name gets a hash, so that no two
pools share one. */}}
{{- define "errandry.poolLabel" -}}
{{- $plain := . | replace "_" "-" | trimAll "-" -}}
{{- if and (eq $plain .) (le (len .) 24) -}}
{{- . -}}
{{- else -}}
{{- printf "%s-%s" (trunc 15 $plain | trimSuffix "-") (sha256sum . | trunc 8) -}}
{{- end -}}
{{- end -}}

{{- define "errandry.toolsName" -}}
{{- printf "%s-tools-%s" (include "errandry.fullname" .root) (include "errandry.poolLabel" .pool) -}}
{{- end -}}

{{/* What is chosen by: never changes over the life of a release. Takes root, component and perhaps pool. */}}
{{- define "errandry.selector" -}}
app.kubernetes.io/name: errandry
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- with .pool }}
errandry-pool: {{ include "errandry.poolLabel" . }}
{{- end }}
{{- end -}}

{{- define "errandry.labels" -}}
{{ include "errandry.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{/* The labels of objects that belong to the whole release. */}}
{{- define "errandry.releaseLabels" -}}
app.kubernetes.io/name: errandry
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{/* The settings of one pool: poolDefaults with what the pool says anew. Takes root and pool. */}}
{{- define "errandry.pool" -}}
{{- $own := index .root.Values.pools .pool | default dict -}}
{{- mergeOverwrite (deepCopy .root.Values.poolDefaults) $own | toYaml -}}
{{- end -}}
