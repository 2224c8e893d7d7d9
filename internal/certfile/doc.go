// Package certfile reads certificates, certification requests and private keys from PEM and DER files, telling them
// apart by content and not by file name, and writes them atomically.
//
// Reading is forgiving in form and strict in content: text around PEM blocks, CRLF, blank lines, a byte order mark and
// UTF-16 (as Windows tools save text) are all accepted; a damaged block is reported with its line, and the rest of the
// file is still read. Inputs over 1 MiB or with more than 10,000 objects are refused. PKCS #7 and PKCS #12 are
// recognised and refused with the command that converts them.
//
// Functions are safe for concurrent use. Failures are *Error with a stable code and a remedy.
package certfile
