package cli

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"callsign/chain"
	"callsign/internal/certfile"
)

func (e *env) certCommand() *cobra.Command {
	return group("cert", "Certificates: in files, on live servers, and of clusters", e.certInspect(), e.certVerify(), e.certMatch(), e.certList(), e.certCheck(), e.certUpload(), e.certRegen())
}

// The kinds of objects in JSON.
var kindNames = map[certfile.Kind]string{
	certfile.Certificate: "certificate", certfile.Request: "request", certfile.RevocationList: "revocation_list",
	certfile.PrivateKey: "private_key", certfile.Other: "other",
}

// certItem is a certificate in JSON. Of one that does not parse only Subject, Issuer, Serial and SHA256 are filled.
type certItem struct {
	Source     string   `json:"source"`
	Kind       string   `json:"kind"`
	Line       int      `json:"line,omitempty"`
	Subject    string   `json:"subject"`
	Issuer     string   `json:"issuer"`
	Serial     string   `json:"serial"`
	NotBefore  string   `json:"not_before"`
	NotAfter   string   `json:"not_after"`
	ExpiresIn  int64    `json:"expires_in_seconds"`
	Key        string   `json:"key"`
	Signature  string   `json:"signature_algorithm"`
	CA         bool     `json:"ca"`
	Names      []string `json:"names"`
	KeyUsage   []string `json:"key_usage"`
	ExtKeyUse  []string `json:"extended_key_usage"`
	SubjectKey string   `json:"subject_key_id"`
	Authority  string   `json:"authority_key_id"`
	SHA256     string   `json:"sha256"`
	Error      string   `json:"error,omitempty"` // why it does not parse

	x *x509.Certificate
}

// requestItem is a certification request in JSON.
type requestItem struct {
	Source    string   `json:"source"`
	Kind      string   `json:"kind"`
	Line      int      `json:"line,omitempty"`
	Subject   string   `json:"subject"`
	Key       string   `json:"key"`
	Signature string   `json:"signature_algorithm"`
	Names     []string `json:"names"`
	Error     string   `json:"error,omitempty"` // why it does not parse, or that its signature is wrong
}

// crlItem is a revocation list in JSON.
type crlItem struct {
	Source     string `json:"source"`
	Kind       string `json:"kind"`
	Line       int    `json:"line,omitempty"`
	Issuer     string `json:"issuer"`
	Number     string `json:"number"`
	ThisUpdate string `json:"this_update"`
	NextUpdate string `json:"next_update"` // empty when the list does not say
	Revoked    int    `json:"revoked"`     // number of entries
	Signature  string `json:"signature_algorithm"`
	Authority  string `json:"authority_key_id"`
	Error      string `json:"error,omitempty"`

	x *x509.RevocationList
}

// keyItem is a private key in JSON: its kind and size, and nothing of its value.
type keyItem struct {
	Source    string `json:"source"`
	Kind      string `json:"kind"`
	Line      int    `json:"line,omitempty"`
	Key       string `json:"key"` // empty when it is encrypted
	Encrypted bool   `json:"encrypted"`
}

// otherItem is an object that is recognised and not read.
type otherItem struct {
	Source string `json:"source"`
	Kind   string `json:"kind"`
	Line   int    `json:"line,omitempty"`
	Label  string `json:"label"`
}

const certArguments = "file, server as HOST:PORT, or - for stdin"

// containers is said of every command that reads certificates.
const containers = `A file is PEM, DER, base64, PKCS #7 or PKCS #12, told by its content; - is stdin; HOST:PORT and https://HOST are live
servers, which are looked at whatever they present. A file of that name wins.`

