# People connect accounts of their own as members of an organization, use them, share them, rename them, give them away,
# and take what is offered to them. Which one, an operator wrote into the entity's metadata (vault write
# identity/entity/id/... metadata=org=acme): a + in its place would let anybody into any. Writes to .../self are updates,
# always.
path "connectors/catalog"                                                            { capabilities = ["read", "list"] }
path "connectors/catalog/*"                                                          { capabilities = ["read"] }
path "connectors/auth-code-url/org/{{identity.entity.metadata.org}}/self/+"          { capabilities = ["update"] }
path "connectors/exchange"                                                           { capabilities = ["update"] }
path "connectors/connections/org/{{identity.entity.metadata.org}}/self/+"            { capabilities = ["read", "update", "delete"] }
path "connectors/connections/org/{{identity.entity.metadata.org}}/self/"             { capabilities = ["list"] }
path "connectors/refresh/org/{{identity.entity.metadata.org}}/self/+"                { capabilities = ["update"] }
path "connectors/check/org/{{identity.entity.metadata.org}}/self/+"                  { capabilities = ["update"] }
path "connectors/shares/org/{{identity.entity.metadata.org}}/self/+"                 { capabilities = ["read", "update", "delete"] }
path "connectors/transfer/org/{{identity.entity.metadata.org}}/self/+"               { capabilities = ["read", "update", "delete"] }
path "connectors/accept/org/{{identity.entity.metadata.org}}/self/+"                 { capabilities = ["update"] }
path "connectors/inventory/self"                                                     { capabilities = ["read"] }
path "connectors/history/org/{{identity.entity.metadata.org}}/self/+"                { capabilities = ["read"] }
path "connectors/creds/org/{{identity.entity.metadata.org}}/self/+"                  { capabilities = ["read"] }
