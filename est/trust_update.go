package est

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// TrustChange is what a client may believe after it has asked for the CA certificates again (RFC 7030 section 4.1.3).
type TrustChange struct {
	// Anchors are those that were held, in their order, and behind them the new roots that follow from them.
	Anchors []*x509.Certificate
	// New are the new roots among the Anchors.
	New []*x509.Certificate
	// Intermediates are the received certificates from which paths can be built, each verified up to an anchor. Among them are
	// those that join an old root with a new one.
	Intermediates []*x509.Certificate
	// Refused are the received certificates that nobody may use, each a *TrustError that says why.
	Refused []*TrustError
}

// TrustError is why a received CA certificate is not believed.
type TrustError struct {
	ErrCode     string            // CodeTrustUpdate or CodeFingerprint
	Certificate *x509.Certificate // nil when it is about all of them
	Detail      string
	Fix         string // what to do
	Err         error  // cause; may be nil
}

// Error implements error.
func (e *TrustError) Error() string {
	s := e.Detail
	if e.Certificate != nil {
		s = fmt.Sprintf("CA certificate %q: %s", clip(e.Certificate.Subject.String(), 120), s)
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *TrustError) Unwrap() error { return e.Err }

// Code returns ErrCode.
func (e *TrustError) Code() string { return e.ErrCode }

// Remedy returns what to do.
func (e *TrustError) Remedy() string { return e.Fix }

// confirmNew is what to do about a root that follows from nothing.
const confirmNew = "ask the CA's administrator for the fingerprint of the new root and begin with it anew, or let the server send NewWithOld, the new key signed by the old one (RFC 4210 section 4.4)"

// TrustUpdate tells what follows from the anchors that a client holds when it receives CA certificates. That a certificate is
// self-signed makes it no anchor. A new root becomes one only through NewWithOld (RFC 4210 section 4.4): a CA certificate for the
// same name and the same new key that a held anchor of that name has signed, and that is valid now. So a CA below an anchor never
// becomes a root. Every other certificate has to verify up to an anchor. When nothing of what was received does, the error is a
// *TrustError, and the result tells why.
func TrustUpdate(held, received []*x509.Certificate, now time.Time) (*TrustChange, error) {
	t := &TrustChange{Anchors: slices.Clone(held)}
	var candidates []*x509.Certificate // self-signed, and not held
	var others []*x509.Certificate
	known := 0
	for i, c := range received {
		switch {
		case contains(held, c):
			known++
		case contains(received[:i], c):
		case SelfSigned(c):
			candidates = append(candidates, c)
		default:
			others = append(others, c)
		}
	}
	// One new root may lead to the next.
	for found := true; found; {
		found = false
		candidates = slices.DeleteFunc(candidates, func(c *x509.Certificate) bool {
			if t.follows(c, others, now) != nil {
				return false
			}
			t.Anchors, t.New, found = append(t.Anchors, c), append(t.New, c), true
			return true
		})
	}
	for _, c := range candidates {
		t.refuse(c, confirmNew, t.follows(c, others, now))
	}
	for _, c := range others {
		if err := t.verify(c, others, now); err != nil {
			t.refuse(c, "look at the EST server: its cacerts hold certificates that do not belong to its CA", err)
			continue
		}
		t.Intermediates = append(t.Intermediates, c)
	}
	if known+len(t.New)+len(t.Intermediates) > 0 {
		return t, nil
	}
	e := &TrustError{
		ErrCode: CodeTrustUpdate, Fix: confirmNew,
		Detail: fmt.Sprintf("none of the %d received CA certificates follows from the %d trust anchors held", len(received), len(held)),
	}
	if len(t.Refused) > 0 {
		e.Err = t.Refused[0]
	}
	return t, e
}

// follows returns nil when a new root may be believed.
func (t *TrustChange) follows(root *x509.Certificate, received []*x509.Certificate, now time.Time) error {
	switch {
	case !isCA(root):
		return errors.New("it is no CA certificate")
	case now.Before(root.NotBefore) || now.After(root.NotAfter):
		return fmt.Errorf("it is valid from %s to %s", root.NotBefore.Format(time.DateOnly), root.NotAfter.Format(time.DateOnly))
	}
	var why error
	for _, joins := range received {
		if !bytes.Equal(joins.RawSubject, root.RawSubject) || !bytes.Equal(joins.RawIssuer, root.RawSubject) ||
			!bytes.Equal(joins.RawSubjectPublicKeyInfo, root.RawSubjectPublicKeyInfo) {
			continue
		}
		if why = t.verify(joins, nil, now); why == nil {
			return nil
		}
		why = fmt.Errorf("its NewWithOld does not verify: %w", why)
	}
	if why == nil {
		why = errors.New("it is a root that nothing joins with a trust anchor held")
	}
	return why
}

// verify is RFC 5280 path validation of a CA certificate up to an anchor.
func (t *TrustChange) verify(c *x509.Certificate, received []*x509.Certificate, now time.Time) error {
	if !isCA(c) {
		return errors.New("it is no CA certificate")
	}
	o := x509.VerifyOptions{
		Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	}
	for _, a := range t.Anchors {
		o.Roots.AddCert(a)
	}
	for _, i := range received {
		o.Intermediates.AddCert(i)
	}
	_, err := c.Verify(o)
	return err
}

func (t *TrustChange) refuse(c *x509.Certificate, fix string, err error) {
	t.Refused = append(t.Refused, &TrustError{ErrCode: CodeTrustUpdate, Certificate: c, Detail: "is not believed", Fix: fix, Err: err})
}

// isCA tells whether a certificate may sign others.
func isCA(c *x509.Certificate) bool {
	return c.BasicConstraintsValid && c.IsCA && (c.KeyUsage == 0 || c.KeyUsage&x509.KeyUsageCertSign != 0)
}

// SelfSigned tells whether a certificate is signed with its own key; OldWithNew and NewWithOld are not.
func SelfSigned(c *x509.Certificate) bool {
	return bytes.Equal(c.RawSubject, c.RawIssuer) && c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) == nil
}

