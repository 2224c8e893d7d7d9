package upload

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"

	"callsign/chain"
	"callsign/internal/certfile"
)

// What a file may hold.
const (
	MaxBytes        = 1 << 20
	MaxCertificates = 50
)

// File is what was uploaded. Private keys are in none of its fields.
type File struct {
	// Certificates are those in the file, each once, in their order; empty when the file is refused as it is.
	Certificates []*chain.Certificate

	reason *Reason
}

// ReadFrom reads a file. It takes at most MaxBytes and one byte from r, and returns r's error only.
func ReadFrom(r io.Reader) (*File, error) {
	data, err := io.ReadAll(io.LimitReader(r, MaxBytes+1))
	if err != nil {
		return nil, err
	}
	f := Read(data)
	clear(data) // it may hold a private key
	return f, nil
}

// Read reads what was uploaded: PEM, DER, base64 of DER or PKCS #7, with what editors and mail clients do to text (checks 1 to 4).
func Read(data []byte) *File {
	if len(data) > MaxBytes {
		return refused(1, TooLarge, "The file is larger than 1 MiB").
			fixed("leave the certificate and its CA certificates in the file; a bundle of public CAs is not needed")
	}
	contents, err := certfile.ParseWith(data, certfile.Options{CertificatesOnly: true})
	if contents.PKCS12 {
		return invalid("the file is PKCS #12, which is made to carry private keys",
			"take the certificates out of it, without the key: openssl pkcs12 -in FILE -nokeys -out certificates.pem")
	}
	has := func(k certfile.Kind) bool {
		return slices.ContainsFunc(contents.Objects, func(o certfile.Object) bool { return o.Kind == k })
	}
	// The text is looked at as well: a key that is cut off is still a key that somebody sent.
	if has(certfile.PrivateKey) || namesKey(data) {
		return refused(2, PrivateKeyInFile, "The file contains a private key; upload the certificate only").
			caused("the file was made for a web server, with certificate and key together").
			fixed("remove the key from the file; it was neither stored nor logged",
				"a key that others may have read should be replaced: make a new request")
	}
	certificates := contents.Certificates()
	if has(certfile.Request) && !has(certfile.Certificate) {
		return refused(3, IsRequest, "The file is a certificate signing request, not a certificate").
			fixed("have the request signed by the CA, and upload the certificate that it returns")
	}
	switch {
	case err != nil:
		return invalid(words(err), "get the file from the CA again, as Base-64 (PEM), DER or PKCS #7; look at it with: callsign cert inspect FILE")
	case len(certificates) == 0:
		return invalid("there is no certificate in the file", "upload the certificate that the CA returned; look at the file with: callsign cert inspect FILE")
	}
	f := new(File)
	for _, x := range certificates {
		if x.Version != 1 && x.Version != 3 {
			return invalid(fmt.Sprintf("the certificate %s has version %d", x.Subject, x.Version), "have the certificate issued again, as version 3")
		}
		c := chain.Of(x)
		if !slices.ContainsFunc(f.Certificates, func(o *chain.Certificate) bool { return o.SHA256() == c.SHA256() }) {
			f.Certificates = append(f.Certificates, c)
		}
		if len(f.Certificates) > MaxCertificates {
			return refused(1, TooLarge, fmt.Sprintf("The file holds more than %d certificates", MaxCertificates)).
				fixed("leave the certificate and its CA certificates in the file; a bundle of public CAs is not needed")
		}
	}
	return f
}

// beginning is the first line of a block as it is written by hand, by other tools, and after what editors do to it.
var beginning = regexp.MustCompile(`(?i)-{2,} ?BEGIN [^\r\n]{0,64}`)

// namesKey reports whether a line in a text begins a key that is not a public one.
func namesKey(data []byte) bool {
	text := bytes.ReplaceAll(data, []byte{0}, nil) // UTF-16 as well
	defer clear(text)
	return slices.ContainsFunc(beginning.FindAll(text, -1), func(line []byte) bool {
		line = bytes.ToUpper(line)
		return bytes.Contains(line, []byte("KEY")) && !bytes.Contains(line, []byte("PUBLIC"))
	})
}

// words is an error of certfile without what is said elsewhere.
func words(err error) string {
	if e, ok := errors.AsType[*certfile.Error](err); ok {
		if e.Line > 0 {
			return fmt.Sprintf("line %d: %s", e.Line, e.Detail)
		}
		return "the file " + e.Detail
	}
	return err.Error()
}

func invalid(cause, fix string) *File {
	return refused(4, InvalidFile, "Invalid certificate file provided").caused(cause).fixed(fix)
}

func refused(check int, c Code, message string) *File {
	return &File{reason: &Reason{Check: check, Code: c, Message: message}}
}

func (f *File) caused(texts ...string) *File {
	f.reason.cause(texts...)
	return f
}

func (f *File) fixed(texts ...string) *File {
	f.reason.fix(texts...)
	return f
}
