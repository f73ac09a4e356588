# An application makes connections for its own users, under ids with a prefix of its own, so that its user 42 is not
# another application's. It cannot create under the id of a Vault entity: [] refuses provision whatever its value,
# while ["true"] would compare texts, and let provision=1 through.
path "connectors/auth-code-url/user/shop:*" {
  capabilities      = ["update"]
  denied_parameters = { "provision" = [] }
}
path "connectors/connections/user/shop:*" {
  capabilities      = ["create", "read", "update", "delete", "list"]
  denied_parameters = { "provision" = [] }
}
path "connectors/exchange"            { capabilities = ["update"] }
path "connectors/refresh/user/shop:*" { capabilities = ["update"] }
path "connectors/check/user/shop:*"   { capabilities = ["update"] }
path "connectors/creds/user/shop:*"   { capabilities = ["read"] }
