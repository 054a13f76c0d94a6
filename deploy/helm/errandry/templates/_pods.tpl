{{/* What all pods have in common. */}}

{{/* The wall around a pod. Landlock needs no right at all. Levels with namespaces inside need a filter that lets them be
made, and no AppArmor profile that forbids mounts; ns also needs a /proc of which nothing is masked, which Kubernetes
grants only to pods in a user namespace of their own. */}}
{{- define "errandry.podSecurity" -}}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  {{- if has .level (list "shared" "ns") }}
  seccompProfile: {type: Localhost, localhostProfile: {{ .seccompProfile | quote }}}
  appArmorProfile: {type: Unconfined}
  {{- else }}
  seccompProfile: {type: RuntimeDefault}
  {{- end }}
{{- if eq .level "ns" }}
hostUsers: false
{{- end }}
{{- end -}}

{{- define "errandry.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
  {{- if eq .level "ns" }}
  procMount: Unmasked
  {{- end }}
{{- end -}}

{{/* The head of a pod's spec. Takes root, component, perhaps pool, and of: the values of its kind. */}}
{{- define "errandry.podHead" -}}
serviceAccountName: {{ .account }}
automountServiceAccountToken: false
# Kubernetes would tell each pod of services in variables, and one of them might be taken for a setting.
enableServiceLinks: false
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with .of.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .of.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .of.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "errandry.selector" . | nindent 8 }}
{{- end -}}

{{/* Annotations of a pod: those of its values, and what makes it start anew when the settings change. */}}
{{- define "errandry.podAnnotations" -}}
checksum/settings: {{ sha256sum .root.Values.project.settings }}
{{- with .pool }}
errandry/pool: {{ . | quote }}
{{- end }}
{{- with .of.podAnnotations }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "errandry.image" -}}
image: {{ printf "%s/%s:%s" .root.Values.image.registry .component (.root.Values.image.tag | default .root.Chart.AppVersion) | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
{{- end -}}

{{/* Variables of a process. Takes root, of and redisKey. */}}
{{- define "errandry.env" -}}
- name: ERRANDRY_REDIS_URL
  valueFrom: {secretKeyRef: {name: {{ .root.Values.redis.existingSecret }}, key: {{ .redisKey }}}}
{{- if .root.Values.project.settings }}
- name: ERRANDRY_CONFIG
  value: /etc/errandry/settings/errandry.toml
- name: ERRANDRY_PROJECT_DIR
  value: /project
{{- end }}
{{- range $name, $value := merge (dict) .of.env .root.Values.env }}
- name: {{ $name }}
  value: {{ $value | toString | quote }}
{{- end }}
{{- range $name, $from := .of.secretEnv }}
- name: {{ $name }}
  valueFrom: {secretKeyRef: {name: {{ $from.secret }}, key: {{ $from.key }}}}
{{- end }}
{{- end -}}

{{/* Whether the project is copied into the pod at its start. */}}
{{- define "errandry.copiesProject" -}}
{{- if or .Values.project.image .Values.project.configMap }}yes{{ end -}}
{{- end -}}

{{/* A container that copies the project, for it is read-only where it comes from and Flower's history and workspaces lie
in a folder of it. A ConfigMap's own links and folders, which begin with two dots, stay behind. */}}
{{- define "errandry.projectCopy" -}}
{{- if include "errandry.copiesProject" .root -}}
initContainers:
  - name: project
    {{- with .root.Values.project.image }}
    image: {{ . | quote }}
    imagePullPolicy: {{ $.root.Values.image.pullPolicy }}
    {{- else }}
    {{- include "errandry.image" . | nindent 4 }}
    {{- end }}
    command: [sh, -c, "cp -rL \"$0/.\" \"$1/\" && rm -rf \"$1\"/..?* && mkdir -p \"$1/.errandry\"", {{ ternary "/project" "/source" (ne .root.Values.project.image "") }}, /copy]
    securityContext:
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      capabilities: {drop: [ALL]}
    resources:
      requests: {cpu: 10m, memory: 16Mi}
      limits: {memory: 128Mi}
    volumeMounts:
      - {name: project, mountPath: /copy}
      {{- if not .root.Values.project.image }}
      - {name: source, mountPath: /source, readOnly: true}
      {{- end }}
{{- end }}
{{- end -}}

{{- define "errandry.mounts" -}}
- {name: tmp, mountPath: /tmp}
{{- if include "errandry.copiesProject" .root }}
- {name: project, mountPath: /project, readOnly: true}
{{- end }}
- {name: state, mountPath: /project/.errandry}
{{- if .root.Values.project.settings }}
- {name: settings, mountPath: /etc/errandry/settings, readOnly: true}
{{- end }}
{{- end -}}

{{/* Volumes. Takes root, scratch (the room in /tmp) and perhaps claim, for what is kept in .errandry. */}}
{{- define "errandry.volumes" -}}
- name: tmp
  emptyDir: {sizeLimit: {{ .scratch }}}
{{- if include "errandry.copiesProject" .root }}
- name: project
  emptyDir: {sizeLimit: 1Gi}
{{- if not .root.Values.project.image }}
- name: source
  configMap:
    name: {{ .root.Values.project.configMap }}
    {{- with .root.Values.project.configMapItems }}
    items: {{- toYaml . | nindent 6 }}
    {{- end }}
{{- end }}
{{- end }}
- name: state
  {{- if .claim }}
  persistentVolumeClaim: {claimName: {{ .claim }}}
  {{- else }}
  emptyDir: {sizeLimit: 1Gi}
  {{- end }}
{{- if .root.Values.project.settings }}
- name: settings
  configMap: {name: {{ include "errandry.fullname" .root }}-settings}
{{- end }}
{{- end -}}

{{/* Probes of a worker: it is ready while it has lately asked its queues and reached Redis, and started anew only if
that would help. Takes words: what errandry-health is asked. */}}
{{- define "errandry.workerProbes" -}}
startupProbe:
  exec: {command: {{ prepend .words "errandry-health" | toJson }}}
  periodSeconds: 2
  failureThreshold: 60
  timeoutSeconds: 5
readinessProbe:
  exec: {command: {{ prepend .words "errandry-health" | toJson }}}
  periodSeconds: 15
  timeoutSeconds: 5
livenessProbe:
  exec: {command: {{ append (prepend .words "errandry-health") "--alive" | toJson }}}
  periodSeconds: 30
  failureThreshold: 3
  timeoutSeconds: 5
{{- end -}}
