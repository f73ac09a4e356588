# Vault Agent keeps the newest access token in a file that the application reads again. Agent reads again one second
# after ttl and does not poll in between; while a provider fails, the file stays as it is.

auto_auth {
  method {
    type   = "token_file"
    config = { token_file_path = "/etc/vault/token" }
  }
}

template {
  destination          = "/run/secrets/slack-token"
  error_on_missing_key = true
  contents             = "{{ with secret \"connectors/creds/slack\" }}{{ .Data.access_token }}{{ end }}"
}
