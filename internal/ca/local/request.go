package local

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"callsign/internal/ca"
	"callsign/internal/certfile"
)

// Files are where a local CA is kept.
type Files struct {
	Certificate string
	Key         string
	Chain       string // the CAs above; empty: they follow the CA's certificate in its file
}

// NextKey is the file with the key of a CA certificate that was asked for and is not installed yet.
func (f Files) NextKey() string { return f.Key + ".next" }

// apart looks that each file is one of its own: each is replaced as a whole. Errors are *ca.Error (CodeCARequest).
func (f Files) apart() error {
	var detail, fix string
	switch {
	case sameFile(f.Key, f.Certificate):
		detail = "the CA's certificate and its key are in one file, " + f.Key
		fix = "copy the key into a file of its own (mode 0600) and set ca.key_file to that"
	case f.Chain != "" && sameFile(f.Chain, f.Certificate):
		detail = "ca.chain_file and ca.certificate_file are one file, " + f.Chain
		fix = "leave ca.chain_file out: the CAs above are looked for behind the certificate then"
	case f.Chain != "" && sameFile(f.Chain, f.Key):
		detail = "ca.chain_file and ca.key_file are one file, " + f.Key
		fix = "set ca.chain_file to the file with the certificates of the CAs above"
	default:
		return nil
	}
	return &ca.Error{ErrCode: CodeCARequest, Detail: detail + ", and a new certificate would take the place of all that is in it", Fix: fix}
}

// sameFile tells whether two names are of one file, which need not exist.
func sameFile(a, b string) bool {
	if filepath.Clean(a) == filepath.Clean(b) {
		return true
	}
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}

// Present returns the CA's certificate and those above it; nothing, and no error, when there is none yet.
func (f Files) Present() (cert *x509.Certificate, above []*x509.Certificate, err error) {
	pair, err := certfile.LoadKeyPair(f.Certificate, f.Key)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil, nil
	case err != nil:
		return nil, nil, err
	}
	above = pair.Chain[1:]
	if f.Chain != "" {
		above, err = certfile.LoadCertificates(f.Chain)
		if errors.Is(err, fs.ErrNotExist) {
			above, err = nil, nil
		}
	}
	return pair.Leaf(), above, err
}

// RequestOptions say what certificate a CA asks for.
type RequestOptions struct {
	Subject []byte  // DER Name; empty: that of the present certificate
	Key     KeyKind // of a new key; empty: as the present one, or RSA 2048
	// SameKey asks for a certificate for the present key instead of making one.
	SameKey bool
	// Replace makes a new key although one waits for its certificate already.
	Replace bool
}

// Request is a CA's request for its own certificate.
type Request struct {
	DER     []byte // PKCS#10, signed by the key
	Subject string // in the form of RFC 4514
	KeyFile string // where its key is
	Kind    KeyKind
	Made    bool // the key was made for this request; otherwise it was there
}

// Request makes the request for a subordinate CA certificate: basic constraints CA:TRUE with path length 0, key usage
// digitalSignature, keyCertSign and cRLSign, and the subject key identifier. A new key is written to [Files.NextKey], mode 0600; one that waits there
// already is used again unless o.Replace is set. Errors are *ca.Error (CodeCARequest) and those of certfile.
func (f Files) Request(o RequestOptions) (*Request, error) {
	if err := f.apart(); err != nil {
		return nil, err
	}
	present, _, err := f.Present()
	if err != nil {
		return nil, err
	}
	subject := o.Subject
	if len(subject) == 0 {
		if present == nil {
			return nil, &ca.Error{
				ErrCode: CodeCARequest, Detail: f.Certificate + " holds no CA certificate yet whose subject could be asked for again",
				Fix: `name the subject: callsign capf ca csr --subject "CN=Phones CA,O=Example"`,
			}
		}
		subject = present.RawSubject
	}
	if refused := checkSubject(subject); refused != nil {
		return nil, refused
	}
	r := &Request{KeyFile: f.NextKey()}
	var signer crypto.Signer
	if o.SameKey {
		r.KeyFile = f.Key
		signer, err = certfile.LoadKey(f.Key)
	} else {
		signer, r.Made, err = f.nextKey(o, present)
	}
	if err != nil {
		return nil, err
	}
	r.Kind = kindOf(signer.Public())
	if r.DER, err = signRequest(signer, subject); err != nil {
		return nil, err
	}
	csr, err := x509.ParseCertificateRequest(r.DER)
	if err != nil {
		return nil, fmt.Errorf("read own request: %w", err)
	}
	r.Subject = csr.Subject.String()
	return r, nil
}

// nextKey loads the key that waits for its certificate, or makes one.
func (f Files) nextKey(o RequestOptions, present *x509.Certificate) (key crypto.Signer, made bool, err error) {
	path := f.NextKey()
	if !o.Replace {
		key, err := certfile.LoadKey(path)
		switch {
		case err == nil:
			if have := kindOf(key.Public()); o.Key != "" && have != o.Key {
				return nil, false, &ca.Error{
					ErrCode: CodeCARequest, Detail: fmt.Sprintf("%s holds a key of kind %s that waits for its certificate, and one of kind %s is asked for", path, have, o.Key),
					Fix: "leave --key out to ask for a certificate for that key, or replace it with --force; a certificate that the CA issues for the old key is of no use then",
				}
			}
			return key, false, nil
		case !errors.Is(err, fs.ErrNotExist):
			return nil, false, err
		}
	}
	kind := o.Key
	if kind == "" {
		kind = RSA2048
		if present != nil {
			kind = kindOf(present.PublicKey)
		}
	}
	if key, err = GenerateKey(rand.Reader, kind); err != nil {
		return nil, false, err
	}
	return key, true, certfile.WriteKey(path, key)
}

