// Package winauthtest starts the real peers that Windows authentication is tested against, none of which shares code with
// this module: an MIT Kerberos KDC ([StartKDC]), Apache with mod_auth_gssapi and gss-ntlmssp ([StartApache]), and an
// acceptor on top of MIT's GSSAPI that knows Extended Protection ([StartAcceptor]), which Apache's module does not.
//
// Everything lives in one scratch directory on loopback and needs no system service; nothing in /etc is changed. The
// processes end with the test, also when the test is killed. Where a Debian package is missing (scripts/peers installs
// them) the test skips, and fails where CI=true promises that it is there.
package winauthtest
