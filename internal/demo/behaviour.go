package demo

import (
	"errors"
	"net/url"
	"slices"

	"callsign/internal/certfile"
	"callsign/internal/config"
	"callsign/internal/enterprise"
)

// Words of the registration authority's side: what is wrong with its configuration.
const (
	noDNS         = "no-dns"
	wrongTemplate = "wrong-template"
	wrongPassword = "wrong-password"
)

// ownWords are the words of a behaviour list that only a demo knows.
var ownWords = []enterprise.Word{
	{Name: noDNS, Meaning: "the RA's URL of the CA has a host that does not exist"},
	{Name: wrongTemplate, Meaning: "the RA's template is misspelt by one letter"},
	{Name: wrongPassword, Meaning: "the RA has another password than the account"},
}

// Behaviour is what goes wrong in a demo. The zero value is a world in which everything is right.
type Behaviour struct {
	Enterprise enterprise.Behaviour // of AD CS
	RA         []string             // no-dns, wrong-template, wrong-password
}

// Words returns the words that [ParseBehaviour] knows, in the order in which help lists them.
func Words() []enterprise.Word { return slices.Concat(enterprise.Words(), ownWords) }

// OwnWords are those of them that concern the registration authority, and so no simulated AD CS that runs alone.
func OwnWords() []enterprise.Word { return slices.Clone(ownWords) }

// ParseBehaviour reads a list of words with commas between them, as enterprise.ParseBehaviour does, and those of the
// registration authority besides. The empty list is the zero Behaviour. Errors are *enterprise.Problem.
func ParseBehaviour(list string) (Behaviour, error) {
	b, ra, err := enterprise.ParseBehaviour(list, ownWords...)
	return Behaviour{Enterprise: b, RA: ra}, err
}

// IsZero tells whether everything is right.
func (b Behaviour) IsZero() bool { return len(b.RA) == 0 && b.Enterprise.IsZero() }

// misconfigure makes the mistakes of the registration authority's administrator.
func (b Behaviour) misconfigure(c *config.Config) error {
	var errs []error
	for _, word := range b.RA {
		switch word {
		case noDNS:
			u, err := url.Parse(c.ADCS.URL)
			if err != nil {
				return err
			}
			u.Host = "adcs.callsign.invalid:" + u.Port() // RFC 6761 section 6.4: nobody ever has this name
			c.ADCS.URL = u.String()
		case wrongTemplate:
			c.ADCS.Template = misspelt(c.ADCS.Template)
		case wrongPassword:
			errs = append(errs, certfile.WriteFile(c.ADCS.PasswordFile, []byte("not-the-password\n"), 0o600))
		}
	}
	return errors.Join(errs...)
}

// misspelt leaves out a letter in the middle. Upper and lower case would make no difference.
func misspelt(name string) string {
	i := len(name) / 2
	return name[:i] + name[i+1:]
}
