# Somebody on call may switch any connection off and on again, and change nothing else of it. A stop of the owner's own
# is not theirs to lift: the owner's entity and everybody else have a word each, also where it is private.
path "connectors/status"        { capabilities = ["read"] }
path "connectors/connections/*" {
  capabilities       = ["read", "list", "update"]
  allowed_parameters = { "disabled" = [] }
}
