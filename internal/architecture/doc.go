// Package architecture holds the tests that guard the whole repository: which room may import which, that every package
// and every exported name is explained, that names say something, that each third-party module has one user and a
// licence that we can keep, and that nothing in the tree depends on the machine it was written on.
//
// It has no code of its own. The picture behind the floors is docs/architecture.md.
package architecture
