package main

import (
	"os"
	"time"
)

// parentCheck is how often the plugin looks whether its Vault is still there.
const parentCheck = time.Second

// endWithParent ends this process once the one that started it is gone, and does not return before. A killed Vault
// leaves its plugins behind: nothing they do can be saved any more, and whatever they would still ask of a provider
// belongs to the next Vault. Where a process keeps its parent's id for good, as on Windows, nothing is noticed.
func endWithParent(parent int) {
	for range time.Tick(parentCheck) {
		if os.Getppid() != parent {
			os.Exit(1)
		}
	}
}
