package cli

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"callsign/chain"
)

// matchItem is an object with a key, in JSON.
type matchItem struct {
	Source  string `json:"source"`
	Kind    string `json:"kind"`
	Line    int    `json:"line,omitempty"`
	Subject string `json:"subject"` // empty for a private key
	Key     string `json:"key"`
	SPKI    string `json:"spki_sha256"` // of the SubjectPublicKeyInfo
	// Compared is false for the CA certificates that accompany a certificate in its file.
	Compared bool `json:"compared"`

	x *x509.Certificate
}

// matchGroup is the objects that share a key, in JSON.
type matchGroup struct {
	SPKI  string `json:"spki_sha256"`
	Key   string `json:"key"`
	Items []int  `json:"items"` // places in items
}

func (e *env) certMatch() *cobra.Command {
	reader := &certReader{env: e}
	cmd := &cobra.Command{
		Use: "match FILE|-|HOST:PORT...", Short: "Tell whether certificates, requests and keys belong together", Args: atLeastOne(certArguments),
		Long: `Tell whether certificates, requests and private keys belong together, which is when they have the same public key. CA
certificates that accompany another certificate in its file are shown and not compared, unless their key is there too.
` + containers,
		Example: `  callsign cert match tomcat.pem tomcat.csr tomcat.key
  callsign cert match cucm.example.com:8443 tomcat.key
  callsign cert match --password-file password.txt tomcat.p12`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := reader.open(); err != nil {
				return err
			}
			var items []matchItem
			var failed []error
			for _, a := range args {
				in := reader.read(cmd.Context(), a, "", false)
				if cmd.Context().Err() != nil {
					return cmd.Context().Err()
				}
				found := in.matchItems()
				if len(found) == 0 && in.err == nil {
					in.err = in.nothing("certificate, request or private key")
				}
				failed = append(failed, separate(in.err)...)
				items = append(items, found...)
			}
			return e.match(items, errors.Join(failed...))
		},
	}
	reader.flags(cmd)
	return exits(cmd, exitOK, exitFailed, exitUsage, exitFindings, exitPartial, exitUnreachable)
}

// matchItems returns the objects with a key.
func (in *certInput) matchItems() []matchItem {
	var items []matchItem
	for _, o := range in.objects {
		i := matchItem{Source: in.source, Kind: kindNames[o.Kind], Line: o.Line, x: o.Certificate}
		switch {
		case o.Certificate != nil:
			i.Subject = chain.NameText(o.Certificate.RawSubject)
			i.setKey(o.Certificate.PublicKey, o.Certificate.PublicKeyAlgorithm, o.Certificate.RawSubjectPublicKeyInfo)
		case o.Request != nil:
			i.Subject = chain.NameText(o.Request.RawSubject)
			i.setKey(o.Request.PublicKey, o.Request.PublicKeyAlgorithm, o.Request.RawSubjectPublicKeyInfo)
		case o.Key != nil:
			i.setKey(o.Key.Public(), 0, nil)
		default:
			continue
		}
		items = append(items, i)
	}
	for k := range items {
		items[k].Compared = !accompanies(items, k)
	}
	return items
}

// setKey sets name and fingerprint of the key. One key may be written in several ways (parameters of its algorithm, forms
// of a point), so it is written anew; raw stands in for keys that crypto/x509 does not know.
func (i *matchItem) setKey(key crypto.PublicKey, algorithm x509.PublicKeyAlgorithm, raw []byte) {
	i.Key = chain.KeyText(key, algorithm)
	if der, err := x509.MarshalPKIXPublicKey(key); err == nil {
		raw = der
	}
	sum := sha256.Sum256(raw)
	i.SPKI = hex.EncodeToString(sum[:])
}

// accompanies reports whether a CA certificate stands in a file for the sake of another certificate: one that it has issued,
// one that is no CA, or one whose key or request is in the file.
func accompanies(items []matchItem, k int) bool {
	ca := items[k].x
	if ca == nil || !ca.IsCA {
		return false
	}
	for i, other := range items {
		if i == k || other.x == nil {
			continue
		}
		issued := bytes.Equal(other.x.RawIssuer, ca.RawSubject) && !bytes.Equal(other.x.RawSubject, ca.RawSubject) && other.x.CheckSignatureFrom(ca) == nil
		owned := slices.ContainsFunc(items, func(i matchItem) bool { return i.x == nil && i.SPKI == other.SPKI })
		if issued || owned || !other.x.IsCA {
			return true
		}
	}
	return false
}

