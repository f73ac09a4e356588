# Everybody finds, reads and has checked what somebody shares with them. Nothing else is behind shared/, so all of it
# may be given to all: who has no share is told the same whatever is there.
path "connectors/connections/shared/*" { capabilities = ["list"] }
path "connectors/creds/shared/*"       { capabilities = ["read"] }
path "connectors/check/shared/*"       { capabilities = ["update"] }
