# Whatever rotates the client secrets of apps writes those and nothing else, and reads nothing.
path "connectors/providers/+/client-secret" { capabilities = ["update"] }
