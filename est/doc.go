// Package est is Enrollment over Secure Transport (RFC 7030 with RFC 8951 and RFC 8996): a server, Handler, in front of
// a Backend that issues, and a Client.
//
// # Server
//
// Handler answers cacerts, csrattrs, simpleenroll, simplereenroll and, where the Profile of the label offers it,
// serverkeygen, and, when its Backend is a FullCMC, fullcmc; with and without a label, under
// /.well-known/est[/LABEL]/OPERATION and under /LABEL/.well-known/est/OPERATION (the only form of a label that the
// strongSwan client can send). It authenticates with HTTP Basic, TLS client certificates or both: the Backend judges.
// It checks every PKCS#10 strictly before the Backend sees it (see CSRPolicy), its link to the TLS connection (LinkMode),
// and that a renewal is for the names of the certificate with which the client connects (SameNames).
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
// Client asks for CA certificates and for what requests shall hold (CSRAttrs), enrolls and renews with a PKCS#10, also one that is
// linked to its connection, fetches keys that the server makes, and sends full CMC requests. It is liberal in what it reads:
// any white space, trailing NULs, PEM, raw DER, missing Content-Transfer-Encoding, extra certificates. Its errors have
// a stable code, a remedy, and the number that libEST reports for the same condition. BuildCSR makes a request from what a client
// wishes and a server demands; Poll asks again after a 202.
//
// Whom it trusts its TLS configuration says, for example by Trust, which keeps explicit and implicit anchors apart. A client
// that has no anchor yet begins with Bootstrap and ConfirmFingerprint; TrustUpdate follows a CA to its next root.
//
// # Deviations
//
// From RFC 7030, each with its reason:
//   - fullcmc is answered only on the strength of its CMS signature; HTTP authentication is not asked for, and a
//     bootstrapping client gets no other treatment (section 4.1.1 permits one).
//   - A link (section 3.5) is compared where the Profile says so: a challengePassword may be a secret meant for the CA, and
//     requests are relayed. Two link attributes that differ are refused in any case. On TLS 1.3, where the RFC knows
//     none, the link is tls-exporter (RFC 9266), as RFC 9148 has it for CoAP. A client that understands the templates of RFC
//     9908 need not look at the challengePassword beside one, so it must be told by other means.
//   - otpChallenge and revocationChallenge (RFC 7894) are not judged: there are no such secrets here.
//   - simplereenroll without a client certificate is refused (403); the RFC leaves it open. An expired certificate may be
//     renewed where the Backend says so.
//   - serverkeygen may be answered with 202; the key waits in memory (KeyMemory). Keys are encrypted for the RSA key of the
//     client's certificate only. Through a proxy that ends TLS a key in clear passes the proxy in clear.
//   - An id-cmc-changeSubjectName attribute is refused (403) unless Profile.ChangeSubject allows it, because ignoring it
//     would issue the wrong name.
//   - Digest authentication is not offered: it would need MD5 password hashes.
//   - Certificate-less TLS (SRP) is not offered.
//   - The Client does not send the trusted_ca_keys extension after dropping implicit anchors (section 4.1.3);
//     crypto/tls has no means to.
//   - The Client answers only Basic challenges, and follows no redirect to another origin.
//   - A Bootstrap may ask for cacerts alone, not for fullcmc (section 4.1.1 permits both).
//
// # Concurrency
//
// A Handler and a Client are safe for concurrent use once set up; their fields must not change after first use.
package est
