// Package recipes owns what operators copy: policies, a quota, configurations of the programs that read credentials for
// applications, and a program that picks out of an audit log what somebody must look at. Its tests hold the manifests
// against the operators' schemas; the acceptance tests run the policies, the quota, the agent's and the alert as they
// are written.
package recipes
