# An auditor sees what is configured, connected and shared, masked, and changes nothing.
path "connectors/config"        { capabilities = ["read"] }
path "connectors/catalog"       { capabilities = ["read", "list"] }
path "connectors/catalog/*"     { capabilities = ["read"] }
path "connectors/providers/*"   { capabilities = ["read", "list"] }
path "connectors/status"        { capabilities = ["read"] }
path "connectors/connections/*" { capabilities = ["read", "list"] }
path "connectors/shares/*"      { capabilities = ["read"] }
path "connectors/transfer/*"    { capabilities = ["read"] }
path "connectors/inventory"     { capabilities = ["read"] }
path "connectors/inventory/*"   { capabilities = ["read"] }
path "connectors/history/*"     { capabilities = ["read"] }
path "connectors/notices"       { capabilities = ["read"] }
