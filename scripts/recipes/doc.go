// Package recipes owns configurations of the programs that read credentials for applications. Its tests hold the
// manifests against the operators' schemas; the acceptance tests run the agent's as it is written.
package recipes
