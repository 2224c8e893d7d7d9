// Package fleet keeps the phones: who they are, which certificate operation is due, how they authenticate, and what
// became of it. It is the capf.Service of the product: CAPF asks it what a phone may do, and it asks the enrolment
// engine for certificates.
//
// A phone's record (Device) is read anew at every call, so what an administrator writes while the server runs counts
// for the next call. The operation and the certificate become final only when the phone has confirmed
// (spec: CAPF section 9, "When to write the database").
//
// A phone authenticates by its string, by the null string, or by a certificate that it has: then the room chain judges
// the path and this one whose certificate it is (spec: CAPF section 6). Each call that finds an operation due leaves an
// Attempt: what was done, how long it took and where it failed.
package fleet
