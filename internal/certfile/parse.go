package certfile

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf16"
)

// Limits of what is read.
const (
	MaxBytes   = 1 << 20 // of a file
	MaxObjects = 10_000  // in a file
)

// Kind says what an Object is.
type Kind int

// The kinds of objects.
const (
	Certificate Kind = iota + 1 // Object.Certificate is set
	Request                     // Object.Request is set; its signature is not checked
	PrivateKey                  // Object.Key is set
	Other                       // a well-formed PEM block that this package does not read: a CRL, parameters, a public key
)

// String returns the kind in words.
func (k Kind) String() string {
	switch k {
	case Certificate:
		return "certificate"
	case Request:
		return "certificate request"
	case PrivateKey:
		return "private key"
	default:
		return "other object"
	}
}

// Object is one thing found in a file.
type Object struct {
	Kind        Kind
	Line        int    // line of the PEM block's first line, from 1; 0 for DER
	Label       string // PEM type: "CERTIFICATE"; empty for DER
	Certificate *x509.Certificate
	Request     *x509.CertificateRequest
	Key         crypto.Signer
}

// Contents is what a file holds, in the order of the file.
type Contents struct {
	Objects []Object
	PEM     bool // the file is PEM, not DER
}

// Certificates returns the certificates in the order of the file.
func (c *Contents) Certificates() []*x509.Certificate {
	var certs []*x509.Certificate
	for _, o := range c.Objects {
		if o.Certificate != nil {
			certs = append(certs, o.Certificate)
		}
	}
	return certs
}

// Requests returns the certification requests in the order of the file.
func (c *Contents) Requests() []*x509.CertificateRequest {
	var requests []*x509.CertificateRequest
	for _, o := range c.Objects {
		if o.Request != nil {
			requests = append(requests, o.Request)
		}
	}
	return requests
}

// Keys returns the private keys in the order of the file.
func (c *Contents) Keys() []crypto.Signer {
	var keys []crypto.Signer
	for _, o := range c.Objects {
		if o.Key != nil {
			keys = append(keys, o.Key)
		}
	}
	return keys
}

// Load reads the file at path and parses it as Parse does.
func Load(path string) (*Contents, error) {
	data, err := readFile(path)
	if err != nil {
		return &Contents{}, err
	}
	contents, err := Parse(data)
	return contents, withPath(err, path)
}

// Parse reads what data holds. The Contents are never nil: with an error, which is one *Error or several joined ones,
// they hold what could be read. Data without any object is an error.
func Parse(data []byte) (*Contents, error) {
	if len(data) > MaxBytes {
		return &Contents{}, tooLarge()
	}
	text := decodeText(data)
	if bytes.Contains(text, []byte(pemBegin)) {
		return parsePEM(text)
	}
	trimmed := bytes.TrimSpace(text)
	if len(trimmed) == 0 {
		return &Contents{}, &Error{
			ErrCode: CodeEmpty, Detail: "is empty",
			Fix: "name a file that holds a certificate, a request or a key in PEM or DER form",
		}
	}
	object, err := parseDER(data)
	if err != nil {
		return &Contents{}, err
	}
	return &Contents{Objects: []Object{object}}, nil
}

func tooLarge() *Error {
	return &Error{
		ErrCode: CodeTooLarge,
		Detail:  fmt.Sprintf("is larger than %d KiB or holds more than %d objects", MaxBytes>>10, MaxObjects),
		Fix:     "check that this is the file you mean; split a bundle of this size",
	}
}

// readFile reads a file within the limit.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path) //nolint:gosec // the user names the file
	if err != nil {
		return nil, openError(path, err)
	}
	defer f.Close() //nolint:errcheck // the file was only read
	data, err := io.ReadAll(io.LimitReader(f, MaxBytes+1))
	if err != nil {
		return nil, openError(path, err)
	}
	if len(data) > MaxBytes {
		return nil, withPath(tooLarge(), path)
	}
	return data, nil
}

// decodeText removes a byte order mark and turns UTF-16, which Windows editors write, into UTF-8. Other data is
// returned as it is.
func decodeText(data []byte) []byte {
	switch {
	case bytes.HasPrefix(data, []byte{0xEF, 0xBB, 0xBF}):
		return data[3:]
	case bytes.HasPrefix(data, []byte{0xFF, 0xFE}), bytes.HasPrefix(data, []byte{0xFE, 0xFF}):
		units := make([]uint16, 0, len(data)/2)
		for i := 2; i+1 < len(data); i += 2 {
			lo, hi := data[i], data[i+1]
			if data[0] == 0xFE {
				lo, hi = hi, lo
			}
			units = append(units, uint16(lo)|uint16(hi)<<8)
		}
		return []byte(string(utf16.Decode(units)))
	default:
		return data
	}
}

const (
	pemBegin = "-----BEGIN "
	pemEnd   = "-----END "
)

