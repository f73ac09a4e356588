# Somebody on call may switch any connection off and on again, and change nothing else of it. What its owner made
# private only its owner switches on again.
path "connectors/status"        { capabilities = ["read"] }
path "connectors/connections/*" {
  capabilities       = ["read", "list", "update"]
  allowed_parameters = { "disabled" = [] }
}
