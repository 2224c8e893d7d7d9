package cli

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"callsign/est"
	"callsign/internal/certfile"
)

// estAttributes is `est csrattrs --json`.
type estAttributes struct {
	URL                 string         `json:"url"`
	Elements            []estAttribute `json:"elements"`
	Keys                []string       `json:"keys"`
	Link                bool           `json:"link"`
	IdentityLinking     bool           `json:"identity_linking"` // RFC 7894
	SignatureAlgorithms []string       `json:"signature_algorithms"`
	Subject             []string       `json:"subject"` // of a template
	Extensions          []estExtension `json:"extensions"`
	Template            bool           `json:"template"` // RFC 9908: it counts alone
	Warnings            []string       `json:"warnings"`
	DER                 string         `json:"der"` // base64; empty when the server says nothing
	File                string         `json:"file,omitempty"`
}

type estAttribute struct {
	OID    string   `json:"oid"`
	Name   string   `json:"name,omitempty"`
	Values []string `json:"values,omitempty"` // DER in hexadecimal
}

type estExtension struct {
	OID      string `json:"oid"`
	Name     string `json:"name,omitempty"`
	Critical bool   `json:"critical"`
	Value    string `json:"value,omitempty"` // DER in hexadecimal; empty is for the client to supply
}

// attributeNames names what servers put into csrattrs. It is never modified.
var attributeNames = map[string]string{
	"1.2.840.113549.1.9.7": "challengePassword", "1.2.840.113549.1.9.14": "extensionRequest", "1.2.840.113549.1.9.1": "emailAddress",
	"1.2.840.113549.1.9.16.2.56": "otpChallenge", "1.2.840.113549.1.9.16.2.57": "revocationChallenge",
	"1.2.840.113549.1.9.16.2.58": "estIdentityLinking", "1.2.840.113549.1.9.16.2.61": "certificationRequestInfoTemplate",
	"1.2.840.113549.1.9.16.2.62": "extensionReqTemplate", "1.2.840.113549.1.9.20": "friendlyName",
	"1.2.840.10045.2.1": "ecPublicKey", "1.2.840.113549.1.1.1": "rsaEncryption", "1.3.101.112": "Ed25519",
	"1.2.840.10045.3.1.7": "P-256", "1.3.132.0.34": "P-384", "1.3.132.0.35": "P-521",
	"1.2.840.113549.1.1.11": "SHA256-RSA", "1.2.840.113549.1.1.12": "SHA384-RSA", "1.2.840.113549.1.1.13": "SHA512-RSA",
	"1.2.840.10045.4.3.2": "ECDSA-SHA256", "1.2.840.10045.4.3.3": "ECDSA-SHA384", "1.2.840.10045.4.3.4": "ECDSA-SHA512",
	"2.16.840.1.101.3.4.2.1": "SHA-256", "2.16.840.1.101.3.4.2.2": "SHA-384", "2.16.840.1.101.3.4.2.3": "SHA-512",
	"1.3.6.1.1.1.1.22": "macAddress", "0.9.2342.19200300.100.1.5": "favouriteDrink",
	"2.5.4.3": "CN", "2.5.4.5": "serialNumber", "2.5.4.6": "C", "2.5.4.7": "L", "2.5.4.8": "ST", "2.5.4.10": "O", "2.5.4.11": "OU",
	"2.5.29.14": "subjectKeyIdentifier", "2.5.29.15": "keyUsage", "2.5.29.17": "subjectAltName", "2.5.29.19": "basicConstraints",
	"2.5.29.37": "extendedKeyUsage",
}

