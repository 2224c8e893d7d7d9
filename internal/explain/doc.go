// Package explain turns errors into what a user reads, and holds what is known of each code: what it means, what causes
// it, what to look at and what to do.
//
// Every room has its own error type; a type that a user can act on has the methods of Problem, and may have Cause and
// RequestID as well. Render finds them wherever they are in a chain, keeps the context that was wrapped around them,
// prints each of several joined errors by itself, and points to the catalogue. The package imports no room.
//
//	error: EST enrolment for SEP001122334455 was rejected (est.csr-key-too-short)
//	  cause: the CSR has an RSA 1024-bit key; template "CiscoPhone" requires 2048
//	  fix:   set Key Size to 2048 in the phone's CAPF settings
//	  see:   callsign explain est.csr-key-too-short     request: 7f3a9c
//
// The catalogue is data: the files under catalogue/, where every text stands in English, Korean and French side by side.
// Codes are of families: our own problems, faults of certificate chains, checks of uploads to a cluster, OpenSSL's
// verification errors, curl's exit codes; another family is another file. An entry that is "like" another leaves to it what it does not say itself. Lookup finds
// entries by code, by alias ("X509_V_ERR_CERT_HAS_EXPIRED", "60") and by what logs say: a * in a wording stands for anything
// within a line. Page writes an entry for a terminal.
//
// Texts are looked up as they come from anybody: at most MaxQuery bytes of a query count, and the time for them is
// bounded. The catalogue is read at the first use, which takes some milliseconds.
//
// Functions are safe for concurrent use.
package explain
