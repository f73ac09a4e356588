# An application reads the credentials of the organization acme.
path "connectors/creds/org/acme/+" { capabilities = ["read"] }
