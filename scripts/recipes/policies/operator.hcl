# An operator configures the mount and sees everybody's metadata, but reads no credential and connects no account.
# Config and providers are powerful all the same: proxy_url together with ca_pem leads every call by another machine.
path "connectors/config"        { capabilities = ["read", "update"] }
path "connectors/catalog"       { capabilities = ["read", "list"] }
path "connectors/catalog/*"     { capabilities = ["read"] }
path "connectors/providers/*"   { capabilities = ["create", "read", "update", "delete", "list"] }
path "connectors/webhooks/*"    { capabilities = ["create", "read", "update", "delete", "list"] }
path "connectors/status"        { capabilities = ["read"] }
path "connectors/connections/*" { capabilities = ["read", "list"] }