func contains(list []*x509.Certificate, c *x509.Certificate) bool {
	return slices.ContainsFunc(list, c.Equal)
}

// ConfirmFingerprint finds the CA certificate that a person has confirmed out of band (RFC 7030 section 4.1.1). fingerprint is
// the SHA-256 or SHA-512 of the whole certificate in hexadecimal, in any case, with colons, blanks or hyphens between, and with
// the name of the hash before it or without ("SHA256 Fingerprint=AB:CD:..."). Shorter ones (SHA-1, MD5) are refused: others
// could be made to fit. Errors are *TrustError.
func ConfirmFingerprint(certs []*x509.Certificate, fingerprint string) (*x509.Certificate, error) {
	want, err := readFingerprint(fingerprint)
	if err != nil {
		return nil, err
	}
	var seen []string
	for _, c := range certs {
		if !isCA(c) {
			continue
		}
		short, long := sha256.Sum256(c.Raw), sha512.Sum512(c.Raw)
		got := short[:]
		if len(want) == len(long) {
			got = long[:]
		}
		if subtle.ConstantTimeCompare(want, got) == 1 {
			return c, nil
		}
		seen = append(seen, fmt.Sprintf("%s (%s)", hex.EncodeToString(got), clip(c.Subject.String(), 80)))
	}
	return nil, &TrustError{
		ErrCode: CodeFingerprint,
		Detail: fmt.Sprintf("no CA certificate of the server has the fingerprint %s; received: %s",
			hex.EncodeToString(want), cmp.Or(strings.Join(seen, ", "), "no CA certificate")),
		Fix: "compare the fingerprint with the CA's administrator; if it is right, somebody else answers in the server's place: go no further",
	}
}

// readFingerprint reads the digits.
func readFingerprint(s string) ([]byte, error) {
	digits := s
	if _, after, ok := strings.Cut(digits, "="); ok {
		digits = after
	} else if kind, after, ok := strings.Cut(digits, ":"); ok && strings.HasPrefix(strings.ToLower(kind), "sha") {
		digits = after
	}
	digits = strings.NewReplacer(":", "", " ", "", "-", "", "\n", "", "\r", "", "\t", "").Replace(digits)
	sum, err := hex.DecodeString(digits)
	if err != nil || len(sum) != sha256.Size && len(sum) != sha512.Size {
		return nil, &TrustError{
			ErrCode: CodeFingerprint,
			Detail:  fmt.Sprintf("%q is no SHA-256 or SHA-512 fingerprint: 64 or 128 hexadecimal digits", clip(s, 160)),
			Fix:     "have the fingerprint of the CA certificate shown: openssl x509 -in ca.pem -noout -fingerprint -sha256",
		}
	}
	return sum, nil
}
