package cli

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"callsign/internal/certfile"
)

// maxStdin bounds what is read from stdin.
const maxStdin = 1 << 20

func (e *env) certCommand() *cobra.Command {
	return group("cert", "Certificates", e.certInspect())
}

// certItem is a certificate in JSON.
type certItem struct {
	Source     string   `json:"source"`
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
}

func (e *env) certInspect() *cobra.Command {
	cmd := &cobra.Command{
		Use: "inspect FILE...", Short: "Show certificates, PEM or DER; - reads stdin", Args: atLeastOne("file, or - for stdin"),
		Example: "  callsign cert inspect phone.pem\n  callsign cert inspect --json ca.pem\n  cat phone.pem | callsign cert inspect -",
		RunE: func(_ *cobra.Command, args []string) error {
			items, failed := []certItem{}, []error(nil)
			now := time.Now()
			for _, a := range args {
				c, err := e.readCertificates(a)
				if err != nil {
					failed = append(failed, err)
					continue
				}
				for _, x := range c {
					items = append(items, newCertItem(a, x, now))
				}
			}
			if err := e.printCerts(items, now); err != nil {
				return err
			}
			err := errors.Join(failed...)
			if err != nil && len(failed) < len(args) {
				return &exitError{code: exitPartial, err: err}
			}
			return err
		},
	}
	return exits(cmd, exitOK, exitFailed, exitUsage, exitPartial)
}

func (e *env) printCerts(items []certItem, now time.Time) error {
	if e.json {
		return e.printJSON(struct {
			Items []certItem `json:"items"`
			Total int        `json:"total"`
		}{items, len(items)})
	}
	for i, c := range items {
		if i > 0 {
			fmt.Fprintln(e.out)
		}
		if err := printCert(e.out, c, now); err != nil {
			return err
		}
	}
	return nil
}

func (e *env) readCertificates(arg string) ([]*x509.Certificate, error) {
	if arg != "-" {
		return certfile.LoadCertificates(arg)
	}
	b, err := io.ReadAll(io.LimitReader(e.in, maxStdin+1))
	if err != nil {
		return nil, fmt.Errorf("read stdin: %w", err)
	}
	if len(b) > maxStdin {
		return nil, fmt.Errorf("stdin holds more than %d KiB", maxStdin>>10)
	}
	c, err := certfile.Parse(b)
	if err != nil {
		return nil, fmt.Errorf("read stdin: %w", err)
	}
	certs := c.Certificates()
	if len(certs) == 0 {
		return nil, errors.New("stdin holds no certificate")
	}
	return certs, nil
}

func newCertItem(source string, c *x509.Certificate, now time.Time) certItem {
	sum := sha256.Sum256(c.Raw)
	i := certItem{
		Source: source, Subject: c.Subject.String(), Issuer: c.Issuer.String(), Serial: hex.EncodeToString(c.SerialNumber.Bytes()),
		NotBefore: utc(c.NotBefore), NotAfter: utc(c.NotAfter), ExpiresIn: int64(c.NotAfter.Sub(now).Seconds()),
		Key: keyName(c), Signature: c.SignatureAlgorithm.String(), CA: c.IsCA, Names: []string{}, KeyUsage: keyUsages(c.KeyUsage), ExtKeyUse: []string{},
		SubjectKey: hex.EncodeToString(c.SubjectKeyId), Authority: hex.EncodeToString(c.AuthorityKeyId), SHA256: hex.EncodeToString(sum[:]),
	}
	for _, n := range c.DNSNames {
		i.Names = append(i.Names, "DNS:"+n)
	}
	for _, n := range c.IPAddresses {
		i.Names = append(i.Names, "IP:"+n.String())
	}
	for _, n := range c.URIs {
		i.Names = append(i.Names, "URI:"+n.String())
	}
	for _, n := range c.EmailAddresses {
		i.Names = append(i.Names, "email:"+n)
	}
	for _, u := range c.ExtKeyUsage {
		i.ExtKeyUse = append(i.ExtKeyUse, u.String())
	}
	for _, u := range c.UnknownExtKeyUsage {
		i.ExtKeyUse = append(i.ExtKeyUse, u.String())
	}
	return i
}

func keyName(c *x509.Certificate) string {
	switch k := c.PublicKey.(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA %d", k.N.BitLen())
	case *ecdsa.PublicKey:
		return "EC " + k.Params().Name
	default:
		return c.PublicKeyAlgorithm.String()
	}
}

func keyUsages(u x509.KeyUsage) []string {
	names := []string{
		"digitalSignature", "contentCommitment", "keyEncipherment", "dataEncipherment", "keyAgreement", "keyCertSign", "cRLSign", "encipherOnly", "decipherOnly",
	}
	used := []string{}
	for i, n := range names {
		if u&(1<<i) != 0 {
			used = append(used, n)
		}
	}
	return used
}

func printCert(w io.Writer, c certItem, now time.Time) error {
	until, err := time.Parse(time.RFC3339, c.NotAfter)
	if err != nil {
		return fmt.Errorf("read end of validity: %w", err)
	}
	from, err := time.Parse(time.RFC3339, c.NotBefore)
	if err != nil {
		return fmt.Errorf("read begin of validity: %w", err)
	}
	state := "OK"
	switch {
	case now.After(until):
		state = "EXPIRED"
	case now.Before(from):
		state = "NOT YET VALID"
	}
	lines := [][2]string{
		{"subject", c.Subject},
		{"issuer", c.Issuer},
		{"serial", c.Serial},
		{"valid", from.Local().Format("2006-01-02 15:04") + " to " + until.Local().Format("2006-01-02 15:04 MST") + " (" + in(until, now) + ") " + state},
		{"key", c.Key + ", signed with " + c.Signature},
		{"names", strings.Join(c.Names, ", ")},
		{"usage", strings.Join(slices.Concat(c.KeyUsage, c.ExtKeyUse), ", ")},
		{"CA", fmt.Sprint(c.CA)},
		{"key id", c.SubjectKey},
		{"issuer key", c.Authority},
		{"SHA256", c.SHA256},
	}
	fmt.Fprintln(w, c.Source)
	for _, l := range lines {
		if l[1] != "" {
			fmt.Fprintf(w, "  %-11s %s\n", l[0], oneLine(l[1]))
		}
	}
	return nil
}
