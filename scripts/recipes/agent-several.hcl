# Vault Agent keeps the credentials of several connections in one file. It is written when all can be read, and again
# when one of them changes: each is read again by its own ttl. The file says null where a token does not expire, since
# expire_time is empty then; a key has none at all, which index takes and .Data.expire_time would not.

auto_auth {
  method {
    type   = "token_file"
    config = { token_file_path = "/etc/vault/token" }
  }
}

template {
  destination          = "/run/secrets/credentials.json"
  error_on_missing_key = true
  contents             = <<-EOT
  {
  {{- with secret "connectors/creds/slack" }}
    "slack": {
      "token": {{ .Data.access_token | toJSON }},
      "expires": {{ with index .Data "expire_time" }}{{ . | toJSON }}{{ else }}null{{ end }}
    },
  {{- end }}
  {{- with secret "connectors/creds/openai" }}
    "openai": {
      "token": {{ .Data.api_key | toJSON }},
      "expires": {{ with index .Data "expire_time" }}{{ . | toJSON }}{{ else }}null{{ end }}
    }
  {{- end }}
  }
  EOT
}
