package certfile

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"

	"callsign/internal/secret"
)

// Limits of what is read.
const (
	MaxBytes       = 16 << 20  // of a file: 10,000 certificates with EC keys are about 7 MB of PEM
	MaxObjects     = 10_000    // in a file
	MaxObjectBytes = 256 << 10 // DER of a certificate or request; revocation lists are bound by MaxBytes only
	MaxKeyBytes    = 16 << 10  // DER of a private key: RSA 16384 has 9 KiB, and checking a key takes the square of its size
	MaxIterations  = 1_000_000 // of one key derivation of PKCS #12
)

// Options say how a file is read. The zero value reads everything that needs no password.
type Options struct {
	// Password returns the password of PKCS #12 files. It is called at most once, and only when the empty password does not
	// open the file; nil means that nobody knows one (certfile.password-needed). Its error is returned as it is.
	Password func() (secret.String, error)

	// CertificatesOnly passes over private keys: they become Objects without Key, encrypted or not, and a damaged one is no
	// error.
	CertificatesOnly bool
}

// Load reads the file at path and parses it as Parse does.
func Load(path string) (*Contents, error) { return LoadWith(path, Options{}) }

// LoadWith reads the file at path and parses it as ParseWith does.
func LoadWith(path string, o Options) (*Contents, error) {
	f, err := os.Open(path) //nolint:gosec // the user names the file
	if err != nil {
		return &Contents{}, openError(path, err)
	}
	defer f.Close() //nolint:errcheck // the file was only read
	return Read(f, path, o)
}

// ReadPrefix returns at most the first bytes of a file, so that its caller can tell one that is too large. Its errors are *Error.
func ReadPrefix(path string, most int64) ([]byte, error) {
	f, err := os.Open(path) //nolint:gosec // the user names the file
	if err != nil {
		return nil, openError(path, err)
	}
	defer f.Close() //nolint:errcheck // the file was only read
	data, err := io.ReadAll(io.LimitReader(f, most))
	if err != nil {
		clear(data)
		return nil, openError(path, err)
	}
	return data, nil
}

// Read parses what r holds as ParseWith does, and never takes more than MaxBytes and one byte from it. The name ("stdin", a
// path) stands in the errors.
func Read(r io.Reader, name string, o Options) (*Contents, error) {
	data, err := io.ReadAll(io.LimitReader(r, MaxBytes+1))
	if err != nil {
		return &Contents{}, openError(name, err)
	}
	contents, err := ParseWith(data, o)
	return contents, withPath(err, name)
}

// Parse is ParseWith without options.
func Parse(data []byte) (*Contents, error) { return ParseWith(data, Options{}) }

// ParseWith reads what data holds. The Contents are never nil: with an error, which is one *Error or several joined ones,
// they hold what could be read. Data without any object is an error. The Contents do not share memory with data.
func ParseWith(data []byte, o Options) (*Contents, error) {
	p := &parser{options: o}
	if len(data) > MaxBytes {
		p.fail(place{}, tooManyBytes())
		return p.result()
	}
	text := decodeText(data)
	switch {
	case len(bytes.TrimSpace(text)) == 0:
		p.fail(place{}, &Error{
			ErrCode: CodeEmpty, Detail: "is empty",
			Fix: "name a file that holds a certificate, a request or a key in PEM or DER form",
		})
	case bytes.Contains(text, []byte(pemBegin)):
		p.pem(text)
	default:
		der, ok := bareBase64(text)
		if !ok {
			der = bytes.Clone(data)
		}
		p.stream(der)
	}
	return p.result()
}

// parser collects what a file holds and what is wrong with it.
type parser struct {
	options    Options
	contents   Contents
	problems   []error
	full       bool // there are more than MaxObjects: nothing is added any more
	iterations int  // of all key derivations so far
	password   *answer
}

// answer is what Options.Password returned.
type answer struct {
	secret secret.String
	err    error
}

// place is where an object stands.
type place struct {
	line  int
	label string
	name  string // of the object in a bundle: "certificate 3 of the bundle"; empty elsewhere
}

