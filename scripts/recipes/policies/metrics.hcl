# Prometheus reads the metrics of the mount, which name providers, and neither owners nor connections; and nothing else.
path "connectors/metrics" { capabilities = ["read"] }
