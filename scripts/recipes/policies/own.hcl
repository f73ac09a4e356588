# People connect accounts of their own, use them, share them, rename them, give them away, and take what is offered to
# them. self and user/<entity id> are the same objects, so both spellings are here. Writes to connections/self are
# updates, always.
path "connectors/catalog"              { capabilities = ["read", "list"] }
path "connectors/catalog/*"            { capabilities = ["read"] }
path "connectors/auth-code-url/self/+" { capabilities = ["update"] }
path "connectors/exchange"             { capabilities = ["update"] }
path "connectors/connections/self/+"   { capabilities = ["read", "update", "delete"] }
path "connectors/connections/self/"    { capabilities = ["list"] }
path "connectors/refresh/self/+"       { capabilities = ["update"] }
path "connectors/check/self/+"         { capabilities = ["update"] }
path "connectors/shares/self/+"        { capabilities = ["read", "update", "delete"] }
path "connectors/transfer/self/+"      { capabilities = ["read", "update", "delete"] }
path "connectors/accept/self/+"        { capabilities = ["update"] }
path "connectors/inventory/self"       { capabilities = ["read"] }
path "connectors/history/self/+"       { capabilities = ["read"] }
path "connectors/creds/self/+"         { capabilities = ["read"] }

path "connectors/creds/user/{{identity.entity.id}}/+" { capabilities = ["read"] }
