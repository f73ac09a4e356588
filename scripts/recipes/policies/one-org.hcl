# An application reads the credentials of the organization acme. A * in the place of + would reach those of its members.
path "connectors/creds/org/acme/+" { capabilities = ["read"] }

# It may have one checked, as after a 401 of its own.
path "connectors/check/org/acme/+" { capabilities = ["update"] }
