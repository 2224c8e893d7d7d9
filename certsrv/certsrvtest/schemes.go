package certsrvtest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Schemes are the ways to log in that a server offers, joined by "+" in the order of its WWW-Authenticate lines, for
// instance "negotiate+ntlm": negotiate (Kerberos where there is a keytab, and NTLM), kerberos (IIS's provider
// Negotiate:Kerberos: no NTLM inside), ntlm, basic.
type Schemes string

const (
	schemeNegotiate = "negotiate"
	schemeKerberos  = "kerberos"
	schemeNTLM      = "ntlm"
	schemeBasic     = "basic"
)

var schemeNames = []string{schemeNegotiate, schemeKerberos, schemeNTLM, schemeBasic}

func (s Schemes) check() error {
	if s == "" {
		return nil
	}
	names := s.names()
	for i, name := range names {
		if !slices.Contains(schemeNames, name) {
			return fmt.Errorf("%q is no way to log in (%s, joined by +)", name, strings.Join(schemeNames, ", "))
		}
		if slices.Contains(names[:i], name) {
			return fmt.Errorf("%s is there twice", name)
		}
	}
	if s.has(schemeNegotiate) && s.has(schemeKerberos) {
		return errors.New("negotiate and kerberos exclude each other: both are the scheme Negotiate")
	}
	return nil
}

func (s Schemes) names() []string {
	if s == "" {
		return nil
	}
	return strings.Split(string(s), "+")
}

func (s Schemes) has(name string) bool { return slices.Contains(s.names(), name) }

// offers are the values of the WWW-Authenticate lines.
func (s Schemes) offers(realm string) []string {
	var lines []string
	for _, name := range s.names() {
		switch name {
		case schemeNegotiate, schemeKerberos:
			lines = append(lines, "Negotiate")
		case schemeNTLM:
			lines = append(lines, "NTLM")
		case schemeBasic:
			lines = append(lines, `Basic realm="`+strings.NewReplacer(`"`, "", `\`, "").Replace(realm)+`"`)
		}
	}
	return lines
}
