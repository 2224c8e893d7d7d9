// Package est is Enrollment over Secure Transport (RFC 7030 with RFC 8951 and RFC 8996): a server, Handler, in front of
// a Backend that issues, and a Client.
//
// # Server
//
// Handler answers cacerts, simpleenroll and, when its Backend is a FullCMC, fullcmc, with and without a label, under
// /.well-known/est[/LABEL]/OPERATION and under /LABEL/.well-known/est/OPERATION (the only form of a label that the
// strongSwan client can send). It authenticates with HTTP Basic, TLS client certificates or both: the Backend judges.
// It checks every PKCS#10 strictly before the Backend sees it (see CSRPolicy). csrattrs answers 204 (nothing to say);
// simplereenroll and serverkeygen answer 501 for now.
//
// EST clients differ in what they can read, and no encoding suits all of them. The Handler therefore
//   - always sends Content-Length, Content-Transfer-Encoding, and fewer than 16 header fields,
//   - breaks base64 into lines for a request with a User-Agent (libEST, curl, Go) and sends a single line to one
//     without (strongSwan, Bouncy Castle); LineForm overrides,
//   - keeps the body in one TLS record where its size allows, which needs the configuration that NewServer makes,
//   - spells WWW-Authenticate so that case-sensitive readers find it,
//   - sends Retry-After in seconds, never as a date.
//
// Each request is logged with an attribute event: est.handshake (debug; what TLS told of the client), est.challenge
// (debug), est.auth_failed, est.failed (with libEST's error number as rv and rv_name) and est.request at its end.
// est.connection_failed stands for a connection that never became a request.
//
// NewServer returns an http.Server with the TLS settings and timeouts that the Handler depends on.
//
// # Client
//
// Client asks for CA certificates, enrolls with a PKCS#10 and sends full CMC requests. It is liberal in what it reads:
// any white space, trailing NULs, PEM, raw DER, missing Content-Transfer-Encoding, extra certificates. Its errors have
// a stable code, a remedy, and the number that libEST reports for the same condition.
//
// # Deviations
//
// From RFC 7030, each with its reason:
//   - fullcmc is answered only on the strength of its CMS signature; HTTP authentication is not asked for, and a
//     bootstrapping client gets no other treatment (section 4.1.1 permits one).
//   - simplereenroll and serverkeygen answer 501; csrattrs 204. Later versions fill them.
//   - The link of section 3.5 (tls-unique) is not compared yet; a challengePassword may be a secret meant for the CA.
//     Two link attributes that differ are refused all the same.
//   - An id-cmc-changeSubjectName attribute is refused (403) unless Profile.ChangeSubject allows it, because ignoring it
//     would issue the wrong name.
//   - Digest authentication is not offered: it would need MD5 password hashes.
//   - Certificate-less TLS (SRP) is not offered.
//   - The Client does not send the trusted_ca_keys extension after dropping implicit anchors (section 4.1.3);
//     crypto/tls has no means to.
//   - The Client does not bootstrap trust (section 4.1.1): its TLS configuration names the anchors. It requires the
//     server's name to match and does not accept id-kp-cmcRA instead (section 3.6.1).
//   - The Client answers only Basic challenges, and follows no redirect to another origin.
//
// # Concurrency
//
// A Handler and a Client are safe for concurrent use once set up; their fields must not change after first use.
package est
