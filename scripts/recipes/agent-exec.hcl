# Vault Agent as the parent of an application that takes its token from the environment. A process cannot be handed a
# new environment, so the agent ends it by SIGTERM and starts it anew at each rotation. For tokens that live an hour or
# less prefer a file that the application reads again.

auto_auth {
  method {
    type   = "token_file"
    config = { token_file_path = "/etc/vault/token" }
  }
}

env_template "SLACK_TOKEN" {
  error_on_missing_key = true
  contents             = "{{ with secret \"connectors/creds/slack\" }}{{ .Data.access_token }}{{ end }}"
}

exec {
  command                   = ["/usr/local/bin/app"]
  restart_on_secret_changes = "always"
  restart_stop_signal       = "SIGTERM"
}
