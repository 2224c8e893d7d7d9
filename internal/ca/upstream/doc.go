// Package upstream is the authority "upstream": a registration authority that is asked by EST, ours or another's.
//
// # What is sent
//
// A PKCS#10 that is really signed goes by simpleenroll. A bare key is vouched for: it goes by fullcmc, in a CMC request
// whose inner PKCS#10 has no signature and which our voucher certificate signs (RFC 5272, RFC 7030 section 4.3). The
// transaction id is the journal row's id, so that both sides' logs can be joined.
//
// # Exactly once
//
// The message is in the journal, byte for byte, before it is sent. After a broken connection, a restart or a 202 the same
// bytes go out again, and the RA answers the present state of the same request.
//
// The RA judges the time inside of a message only when it sees it for the first time. So bytes that are older than its
// window (5 minutes) still get their answer when they arrived once; when they never arrived it says badTime, and a new
// message is made: same transaction, same request, fresh nonce and time, recorded before it is sent. For the RA this is the
// same request (a transaction may be repeated for the same request only), so it cannot issue twice, and one message too
// many costs nothing. The same is done when the voucher certificate was replaced and the RA refuses the old one's signature.
//
// # What is believed
//
// An answer counts when the RA's responder signed it (anchors of its own, purpose id-kp-cmcRA or id-kp-cmcCA), when it
// repeats our nonce and transaction, and when the certificate has our key and chains to the CA certificates that the RA
// gave over the verified TLS connection (cacerts). A certs-only answer has no signer; TLS vouches for it.
//
// # Failures
//
// Errors are *ca.Error with codes "upstream.*"; the EST failure is inside (errors.As to *est.ClientError). LibEST tells
// the number under which the original logs each code.
//
// An Authority is safe for concurrent use.
package upstream
