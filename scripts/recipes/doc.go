// Package recipes owns what operators copy: policies, a quota, a listener, what to run before a mount is removed,
// configurations of the programs that read credentials for applications and of Terraform, and a program that picks
// out of an audit log what somebody must look at. Its tests hold the manifests against the operators' schemas; the
// acceptance tests run all else as it is written, and send what Terraform would.
package recipes
