// Package app puts the services together from a configuration. serve, demo and the integration tests all start the
// product through it, so what is tested is what runs.
package app
