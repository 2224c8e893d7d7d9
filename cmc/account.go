package cmc

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"regexp"
	"strings"
)

// accountName stands in an AccountPattern for the common name of a request.
const accountName = "{name}"

// accountForm is a pattern with accountName replaced: a domain, a backslash, an account. Windows allows more in account
// names; what is left out has a meaning in one of the places where the name goes.
var accountForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*\\[A-Za-z0-9][A-Za-z0-9 ._-]*\$?$`)

// AccountPattern makes the name of a Windows account of the common name of a request, for requests on behalf of somebody.
// Make one with ParseAccountPattern; the zero value makes no names.
type AccountPattern struct {
	text  string
	names *regexp.Regexp
}

// ParseAccountPattern reads `DOMAIN\{name}$` or `DOMAIN\{name}`, in which {name} stands for the common name, and the regular
// expression that a whole common name must match. Whoever may choose a common name that matches gets a certificate of that
// account: an expression that matches the names of people or servers gives their accounts away. Errors are *Problem.
func ParseAccountPattern(text, names string) (AccountPattern, error) {
	domain, account, ok := strings.Cut(text, `\`)
	if !ok || strings.Count(account, accountName) != 1 || strings.Contains(domain, accountName) ||
		!accountForm.MatchString(strings.Replace(text, accountName, "x", 1)) {
		return AccountPattern{}, unusable(`%q is not of the form DOMAIN\{name}$ or DOMAIN\{name}`, text)
	}
	if names == "" {
		return AccountPattern{}, unusable("a request on behalf of an account needs an expression for the names of accounts")
	}
	match, err := regexp.Compile(`^(?:` + names + `)$`)
	if err != nil {
		return AccountPattern{}, unusable("the expression %q for the names of accounts cannot be read", names).because(err)
	}
	return AccountPattern{text: text, names: match}, nil
}

// Account returns the account of a subject, a DER Name that has exactly one common name. The error is a *Problem when it
// has not, or the name is none that may be asked for.
func (p AccountPattern) Account(subject []byte) (string, error) {
	if p.names == nil {
		return "", unusable("no pattern for the names of accounts is set")
	}
	name, err := commonName(subject)
	if err != nil {
		return "", err
	}
	account := strings.Replace(p.text, accountName, name, 1)
	if !p.names.MatchString(name) || !accountForm.MatchString(account) {
		return "", unusable("the common name %q is not one of those that may be asked for on behalf of their accounts", name)
	}
	return account, nil
}

// IsZero tells whether p makes no names.
func (p AccountPattern) IsZero() bool { return p.names == nil }

func commonName(subject []byte) (string, error) {
	var rdns pkix.RDNSequence
	if rest, err := asn1.Unmarshal(subject, &rdns); err != nil || len(rest) > 0 {
		return "", unusable("the subject of the request is not a Name").because(err)
	}
	var names []string
	for _, rdn := range rdns {
		for _, a := range rdn {
			if s, ok := a.Value.(string); ok && a.Type.Equal(asn1.ObjectIdentifier{2, 5, 4, 3}) {
				names = append(names, s)
			}
		}
	}
	if len(names) != 1 {
		return "", unusable("the subject of the request has %d common names: no account can be told from it", len(names))
	}
	return names[0], nil
}