// the returns the object's name for the beginning of a sentence.
func (at place) the(kind Kind) string {
	if at.name != "" {
		return at.name
	}
	return "the " + kind.String()
}

// result returns what was collected.
func (p *parser) result() (*Contents, error) {
	switch {
	case p.full:
		// Thousands of other problems would hide it.
		return &p.contents, tooManyObjects()
	case len(p.problems) == 0:
		return &p.contents, nil
	case len(p.problems) == 1:
		return &p.contents, p.problems[0]
	default:
		return &p.contents, errors.Join(p.problems...)
	}
}

// fail notes what is wrong at a place.
func (p *parser) fail(at place, e *Error) {
	if len(p.problems) >= MaxObjects {
		p.full = true
		return
	}
	e.Line = at.line
	p.problems = append(p.problems, e)
}

// add puts an object at its place. An Err of it becomes a problem of the file as well.
func (p *parser) add(at place, o Object) {
	if len(p.contents.Objects) >= MaxObjects {
		p.full = true
		return
	}
	o.Line, o.Label = at.line, at.label
	if o.Err != nil {
		p.fail(at, o.Err)
	}
	p.contents.Objects = append(p.contents.Objects, o)
}

// take adds the object of a known kind that der should be.
func (p *parser) take(at place, kind Kind, der []byte) {
	if kind == PrivateKey {
		p.key(at, der)
		return
	}
	if kind != RevocationList && len(der) > MaxObjectBytes {
		p.fail(at, tooLargeObject(at.the(kind), len(der), MaxObjectBytes))
		return
	}
	o := Object{Kind: kind, Raw: der}
	var err error
	switch kind {
	case Certificate:
		o.Certificate, err = x509.ParseCertificate(der)
	case Request:
		o.Request, err = x509.ParseCertificateRequest(der)
	case RevocationList:
		o.RevocationList, err = parseRevocationList(der)
	}
	if err == nil {
		p.add(at, o)
		return
	}
	problem := damaged(at.the(kind)+" does not parse", err)
	found := kindOf(der)
	switch {
	case found != 0 && found != kind && at.name != "":
		p.fail(at, damaged(fmt.Sprintf("%s is a %s", at.name, found), nil))
	case found != 0 && found != kind:
		p.fail(at, damaged(fmt.Sprintf("the block is labelled %s but holds a %s", at.label, found), nil))
	case !isSigned(der):
		p.fail(at, problem)
	default:
		o.Err = problem
		p.add(at, o)
	}
}

// parseRevocationList is x509.ParseRevocationList that refuses octets after the list, as the other parsers do.
func parseRevocationList(der []byte) (*x509.RevocationList, error) {
	list, err := x509.ParseRevocationList(der)
	if err == nil && len(list.Raw) != len(der) {
		return nil, errors.New("x509: trailing data")
	}
	return list, err
}

// key adds the private key in der.
func (p *parser) key(at place, der []byte) {
	if p.options.CertificatesOnly {
		p.add(at, Object{Kind: PrivateKey})
		return
	}
	if len(der) > MaxKeyBytes {
		p.fail(at, tooLargeObject(at.the(PrivateKey), len(der), MaxKeyBytes))
		return
	}
	key, problem := parseKey(der)
	p.addKey(at, key, problem)
}

// addKey adds a key that was read, or notes why it was not.
func (p *parser) addKey(at place, key crypto.Signer, problem *Error) {
	switch {
	case problem != nil:
		p.fail(at, problem)
	case p.options.CertificatesOnly:
		p.add(at, Object{Kind: PrivateKey})
	default:
		p.add(at, Object{Kind: PrivateKey, Key: key})
	}
}

// encryptedKey adds a key that only a pass phrase opens.
func (p *parser) encryptedKey(at place) {
	o := Object{Kind: PrivateKey}
	if !p.options.CertificatesOnly {
		o.Err = encryptedKey()
	}
	p.add(at, o)
}
