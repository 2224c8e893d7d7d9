// Package certfile reads certificates, certification requests, revocation lists and private keys, and writes them
// atomically. What a file is, its content tells and never its name: PEM, DER (also several objects in a row), base64
// without BEGIN and END lines, PKCS #7 in DER and BER, PKCS #12, OpenSSL's trusted certificates.
//
// Reading is forgiving in form and strict in content. Text around PEM blocks (also the "Bag Attributes" of openssl),
// every kind of line end, blank lines, a byte order mark, and UTF-16 (as Windows tools save text) are accepted. A damaged
// block is reported with its line, and the rest of the file is still read. A certificate, request or revocation list that
// crypto/x509 refuses although its outer structure is right remains in the Contents with its DER and the reason, for
// those who explain it; the error is returned as well, so that who needs certificates to work with does not overlook it.
//
//	contents, err := certfile.LoadWith("phone.p12", certfile.Options{Password: askPassword})
//
// Inputs over MaxBytes, MaxObjects, MaxObjectBytes or MaxKeyBytes are refused, and so are PKCS #12 files that ask for more
// than MaxIterations rounds of key derivation: reading takes bounded time and memory, whoever made the file.
//
// Passwords and keys are in no error and in no description. Pass phrases of PEM keys are not asked for: such keys are
// recognised and refused with the command that decrypts them. Nothing here checks a signature or trusts anything but the
// integrity check of PKCS #12, which is verified before anything in the file is used.
//
// Functions are safe for concurrent use. Failures are *Error with a stable code and a remedy.
package certfile