// parsePEM reads every block by itself: encoding/pem skips a damaged block without a word, and the user would wonder
// where a certificate went.
func parsePEM(text []byte) (*Contents, error) {
	contents := &Contents{PEM: true}
	var problems []error
	var block strings.Builder
	start, number := 0, 0
	fail := func(e *Error) {
		e.Line = start
		problems = append(problems, e)
	}
	for raw := range strings.SplitSeq(string(text), "\n") {
		number++
		line := strings.TrimSpace(raw)
		if strings.HasPrefix(line, pemBegin) {
			if start != 0 {
				fail(damaged("the PEM block has no END line", nil))
			}
			start = number
			block.Reset()
		}
		if start == 0 {
			continue
		}
		block.WriteString(line)
		block.WriteByte('\n')
		if !strings.HasPrefix(line, pemEnd) {
			continue
		}
		if len(contents.Objects)+len(problems) >= MaxObjects {
			return contents, tooLarge()
		}
		object, err := parseBlock([]byte(block.String()))
		if err != nil {
			fail(err)
		} else {
			object.Line = start
			contents.Objects = append(contents.Objects, object)
		}
		start = 0
	}
	if start != 0 {
		fail(damaged("the PEM block has no END line: the file is cut off", nil))
	}
	if len(contents.Objects) == 0 && len(problems) == 0 {
		return contents, damaged("has no complete PEM block", nil)
	}
	if len(problems) == 1 {
		return contents, problems[0]
	}
	return contents, errors.Join(problems...)
}

func parseBlock(text []byte) (Object, *Error) {
	block, rest := pem.Decode(text)
	if block == nil || len(bytes.TrimSpace(rest)) > 0 {
		return Object{}, damaged("the PEM block does not decode: its base64 text or its END line is damaged", nil)
	}
	object := Object{Label: block.Type}
	var err error
	switch block.Type {
	case "CERTIFICATE", "X509 CERTIFICATE", "X.509 CERTIFICATE":
		object.Kind = Certificate
		object.Certificate, err = x509.ParseCertificate(block.Bytes)
	case "CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST":
		object.Kind = Request
		object.Request, err = x509.ParseCertificateRequest(block.Bytes)
	case "PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY":
		if block.Headers["DEK-Info"] != "" {
			return Object{}, encryptedKey()
		}
		var problem *Error
		object.Kind = PrivateKey
		if object.Key, problem = parseKey(block.Bytes); problem != nil {
			return Object{}, problem
		}
	case "ENCRYPTED PRIVATE KEY":
		return Object{}, encryptedKey()
	case "TRUSTED CERTIFICATE":
		return Object{}, &Error{
			ErrCode: CodeUnsupported, Detail: "is in OpenSSL's own TRUSTED CERTIFICATE form",
			Fix: "convert it: openssl x509 -in FILE -out certificate.pem",
		}
	case "PKCS7", "CMS":
		return Object{}, pkcs7()
	default:
		object.Kind = Other
	}
	if err != nil {
		return Object{}, damaged("the "+object.Kind.String()+" does not parse", err)
	}
	return object, nil
}

// parseDER finds out what a DER structure is by trying: the structures have no tag that would tell them apart.
func parseDER(der []byte) (Object, *Error) {
	cert, certErr := x509.ParseCertificate(der)
	if certErr == nil {
		return Object{Kind: Certificate, Certificate: cert}, nil
	}
	if request, err := x509.ParseCertificateRequest(der); err == nil {
		return Object{Kind: Request, Request: request}, nil
	}
	key, keyErr := parseKey(der)
	if keyErr == nil {
		return Object{Kind: PrivateKey, Key: key}, nil
	}
	switch {
	case keyErr.ErrCode == CodeWeakKey:
		return Object{}, keyErr
	case looksLike(der, oidSignedData):
		return Object{}, pkcs7()
	case looksLikePKCS12(der):
		return Object{}, &Error{
			ErrCode: CodeUnsupported, Detail: "is a PKCS #12 file",
			Fix: "convert it: openssl pkcs12 -in FILE -nodes -out certificate-and-key.pem",
		}
	case looksLikeEncryptedKey(der):
		return Object{}, encryptedKey()
	case der[0] == 0x30:
		return Object{}, damaged("is DER, but no certificate, request or key", certErr)
	default:
		return Object{}, damaged("is neither PEM nor DER", nil)
	}
}

func damaged(detail string, err error) *Error {
	return &Error{
		ErrCode: CodeDamaged, Detail: detail, Err: err,
		Fix: "export or copy it again, whole, from the lines -----BEGIN to -----END (PEM) or as binary (DER)",
	}
}

func encryptedKey() *Error {
	return &Error{
		ErrCode: CodeUnsupported, Detail: "the private key is encrypted with a pass phrase",
		Fix: "decrypt it into a file of mode 0600: openssl pkey -in FILE -out key.pem",
	}
}

func pkcs7() *Error {
	return &Error{
		ErrCode: CodeUnsupported, Detail: "is a PKCS #7 bundle",
		Fix: "convert it: openssl pkcs7 -print_certs -in FILE -out certificates.pem (with -inform DER for a binary file)",
	}
}
