// Package adcs is the authority "adcs": a Microsoft enterprise CA behind AD CS Web Enrollment (package certsrv).
//
// # What is sent
//
// A PKCS#10 that is really signed goes as it is; for templates that demand an RA signature Config.SignRequests wraps it into
// a CMC request or a PKCS #7 message that an enrollment agent signs. A bare key goes as a CMC request around a PKCS#10 in
// Microsoft's null form, signed by the agent (cmc.Shape says in which shape). Requests on behalf of an account
// (Config.OnBehalf, SignPKCS7) name it: AD CS then builds the subject from the directory. Config.Account makes the name of
// the request's common name, which only those may choose who may have the certificate of that account.
//
// Which of these a real server takes is documented by Microsoft and was not tried by us, and this package never changes from
// one to another by itself; a subordinate CA that signs locally needs none of this and is what we recommend.
//
// # Exactly once
//
// Right before the POST the journal gets the highest request id seen from this CA and the hash of the key; the request's
// own id as soon as the answer names it. When the answer is lost the CA may have issued, and web enrollment cannot
// search; so the next attempt fetches the ids that followed, one by one, until it meets a certificate with our key, or
// Config.Missing ids in a row do not exist, or Config.Tried ids were looked at (ids that this product itself recorded
// meanwhile do not count). A pending request cannot be told from a stranger's: such ids are noted and looked at again, in
// Config.Looks attempts, before anything is posted anew. Only then the request is posted again and marked as resubmitted.
//
// Where that is not enough it is at-least-once, and the record says "resubmitted": the very first request to a CA whose
// ids are far above 64, because no id has been seen yet; a lost answer of a request that stays pending for longer than
// the looks take; a CA that more than 64 foreign requests reached meanwhile.
//
// # Whose account
//
// An account can only read what it requested. A request that came with credentials of the client (ca.Request.Login) is
// therefore sent with these and its account is noted, without the password. Without the same account nothing more is asked
// or sent: the request rests with ca.CodeLoginNeeded until a call brings the credentials again. What our own account sent
// it also asks for, whoever calls. Should the process die before the first note, our own account begins.
//
// # Failures
//
// Errors are *ca.Error with the codes of certsrv ("certsrv.timeout"), which are inside (errors.As to *certsrv.Problem),
// or "adcs.*" for what is decided here. After a refused login of the own account nothing is sent for Config.LoginPause:
// a thousand phones with one wrong password would lock the account.
//
// An Authority is safe for concurrent use.
package adcs
