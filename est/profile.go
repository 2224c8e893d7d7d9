package est

// Profile is how requests with one label are served. The zero value offers simpleenroll and simplereenroll to whoever the
// Backend lets in, compares no links, and names no attributes.
type Profile struct {
	Lines LineForm  // how base64 is laid out in answers
	CSR   CSRPolicy // what a PKCS#10 must satisfy beyond its form
	Link  LinkMode  // whether requests must be linked to their TLS connection
	// Attributes is the answer to csrattrs: a DER CsrAttrs (RFC 8951 section 4); empty answers 204. The Handler adds
	// challengePassword by itself where Link is LinkRequired and the connection can carry a link.
	Attributes []byte
	// ChangeSubject allows requests to ask for other names by the attribute id-cmc-changeSubjectName (RFC 6402 section 2.8).
	ChangeSubject bool
	// KeyGeneration offers serverkeygen; KeysOff, the zero value, answers 501.
	KeyGeneration KeyGeneration
}

// LinkMode says what is done about the link between a request and its TLS connection (RFC 7030 section 3.5): tls-unique on
// TLS 1.2, tls-exporter (RFC 9266) where that is missing, in the attribute challengePassword or estIdentityLinking.
type LinkMode int

// The link modes.
const (
	// LinkOff compares nothing: a challengePassword may be a secret meant for the CA, and requests are relayed. The zero value.
	LinkOff LinkMode = iota
	// LinkOptional compares a link that is there, as the RFC demands, and takes requests without one.
	LinkOptional
	// LinkRequired takes only requests with a right link, on connections that can carry one.
	LinkRequired
)

// KeyGeneration says how serverkeygen is offered (RFC 7030 section 4.4).
type KeyGeneration int

// The forms of key generation.
const (
	KeysOff       KeyGeneration = iota // not offered: 501
	KeysInClear                        // the key is sent within TLS alone, or encrypted when the client asks for it
	KeysEncrypted                      // only to clients that ask for encryption
)
