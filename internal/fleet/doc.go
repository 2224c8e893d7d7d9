// Package fleet keeps the phones: who they are, which certificate operation is due, how they authenticate, and what
// became of it. It is the capf.Service of the product: CAPF asks it what a phone may do, and it asks the enrolment
// engine for certificates.
//
// A phone's record (Device) is read anew at every call, so what an administrator writes while the server runs counts
// for the next call. The operation and the certificate become final only when the phone has confirmed
// (spec: CAPF section 9, "When to write the database").
//
// Certificates as means of authentication are not judged here yet: a device is authenticated by its string or by the
// null string.
package fleet
