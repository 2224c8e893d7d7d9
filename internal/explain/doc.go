// Package explain turns errors into what a user reads: what failed with its stable code, why, and what to do.
//
// Every room has its own error type; a type that a user can act on has the methods of Problem, and may have Cause and
// RequestID as well. Render finds them wherever they are in a chain, keeps the context that was wrapped around them, and
// prints each of several joined errors by itself. The package imports no room.
//
//	error: EST enrolment for SEP001122334455 was rejected (est.csr-key-too-short)
//	  cause: the CSR has an RSA 1024-bit key; template "CiscoPhone" requires 2048
//	  fix:   set Key Size to 2048 in the phone's CAPF settings
//
// Functions are safe for concurrent use.
package explain
