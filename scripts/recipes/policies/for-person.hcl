# A program acts for the person with whose login it came to Vault: it reads what that person connected, and changes
# nothing of it.
path "connectors/creds/self/+" { capabilities = ["read"] }
path "connectors/check/self/+" { capabilities = ["update"] }
