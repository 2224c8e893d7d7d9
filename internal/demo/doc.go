// Package demo is the whole world on loopback: a simulated AD CS with its own root and issuing CA, the registration
// authority and CAPF as configured services, and phones that enrol over the wire. Nothing in it is faked but the CA's
// web server, which really authenticates, verifies and issues.
package demo
