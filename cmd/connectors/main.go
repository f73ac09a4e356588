// Command connectors is the command line for people who connect accounts and for what uses them.
package main

import (
	"os"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/internal/commands"
)

func main() {
	os.Exit(commands.Main(os.Args[1:]))
}
