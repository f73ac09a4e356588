# A mount, its settings, a service that people connect accounts of, and a key. OpenTofu takes it as it is.
#
# JSON stands here in the form in which reads answer it, so that a second plan is empty: durations in seconds, lists as
# lists, texts in tags. What Terraform writes is in its state file, secrets too.

terraform {
  required_providers {
    vault = {
      source = "hashicorp/vault"
    }
  }
}

variable "github_client_secret" {
  type      = string
  sensitive = true
}

variable "openai_api_key" {
  type      = string
  sensitive = true
}

resource "vault_mount" "connectors" {
  path = "connectors"
  type = "vault-plugin-secrets-connectors"
}

resource "vault_generic_endpoint" "config" {
  path                 = "${vault_mount.connectors.path}/config"
  ignore_absent_fields = true # a read answers every setting, and only these are meant
  disable_delete       = true # settings are not deleted, they end with the mount
  data_json            = <<-EOT
    {
      "public_url": "https://vault.example.com/",
      "refresh_margin": 300,
      "endpoint_hosts": ["github.com", "*.github.com", "*.openai.com"]
    }
  EOT
}

resource "vault_generic_endpoint" "github" {
  depends_on           = [vault_generic_endpoint.config]
  path                 = "${vault_mount.connectors.path}/providers/github"
  ignore_absent_fields = true
  data_json            = <<-EOT
    {
      "client_id": "Iv1.0123456789abcdef",
      "scopes": ["repo", "read:user"],
      "allowed_scopes": ["repo", "read:user", "read:org"],
      "allowed_owners": ["user/*"],
      "confirm": true
    }
  EOT
}

# Reads mask the values of parameters, so a plan cannot compare them. They may be secrets, and go where those go.
resource "vault_generic_endpoint" "github_parameters" {
  path           = vault_generic_endpoint.github.path
  disable_read   = true
  disable_delete = true # or it would delete the provider
  data_json      = <<-EOT
    {
      "authorize_params": {"allow_signup": "false"}
    }
  EOT

  lifecycle {
    replace_triggered_by = [vault_generic_endpoint.github.data_json]
  }
}

# On a path of its own, which another policy may open, and another state file hold. Where the provider comes to point
# elsewhere, the stored secret is cleared, so it is written again with every change of the provider; the same secret
# written again changes nothing.
resource "vault_generic_endpoint" "github_client_secret" {
  path           = "${vault_generic_endpoint.github.path}/client-secret"
  disable_read   = true
  disable_delete = true
  data_json      = <<-EOT
    {
      "client_secret": ${jsonencode(var.github_client_secret)}
    }
  EOT

  lifecycle {
    replace_triggered_by = [vault_generic_endpoint.github.data_json]
  }
}

resource "vault_generic_endpoint" "openai" {
  depends_on           = [vault_generic_endpoint.config]
  path                 = "${vault_mount.connectors.path}/providers/openai"
  ignore_absent_fields = true
  data_json            = <<-EOT
    {
      "definition": "openai",
      "allowed_owners": ["org/*"]
    }
  EOT
}

# A connection depends on its provider: while it is there, the provider is not deleted.
resource "vault_generic_endpoint" "openai_key" {
  depends_on           = [vault_generic_endpoint.openai]
  path                 = "${vault_mount.connectors.path}/connections/openai"
  ignore_absent_fields = true
  data_json            = <<-EOT
    {
      "provider": "openai",
      "api_key": ${jsonencode(var.openai_api_key)},
      "label": "The team's key",
      "tags": {"team": "payments", "tier": "1"},
      "disabled": false
    }
  EOT
}
