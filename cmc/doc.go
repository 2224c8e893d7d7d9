// Package cmc reads and writes CMC (RFC 5272, 5273, 5274, 6402) as far as an EST registration authority needs it: the
// certs-only messages of EST, the vouched full request that CAPF sends to the RA, its answer, and the requests that the
// RA sends to Microsoft AD CS.
//
// It has a SignedData reader and writer of its own (docs/decisions/0002-own-signed-data-reader.md): certificates are
// kept raw, SignerInfos in the order received, both forms of signer identifier are understood, signed attributes are
// kept as bytes, and a SignerInfo may carry no signature at all (1.3.6.1.5.5.7.6.2). BER is accepted around the content
// and turned into DER by a bounded transcoder; the content itself must be DER.
//
// The three layers, from the wire up:
//
//   - [Open] checks structure and signatures of any SignedData and trusts nobody.
//   - [ParsePKIData] and [ParsePKIResponse] read the content.
//   - [Verifier.Verify] is the registration authority's judgement of a request, [VerifyResponse] the client's judgement
//     of an answer.
//
// Everything refused is a [*Problem] with a stable code and a remedy. Nothing in this package reads a clock, a random
// source or a file on its own, and nothing logs. All functions are safe for concurrent use.
package cmc