// kindOf names a key; empty for one that GenerateKey does not make.
func kindOf(pub crypto.PublicKey) KeyKind {
	kind := KeyKind("")
	switch k := pub.(type) {
	case *rsa.PublicKey:
		kind = KeyKind(fmt.Sprintf("rsa:%d", k.N.BitLen()))
	case *ecdsa.PublicKey:
		kind = KeyKind(fmt.Sprintf("ec:%d", k.Params().BitSize))
	}
	if !slices.Contains([]KeyKind{RSA2048, RSA3072, RSA4096, P256, P384, P521}, kind) {
		return ""
	}
	return kind
}

// signRequest makes the PKCS#10.
func signRequest(signer crypto.Signer, subject []byte) ([]byte, error) {
	alg, err := signatureAlgorithm(signer.Public())
	if err != nil {
		return nil, err
	}
	spki, err := x509.MarshalPKIXPublicKey(signer.Public())
	if err != nil {
		return nil, fmt.Errorf("encode public key: %w", err)
	}
	id, err := KeyIdentifier(spki)
	if err != nil {
		return nil, err
	}
	ski, err := asn1.Marshal(id)
	if err != nil {
		return nil, fmt.Errorf("encode key identifier: %w", err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		RawSubject: subject, SignatureAlgorithm: alg,
		ExtraExtensions: []pkix.Extension{
			{Id: oidBasicConstraints, Critical: true, Value: []byte{0x30, 6, 0x01, 1, 0xff, 0x02, 1, 0}}, // CA:TRUE, pathlen:0
			{Id: oidKeyUsage, Critical: true, Value: []byte{0x03, 2, 1, 0x86}},                           // digitalSignature, keyCertSign, cRLSign
			{Id: oidSubjectKeyID, Value: ski},
		},
	}, signer)
	if err != nil {
		return nil, fmt.Errorf("sign request: %w", err)
	}
	return der, nil
}

// attributes are the parts of a name that ParseSubject knows.
var attributes = map[string]asn1.ObjectIdentifier{
	"CN": {2, 5, 4, 3}, "C": {2, 5, 4, 6}, "L": {2, 5, 4, 7}, "ST": {2, 5, 4, 8}, "O": {2, 5, 4, 10}, "OU": {2, 5, 4, 11},
	"DC": {0, 9, 2342, 19200300, 100, 1, 25},
}

// ParseSubject reads a name such as "CN=Phones CA,O=Example,C=DE" and returns its DER: RFC 4514 with the attributes CN, O, OU, L, ST, C
// and DC, one in each part, a backslash before a character that is meant as itself, and blanks around the parts left out. The first part becomes
// the last one of the DER, as the RFC has it.
func ParseSubject(s string) ([]byte, error) {
	var rdns pkix.RDNSequence
	for _, part := range splitName(s) {
		key, value, ok := strings.Cut(part, "=")
		key = strings.ToUpper(strings.TrimSpace(key))
		id, known := attributes[key]
		value, err := unescape(value)
		switch {
		case !ok || !known:
			return nil, fmt.Errorf("subject %q: part %q is none of CN=, O=, OU=, L=, ST=, C= and DC=", s, part)
		case err != nil:
			return nil, fmt.Errorf("subject %q: %w", s, err)
		case value == "" || len(value) > 200:
			return nil, fmt.Errorf("subject %q: %s is empty or longer than 200 bytes", s, key)
		case !utf8.ValidString(value) || strings.ContainsFunc(value, unicode.IsControl):
			return nil, fmt.Errorf("subject %q: %s has characters that are no text", s, key)
		case key == "DC" && !printable([]byte(value)):
			return nil, fmt.Errorf("subject %q: DC has characters outside ASCII", s)
		case key == "C" && len(value) != 2:
			return nil, fmt.Errorf("subject %q: C is a country of two letters", s)
		}
		attribute := pkix.AttributeTypeAndValue{Type: id, Value: value}
		if key == "DC" {
			attribute.Value = asn1.RawValue{Tag: asn1.TagIA5String, Bytes: []byte(value)}
		}
		rdns = append(rdns, pkix.RelativeDistinguishedNameSET{attribute})
	}
	slices.Reverse(rdns)
	der, err := asn1.Marshal(rdns)
	if err != nil {
		return nil, fmt.Errorf("subject %q: %w", s, err)
	}
	return der, nil
}

// splitName cuts at commas without a backslash before them.
func splitName(s string) []string {
	var parts []string
	begin := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case ',':
			parts = append(parts, s[begin:i])
			begin = i + 1
		}
	}
	return append(parts, s[begin:])
}

func unescape(s string) (string, error) {
	s = strings.TrimSpace(s)
	if !strings.Contains(s, `\`) {
		return s, nil
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' {
			if i++; i == len(s) {
				return "", errors.New("ends in a backslash")
			}
		}
		b.WriteByte(s[i])
	}
	return b.String(), nil
}

// exists tells whether there is a file of this name.
func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
