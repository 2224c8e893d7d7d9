// Package ra is the registration authority behind EST: it decides who may ask, what may be asked for, hands the request
// to the enrolment engine and turns the engine's answer into EST's and CMC's.
//
// # Who may ask
//
// simpleenroll wants a TLS client certificate from one of the client CAs, or a user name and password from the users
// file. With Config.CompatSequence credentials that are not in the users file are passed on to the authority, as the
// original product does: the CA's own account then decides. fullcmc wants a message signed by a voucher: a certificate
// with the purpose id-kp-cmcRA, from an anchor that serves for nothing else, and on the list of vouchers.
//
// # When it answers
//
// A client gives up after 8 to 10 seconds, a CA may need longer. So every enrolment is answered within
// Config.AnswerWithin (6 s): with the certificate, or with 202 and Retry-After while the engine goes on in the background.
// A client that breaks off stops nothing. The repeated request finds the same journal row, which is keyed by owner, label,
// subject and key, never by the bytes of the request: a retry carries another link value and so other bytes.
//
// Refusals of the CA are repeated from memory for Config.DenialMemory, so that a device that calls every few seconds does
// not make a new CA request each time, and for no longer, so that a correction at the CA takes effect without a restart
// of this server. Vouched requests are put to the CA each time: who vouches does not repeat a refused one by itself.
//
// # What it remembers of CMC
//
// Memory keeps every accepted full request: the same bytes again get the present state of the same row, the same nonce
// with other bytes is refused, a transaction stays with its request.
//
// An RA is safe for concurrent use.
package ra
