# Somebody administers the organization acme: its own connections, and those of its members. They see metadata, stop,
# archive, delete, end shares, connect a member's account again for the same account, and send links by which somebody
# else connects one. They read no credential: what is private its owner alone, and what is acme's with one-org.hcl. []
# keeps them from making one in a member's name. They take what is offered to acme, rename, and offer what is acme's to
# organizations, but to no person: that could be themselves, and would read it then.
path "connectors/catalog"   { capabilities = ["read", "list"] }
path "connectors/catalog/*" { capabilities = ["read"] }
path "connectors/connections/org/acme/*" {
  capabilities      = ["create", "read", "update", "delete", "list"]
  denied_parameters = { "provision" = [] }
}
path "connectors/auth-code-url/org/acme/*" {
  capabilities      = ["update"]
  denied_parameters = { "provision" = [] }
}
path "connectors/connect-link/org/acme/*" {
  capabilities      = ["read", "update", "delete"]
  denied_parameters = { "provision" = [] }
}
path "connectors/transfer/org/acme/*" {
  capabilities      = ["read", "update", "delete"]
  denied_parameters = { "to" = ["user/*", "self/*", "*/user/*", "*/self/*"] }
}
path "connectors/accept/org/acme/*" {
  capabilities      = ["update"]
  denied_parameters = { "provision" = [] }
}
path "connectors/exchange"           { capabilities = ["update"] }
path "connectors/shares/org/acme/*"  { capabilities = ["read", "delete"] }
path "connectors/refresh/org/acme/+" { capabilities = ["update"] }
path "connectors/inventory/org/acme" { capabilities = ["read"] }
path "connectors/history/org/acme/*" { capabilities = ["read"] }
path "connectors/lookup/org/acme"    { capabilities = ["update"] }
path "connectors/lookup/org/acme/+"  { capabilities = ["read"] }
path "connectors/check/org/acme/+"   { capabilities = ["update"] }
