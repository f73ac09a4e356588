# All credentials but two. A deny must name every spelling: prod of the default organization has two, and what acme's
# members share is read behind shared/. And it must be as exact as it can: Vault takes the rule whose first wildcard
# stands further right, so a deny on connectors/+/org/acme/* would lose to the allow below.
path "connectors/creds/*"                 { capabilities = ["read"] }
path "connectors/creds/prod"              { capabilities = ["deny"] }
path "connectors/creds/org/default/prod"  { capabilities = ["deny"] }
path "connectors/creds/org/acme/*"        { capabilities = ["deny"] }
path "connectors/creds/shared/org/acme/*" { capabilities = ["deny"] }
