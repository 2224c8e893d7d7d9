// Package offline is the authority "offline": a CA without a network, whose requests are exported as files, signed by people
// elsewhere, and whose certificates are imported.
//
// # Waiting
//
// [Authority].Issue answers [ca.Pending] always, with a short number of its own ([RequestID]) and a pause of days: nothing happens until
// somebody brings the certificate to the journal's row (Settle of the enrolment engine). The phone gets it at its next call.
//
// # What is exported
//
// The key of a phone comes without a signature, so no ordinary PKCS#10 can be made of it. An [Exporter] writes a request as one of
// the [Form] values; which one a CA takes depends on the CA:
//
//   - [FormPKCS10]: a PKCS#10 with the algorithm id-alg-noSignature (RFC 5272 appendix C.1) in place of a signature; for a CA that lets an
//     operator waive proof of possession. OpenSSL's "req" and "ca" commands and AD CS refuse it.
//   - [FormCMC]: Microsoft's null form inside a CMC request that an enrollment agent signs; for AD CS (certreq -submit).
//   - [FormSPKI]: the bare public key, with the extensions that the certificate should have; for OpenSSL (openssl x509 -new -force_pubkey).
//
// Exporting again gives the same bytes.
//
// # What is imported
//
// A certificate belongs to the request with its key. A [Judge] looks at it before it is believed: it must name the device, be
// within its dates, be no CA, and chain to a CA that is known.
//
// An Authority is safe for concurrent use; the other types are values.
package offline