// groups puts together what shares a key, and says in the items what was compared. A CA that accompanies a certificate is
// compared only when something else has its key, or when nothing would be left to compare.
func groups(items []matchItem) []matchGroup {
	meant, count := map[string]bool{}, 0
	for _, i := range items {
		meant[i.SPKI] = meant[i.SPKI] || i.Compared
		if i.Compared {
			count++
		}
	}
	var found []matchGroup
	at := map[string]int{}
	for k := range items {
		i := &items[k]
		if i.Compared = count < 2 || meant[i.SPKI]; !i.Compared {
			continue
		}
		g, ok := at[i.SPKI]
		if !ok {
			g = len(found)
			at[i.SPKI] = g
			found = append(found, matchGroup{SPKI: i.SPKI, Key: i.Key})
		}
		found[g].Items = append(found[g].Items, k)
	}
	return found
}

// match prints which of the items belong together.
func (e *env) match(items []matchItem, failed error) error {
	found := groups(items)
	compared := 0
	for _, g := range found {
		compared += len(g.Items)
	}
	if compared < 2 {
		if failed != nil {
			return failed
		}
		return usage(errors.New("there is only one object to compare: name the file that it is to fit"))
	}
	verdict := "match"
	if len(found) > 1 {
		verdict = "mismatch"
	}
	if e.json {
		if err := e.printJSON(struct {
			Verdict string       `json:"verdict"`
			Items   []matchItem  `json:"items"`
			Groups  []matchGroup `json:"groups"`
		}{verdict, items, found}); err != nil {
			return err
		}
	} else if err := e.printMatch(items, found, compared); err != nil {
		return err
	}
	switch {
	case len(found) > 1:
		return &exitError{code: exitFindings, err: failed}
	case failed != nil:
		return &exitError{code: exitPartial, err: failed}
	default:
		return nil
	}
}

func (e *env) printMatch(items []matchItem, found []matchGroup, compared int) error {
	group := make([]string, len(items))
	for g := range found {
		for _, k := range found[g].Items {
			group[k] = letter(g)
		}
	}
	rows := make([][]string, len(items))
	for k, i := range items {
		rows[k] = []string{or(group[k], "-"), i.place(), strings.ReplaceAll(i.Kind, "_", " "), i.Key, or(visible(i.Subject), "-")}
		if !i.Compared {
			rows[k][2] += " (CA, not compared)"
		}
	}
	if err := table(e.out, []string{"KEY", "SOURCE", "KIND", "TYPE", "SUBJECT"}, rows); err != nil {
		return err
	}
	fmt.Fprintln(e.out)
	r := e.newReport()
	if len(found) == 1 {
		all := "all " + fmt.Sprint(compared)
		if compared == 2 {
			all = "both"
		}
		r.line(e.paint(e.out, "OK")+"    ", 6, all+" have the same key, SHA256 of the public key "+found[0].SPKI)
		return nil
	}
	for g := range found {
		var places []string
		for _, k := range found[g].Items {
			places = append(places, items[k].place()+" ("+strings.ReplaceAll(items[k].Kind, "_", " ")+")")
		}
		text := strings.Join(places, " and ") + " belong together"
		if len(places) == 1 {
			text = places[0] + " fits nothing else"
		}
		r.line(letter(g)+"     ", 6, text)
	}
	r.line(e.paint(e.out, "FAIL")+"  ", 6, fmt.Sprintf("there are %d different keys", len(found)))
	return nil
}

// place is where an object stands.
func (i *matchItem) place() string {
	if i.Line > 0 {
		return visible(fmt.Sprintf("%s:%d", i.Source, i.Line))
	}
	return visible(i.Source)
}

// letter names a key: A to Z, then by number.
func letter(n int) string {
	if n < 26 {
		return string(rune('A' + n))
	}
	return fmt.Sprintf("key %d", n+1)
}
