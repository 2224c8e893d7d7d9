// Package ra is the registration authority behind EST: it decides who may ask, what may be asked for, hands the request
// to the enrolment engine and turns the engine's answer into EST's and CMC's.
//
// # Labels
//
// A Label is a whole profile: which authority issues, who may authenticate and how, which clients may enrol (Clients, by the
// name that ClientName finds), what may be asked for (Rules), how often (Rate), and whether an administrator has to say yes first
// (Approval). The authority looks its template or validity up by the label that each request carries.
//
// # Who may ask
//
// simpleenroll and serverkeygen want a TLS client certificate from one of the label's client CAs, or a user name and password from its
// users file, or both. With CALogin credentials that are not in the users file are passed on to the authority, as the original
// product does: the CA's own account then decides. simplereenroll wants the certificate that is renewed, issued by the CA of the
// label in one of its certificates, old or new. Registrars of a label may send the requests of others. fullcmc wants a message
// signed by a voucher: a certificate with the purpose id-kp-cmcRA, from an anchor that serves for nothing else, and on the
// list of vouchers.
//
// The owner of a row is "est:LABEL/" and the user name, "cert:HASH/NAME" with a hash of the CA's key, or "voucher:SUBJECT". It
// is part of what makes two requests the same one, so equal names that two CAs have given are two owners.
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
// of this server. Vouched requests are put to the CA each time: who vouches does not repeat a refused one by itself. What an
// administrator of ours has denied stays denied until he lifts it.
//
// # What it remembers of CMC
//
// Memory keeps every accepted full request: the same bytes again get the present state of the same row, the same nonce
// with other bytes is refused, a transaction stays with its request.
//
// An RA is safe for concurrent use.
package ra