// newItem returns an object in the form of JSON.
func newItem(source string, o *certfile.Object, now time.Time) any {
	kind := kindNames[o.Kind]
	why := ""
	if o.Err != nil {
		why = parseError(o.Err)
	}
	switch o.Kind {
	case certfile.Certificate:
		if o.Certificate == nil {
			return malformedItem(source, o)
		}
		i := newCertItem(source, o.Certificate, now)
		i.Line = o.Line
		return i
	case certfile.Request:
		i := requestItem{Source: source, Kind: kind, Line: o.Line, Names: []string{}, Error: why}
		if x := o.Request; x != nil {
			i.Subject, i.Key, i.Signature = chain.NameText(x.RawSubject), chain.KeyText(x.PublicKey, x.PublicKeyAlgorithm), x.SignatureAlgorithm.String()
			i.Names = nameList(x.DNSNames, x.IPAddresses, x.URIs, x.EmailAddresses)
			if err := x.CheckSignature(); err != nil {
				i.Error = "the request's own signature is wrong: " + strings.TrimPrefix(err.Error(), "x509: ")
			}
		}
		return i
	case certfile.RevocationList:
		i := crlItem{Source: source, Kind: kind, Line: o.Line, Error: why, x: o.RevocationList}
		if x := i.x; x != nil {
			i.Issuer, i.ThisUpdate, i.Revoked = chain.NameText(x.RawIssuer), utc(x.ThisUpdate), len(x.RevokedCertificateEntries)
			i.Signature, i.Authority = x.SignatureAlgorithm.String(), hex.EncodeToString(x.AuthorityKeyId)
			if x.Number != nil {
				i.Number = x.Number.String()
			}
			if !x.NextUpdate.IsZero() {
				i.NextUpdate = utc(x.NextUpdate)
			}
		}
		return i
	case certfile.PrivateKey:
		i := keyItem{Source: source, Kind: kind, Line: o.Line, Encrypted: o.Key == nil}
		if o.Key != nil {
			i.Key = chain.KeyText(o.Key.Public(), 0)
		}
		return i
	default:
		return otherItem{Source: source, Kind: kind, Line: o.Line, Label: o.Label}
	}
}

// parseError is why an object does not parse, without where it stands.
func parseError(e *certfile.Error) string {
	if e.Err != nil {
		return strings.TrimPrefix(e.Err.Error(), "x509: ")
	}
	return e.Detail
}

// malformedItem is what could be made out of a certificate that does not parse.
func malformedItem(source string, o *certfile.Object) certItem {
	c := chain.Parse(o.Raw)
	i := certItem{
		Source: source, Kind: kindNames[certfile.Certificate], Line: o.Line, Subject: c.Subject(), Issuer: c.Issuer(), SHA256: c.SHA256(),
		Names: []string{}, KeyUsage: []string{}, ExtKeyUse: []string{}, Error: parseError(o.Err),
	}
	if c.Err() != nil {
		i.Serial = c.Err().Serial
	}
	return i
}

func newCertItem(source string, c *x509.Certificate, now time.Time) certItem {
	sum := sha256.Sum256(c.Raw)
	i := certItem{
		Source: source, Kind: kindNames[certfile.Certificate], Subject: chain.NameText(c.RawSubject), Issuer: chain.NameText(c.RawIssuer), Serial: chain.SerialText(c.SerialNumber),
		NotBefore: utc(c.NotBefore), NotAfter: utc(c.NotAfter), ExpiresIn: int64(c.NotAfter.Sub(now).Seconds()),
		Key: chain.KeyText(c.PublicKey, c.PublicKeyAlgorithm), Signature: c.SignatureAlgorithm.String(), CA: c.IsCA,
		Names: nameList(c.DNSNames, c.IPAddresses, c.URIs, c.EmailAddresses), KeyUsage: chain.KeyUsageNames(c.KeyUsage), ExtKeyUse: []string{},
		SubjectKey: hex.EncodeToString(c.SubjectKeyId), Authority: hex.EncodeToString(c.AuthorityKeyId), SHA256: hex.EncodeToString(sum[:]),
		x: c,
	}
	for _, u := range c.ExtKeyUsage {
		i.ExtKeyUse = append(i.ExtKeyUse, u.String())
	}
	for _, u := range c.UnknownExtKeyUsage {
		i.ExtKeyUse = append(i.ExtKeyUse, u.String())
	}
	return i
}

