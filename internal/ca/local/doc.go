// Package local is the authority "local": CAPF's own CA, self-signed or subordinate to the enterprise CA, which signs
// certificates for phones (LSC) straight from the public key.
//
// # What it issues
//
// The profile of a phone certificate is fixed: serial number of 128 random bits, key usage digitalSignature and
// keyEncipherment (critical, for RSA and EC keys alike, because the phone's maker asks for both), extended key usage
// clientAuth, serverAuth and IPsec end system, basic constraints CA:FALSE (critical), subject and authority key
// identifier, SHA-256. notBefore lies a few minutes back (phones' clocks lag) but never before the issuer's, notAfter
// never after the issuer's.
//
// Of the extensions that a request asks for
//
//   - subjectAltName is copied when all its names are of the types URI, dNSName and iPAddress; any other name
//     (a user principal name, a mail address) is refused, because such a name could log in elsewhere;
//   - keyUsage, extendedKeyUsage, basicConstraints CA:FALSE, the key identifiers, certificate policies, CRL and AIA
//     pointers and Microsoft's template names are ignored: the profile decides;
//   - basicConstraints CA:TRUE, name and policy constraints, and every extension that is not listed here and is marked
//     critical are refused; an unlisted one that is not critical is ignored.
//
// Certificates under an EST label can have another validity and other extended key usages (Config.Labels); everything else is as
// for phones.
//
// # Exactly once
//
// The authority keeps nothing. The certificate is on record when the journal row that asked for it is, and only then
// is it handed out. A certificate that was signed but never recorded, because the process died in between, was never
// seen by anybody; the resumed row signs another with another serial number, and that one is the only one in the world.
// So nothing is written to the Ledger, and with its key in memory the authority is a [ca.Private] one: it may sign before there
// is a row, and the row begins with its certificate.
//
// # Making certificates
//
// An Issuer is a CA certificate with its key. NewRoot, NewCAPF and Issuer.NewIssuing make them; Issuer.NewLeaf makes
// the certificates that a deployment needs for itself (TLS server, voucher, responder, enrollment agent), and
// Issuer.IssueRaw signs whatever a caller with rules of its own (the simulated AD CS) has decided.
//
// Everything here is safe for concurrent use as far as the crypto.Signer is; those of the standard library are.
package local
