// Package winauthtest starts the real peers that Windows authentication is tested against, none of which shares code with
// this module: an MIT Kerberos KDC.
//
// Everything lives in one scratch directory on loopback and needs no system service; nothing in /etc is changed. The
// processes end with the test, also when the test is killed. Where a Debian package is missing (scripts/peers installs
// them) the test skips, and fails where CI=true promises that it is there.
package winauthtest