func (e *env) estCSRAttrs() *cobra.Command {
	f := estFlags{env: e}
	var (
		out   string
		force bool
	)
	cmd := &cobra.Command{
		Use: "csrattrs URL", Short: "Ask a server what it wants to find in a request", Args: exactlyOne("URL of an EST server"),
		Long: `Ask an EST server what it wants to find in a certificate request (RFC 7030 section 4.5, RFC 9908), and say it in words. It is advice: a
server may refuse a request whatever it said before.`,
		Example: `  callsign est csrattrs https://ra.example.com:8084 --ca est-ca.pem
  callsign est csrattrs https://ra.example.com:8084 --ca est-ca.pem --label phones --json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			err := f.read(args)
			if err == nil {
				err = f.needTrust(cmd)
			}
			if err == nil {
				err = mayCreate(out, force)
			}
			if err != nil {
				return err
			}
			client, err := f.client(cmd.Context())
			if err != nil {
				return err
			}
			defer client.Close()
			attrs, err := client.CSRAttrs(cmd.Context())
			if err != nil {
				return f.failed(cmd.Context(), "EST csrattrs at "+f.url, err)
			}
			return e.printAttributes(f.url, attrs, out)
		},
	}
	f.serverFlags(cmd)
	f.clientFlags(cmd)
	s := cmd.Flags()
	s.StringVar(&out, "out", "", "write the server's answer to this `file` (DER)")
	s.BoolVar(&force, "force", false, "replace the file of --out")
	return exits(cmd, exitOK, exitFailed, exitUsage, exitUnreachable, exitDenied)
}

func (e *env) printAttributes(url string, attrs *est.CSRAttrs, out string) error {
	report, err := describeAttributes(attrs)
	if err != nil {
		return err
	}
	report.URL = url
	if out != "" {
		der, err := attrs.Marshal()
		if err != nil {
			return err
		}
		if err := certfile.WriteFile(out, der, 0o644); err != nil {
			return err
		}
		report.File = out
	}
	if e.json {
		return e.printJSON(report)
	}
	if attrs.Empty() {
		fmt.Fprintln(e.out, "The server says nothing about requests: any key and any names, as far as its policy goes.")
		return nil
	}
	report.text(e.out)
	for _, w := range report.Warnings {
		e.warn(w)
	}
	return nil
}

func describeAttributes(attrs *est.CSRAttrs) (*estAttributes, error) {
	r := &estAttributes{
		Elements: []estAttribute{}, Keys: []string{}, SignatureAlgorithms: []string{}, Subject: []string{}, Extensions: []estExtension{},
		Template: attrs.Template() != nil, Warnings: append([]string{}, attrs.Warnings()...),
	}
	r.Link, r.IdentityLinking = attrs.WantsLink()
	for _, el := range attrs.Elements {
		oid := el.Type.String()
		item := estAttribute{OID: oid, Name: attributeNames[oid]}
		for _, v := range el.Values {
			item.Values = append(item.Values, hex.EncodeToString(v))
		}
		r.Elements = append(r.Elements, item)
	}
	for _, k := range attrs.Keys() {
		r.Keys = append(r.Keys, k.String())
	}
	for _, alg := range attrs.SignatureAlgorithms() {
		r.SignatureAlgorithms = append(r.SignatureAlgorithms, alg.String())
	}
	for _, x := range attrs.Extensions() {
		oid := x.ID.String()
		r.Extensions = append(r.Extensions, estExtension{OID: oid, Name: attributeNames[oid], Critical: x.Critical, Value: hex.EncodeToString(x.Value)})
	}
	if t := attrs.Template(); t != nil {
		for _, rdn := range t.Subject {
			for _, a := range rdn {
				r.Subject = append(r.Subject, nameWish(a.Type, a.Value))
			}
		}
	}
	if attrs.Empty() {
		return r, nil
	}
	der, err := attrs.Marshal()
	if err != nil {
		return nil, err
	}
	r.DER = base64.StdEncoding.EncodeToString(der)
	return r, nil
}

// nameWish is "CN=?" for a part of a name that the client supplies, else "O=Example".
func nameWish(oid x509.OID, der []byte) string {
	name := oid.String()
	if known := attributeNames[name]; known != "" {
		name = known
	}
	switch {
	case der == nil:
		return name + "=?"
	case len(der) >= 2 && der[1] < 0x80 && (der[0] == 12 || der[0] == 19 || der[0] == 22): // UTF8String, PrintableString, IA5String
		return name + "=" + string(der[2:])
	}
	return name + "=#" + hex.EncodeToString(der)
}

func (r *estAttributes) text(w io.Writer) {
	line := func(label, format string, args ...any) {
		fmt.Fprintf(w, "%-11s %s\n", label, visible(fmt.Sprintf(format, args...)))
	}
	if r.Template {
		line("template", "yes (RFC 9908): what it says counts alone")
	}
	if len(r.Keys) > 0 {
		line("key", "%s", strings.Join(r.Keys, " or "))
	}
	if len(r.SignatureAlgorithms) > 0 {
		line("signature", "%s", strings.Join(r.SignatureAlgorithms, " or "))
	}
	switch {
	case r.IdentityLinking:
		line("link", "wanted, in estIdentityLinking (RFC 7894)")
	case r.Link:
		line("link", "wanted, in challengePassword")
	}
	for _, s := range r.Subject {
		line("subject", "%s", s)
	}
	for _, x := range r.Extensions {
		text := or(x.Name, x.OID)
		if x.Critical {
			text += ", critical"
		}
		if x.Value == "" {
			text += ", the client supplies the value"
		} else {
			text += ", " + x.Value
		}
		line("extension", "%s", text)
	}
	var names []string
	for _, el := range r.Elements {
		names = append(names, or(el.Name, el.OID))
	}
	line("elements", "%s", strings.Join(names, ", "))
}