// nameList is the names of a certificate or request, each with its kind.
func nameList(dns []string, ips []net.IP, uris []*url.URL, emails []string) []string {
	names := []string{}
	for _, n := range dns {
		names = append(names, "DNS:"+n)
	}
	for _, n := range ips {
		names = append(names, "IP:"+n.String())
	}
	for _, n := range uris {
		names = append(names, "URI:"+n.String())
	}
	for _, n := range emails {
		names = append(names, "email:"+n)
	}
	return names
}

// object writes an item for people.
func (r *report) object(item any, now time.Time) {
	const in = "  "
	switch i := item.(type) {
	case certItem:
		r.certificate(i, now)
	case requestItem:
		r.item(in, "request", or(i.Subject, "(empty subject)"))
		r.item(in, "line", number(i.Line))
		if i.Key != "" {
			r.item(in, "key", i.Key+", signed with "+i.Signature)
		}
		r.item(in, "names", strings.Join(i.Names, ", "))
		r.item(in, "error", i.Error)
	case crlItem:
		r.revocationList(i, now)
	case keyItem:
		text := i.Key + ", not encrypted"
		if i.Encrypted {
			text = "encrypted with a pass phrase"
		}
		r.item(in, "private key", text)
		r.item(in, "line", number(i.Line))
	case otherItem:
		r.item(in, "other", strings.TrimSpace(fmt.Sprintf("%s object, not read", i.Label)))
		r.item(in, "line", number(i.Line))
	}
}

func number(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

func (r *report) certificate(c certItem, now time.Time) {
	const in = "  "
	r.item(in, "subject", c.Subject)
	r.item(in, "issuer", c.Issuer)
	r.item(in, "serial", c.Serial)
	if c.x != nil {
		state := "OK"
		switch {
		case now.After(c.x.NotAfter):
			state = "EXPIRED"
		case now.Before(c.x.NotBefore):
			state = "NOT YET VALID"
		}
		r.item(in, "valid", span(c.x.NotBefore, c.x.NotAfter, now)+" "+state)
		r.item(in, "key", c.Key+", signed with "+c.Signature)
		r.item(in, "names", strings.Join(c.Names, ", "))
		r.item(in, "usage", strings.Join(slices.Concat(c.KeyUsage, c.ExtKeyUse), ", "))
		r.item(in, "CA", fmt.Sprint(c.CA))
		r.item(in, "key id", c.SubjectKey)
		r.item(in, "issuer key", c.Authority)
	}
	r.item(in, "SHA256", c.SHA256)
	if c.Error != "" {
		r.item(in, "error", "does not parse: "+c.Error)
	}
}

func (r *report) revocationList(i crlItem, now time.Time) {
	const in = "  "
	r.item(in, "CRL of", or(i.Issuer, "(unreadable)"))
	r.item(in, "line", number(i.Line))
	if i.x != nil {
		r.item(in, "number", i.Number)
		if until := i.x.NextUpdate; until.IsZero() {
			r.item(in, "valid", "from "+local(i.x.ThisUpdate)+", without an end")
		} else {
			state := " OK"
			if now.After(until) {
				state = " OUT OF DATE"
			}
			r.item(in, "valid", span(i.x.ThisUpdate, until, now)+state)
		}
		r.item(in, "revoked", fmt.Sprintf("%d certificate%s", i.Revoked, plural(i.Revoked)))
		r.item(in, "signed with", i.Signature)
		r.item(in, "issuer key", i.Authority)
	}
	r.item(in, "error", i.Error)
}

// local is a time for people.
func local(t time.Time) string { return t.Local().Format("2006-01-02 15:04 MST") }

// span is a validity for people.
func span(from, until, now time.Time) string {
	return from.Local().Format("2006-01-02 15:04") + " to " + local(until) + " (" + in(until, now) + ")"
}
