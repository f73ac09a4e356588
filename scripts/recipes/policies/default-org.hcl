# An application reads the credentials of the default organization, and nobody else's: + does not cross a slash, and
# connectors/creds/* would open every organization and every user.
path "connectors/creds/+" { capabilities = ["read"] }

# It may have one checked, as after a 401 of its own.
path "connectors/check/+" { capabilities = ["update"] }
