// Package clustertest holds what every implementation of cluster.Store must pass, an implementation in memory for tests of
// rooms above, and the keys and certificates that both need.
package clustertest
