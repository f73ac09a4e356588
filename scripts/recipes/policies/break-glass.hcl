# In an emergency somebody finds whose a leaked secret is, and stops what must stop: disables, archives, ends shares,
# deletes, which revokes at the service. They start nothing again, which is on-call.hcl's, and read no credential. true
# stands here twice, since values are compared as they were sent: vault write sends "true". Any other is refused.
path "connectors/status"        { capabilities = ["read"] }
path "connectors/lookup"        { capabilities = ["update"] }
path "connectors/lookup/+"      { capabilities = ["read"] }
path "connectors/connections/*" {
  capabilities       = ["read", "list", "update", "delete"]
  allowed_parameters = { "disabled" = [true, "true"], "archived" = [true, "true"], "archived_reason" = [] }
}
path "connectors/shares/*"      { capabilities = ["read", "delete"] }
