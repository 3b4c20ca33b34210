// Package api is how programs talk to the running service: the values that go over its
// unix socket as JSON, documented in docs/API.md, and a [Client]. Fields and paths only ever
// get more within a version.
//
// The package must never decide anything, and never touch a replica or the service's files.
package api
