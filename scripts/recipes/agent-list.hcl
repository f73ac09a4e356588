# Vault Agent keeps the access tokens of an organization's connections in one file, a line for each, whichever there
# are. It needs
#
#   path "connectors/connections/org/acme/*" { capabilities = ["list", "read"] }
#   path "connectors/creds/org/acme/+"       { capabilities = ["read"] }
#
# The list and each status are read again every minute; the tokens by their own ttl. One that does not serve is left
# out: a read that is refused would hold up the whole file. In connectors/connections/ itself the names that end in a
# slash are owners, to be left out as well.

auto_auth {
  method {
    type   = "token_file"
    config = { token_file_path = "/etc/vault/token" }
  }
}

template_config {
  static_secret_render_interval = "1m"
}

template {
  destination          = "/run/secrets/tokens"
  error_on_missing_key = true
  contents             = <<-EOT
  {{- range secrets "connectors/connections/org/acme/" -}}
  {{- with secret (printf "connectors/connections/org/acme/%s" .) -}}
  {{- if and (eq .Data.status "active") (ne .Data.kind "api_key") -}}
  {{- $name := .Data.name -}}
  {{- with secret (printf "connectors/creds/org/acme/%s" $name) -}}
  {{ $name }} {{ .Data.access_token }}{{ "\n" }}
  {{- end }}{{ end }}{{ end }}{{ end -}}
  EOT
}
