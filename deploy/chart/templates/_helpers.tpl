{{- define "hayloft.labels" -}}
app.kubernetes.io/name: hayloft
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "hayloft.selector" -}}
app.kubernetes.io/name: hayloft
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "hayloft.image" -}}
{{- $digest := index .root.Values.image.digests .program -}}
{{- if $digest -}}
{{ .root.Values.image.registry }}/{{ .program }}@{{ $digest }}
{{- else -}}
{{ .root.Values.image.registry }}/{{ .program }}:{{ .root.Values.image.tag | default .root.Chart.AppVersion }}
{{- end -}}
{{- end }}

{{/*
The objects of a plain manifest, which is also what the local stack and all tests
run under: with this release's namespaces in the place of the usual ones, labels,
and the annotations given.
*/}}
{{- define "hayloft.plain" -}}
{{- $root := .root -}}
{{- $annotations := .annotations | default dict -}}
{{- $text := $root.Files.Get .file | replace "longhorn-system" $root.Values.longhorn.namespace | replace "hayloft-system" $root.Release.Namespace -}}
{{- if not $text }}{{ fail (printf "%s is missing from the chart" .file) }}{{ end -}}
{{- range $document := splitList "\n---\n" $text }}
{{- $object := fromYaml $document }}
{{- if hasKey $object "Error" }}{{ fail $object.Error }}{{ end }}
{{- if $object.kind }}
{{- $labels := merge dict ($object.metadata.labels | default dict) (include "hayloft.labels" $root | fromYaml) }}
{{- $_ := set $object.metadata "labels" $labels }}
{{- if $annotations }}
{{- $_ := set $object.metadata "annotations" (merge dict $annotations ($object.metadata.annotations | default dict)) }}
{{- end }}
---
{{ toYaml $object }}
{{- end }}
{{- end }}
{{- end }}

{{/* What every pod of ours runs under: Pod Security "restricted". */}}
{{- define "hayloft.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "hayloft.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}
