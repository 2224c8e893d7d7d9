// Package secret holds passwords, authentication strings and tokens in types that never show themselves: formatting,
// logging and encoding all give "[redacted]", and only Reveal gives the value away. It also reads secrets from files
// after checking that nobody else can.
//
//	pw, err := secret.FromFile("/etc/callsign/adcs.password")
//	log.Info("logging in", "password", pw) // password=[redacted]
//	login(user, pw.Reveal())
//
// All types are values, safe for concurrent reading. The memory is not locked or wiped: Go may copy it, and a process
// that can read our memory has the private keys as well.
package secret
