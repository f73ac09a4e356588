package main

import (
	"os"
	"time"
)

// parentCheck is how often the plugin looks whether its Vault is still there.
const parentCheck = time.Second

// endWithParent ends this process soon after the one that started it is gone, and never returns. A killed Vault leaves
// its plugins behind: nothing they learn can be saved any more, and what they would ask of a provider is for the next
// Vault to ask. Where a process keeps its parent's id for good, as on Windows, it notices nothing.
func endWithParent(parent int) {
	for range time.Tick(parentCheck) {
		if os.Getppid() != parent {
			os.Exit(1)
		}
	}
}
