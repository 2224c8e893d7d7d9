// Package setup makes a new deployment: a directory with keys, certificates, users and a configuration that serve
// starts from. init uses it for an administrator, demo for its throw-away world.
package setup
