package config

import (
	"strings"

	"github.com/BurntSushi/toml"

	"callsign/est"
)

// maxLabels bounds the sections [label.NAME]: each is a policy that somebody has to understand.
const maxLabels = 256

// labelSection returns the name of a label's section as TOML writes it: label.phones, label."a.b".
func labelSection(name string) string { return toml.Key{"label", name}.String() }

// newLabelSection returns the section of a label whose profile of points to.
func newLabelSection(name string, of func(*Config) *Profile) section {
	s := section{
		name: labelSection(name), label: name, keys: profileKeys(of),
		doc: "EST requests under this label. What is not set here is as in [ra].",
	}
	ra := profileKeys(func(c *Config) *Profile { return &c.RA.Profile })
	for i := range s.keys {
		k, inherited := &s.keys[i], &ra[i]
		k.section, k.shown = s.name, nil
		k.base = inherited.value
	}
	return s
}

// cutLabel splits the key of a label, "label.phones.subject", into its section and its name.
func cutLabel(key string) (section, name string, ok bool) {
	i := strings.LastIndexByte(key, '.')
	if i < 0 || !strings.HasPrefix(key, "label.") || i < len("label.") {
		return "", "", false
	}
	return key[:i], key[i+1:], true
}

// placedProfile is a profile with the section that it is made from.
type placedProfile struct {
	section string // "ra", "label.phones"
	*Profile
}

// profiles returns the profile of [ra], then those of the labels.
func (c *Config) profiles() []placedProfile {
	all := []placedProfile{{"ra", &c.RA.Profile}}
	for i := range c.Labels {
		all = append(all, placedProfile{labelSection(c.Labels[i].Name), &c.Labels[i].Profile})
	}
	return all
}

// Profile returns how requests with a label are served: the profile of [ra] for the empty label. ok is false for a label
// that has no section.
func (c *Config) Profile(label string) (p Profile, ok bool) {
	if label == "" {
		return c.RA.Profile, true
	}
	for _, l := range c.Labels {
		if l.Name == label {
			return l.Profile, true
		}
	}
	return Profile{}, false
}

// labelProblems judges the names of the labels of a Config made in memory; those of a file have been judged while it was
// read, where the place is known.
func (c *Config) labelProblems() Errors {
	var problems Errors
	seen := map[string]bool{}
	for _, l := range c.Labels {
		section := labelSection(l.Name)
		switch err := est.CheckLabel(l.Name); {
		case err != nil:
			problems = append(problems, c.problem(section, section, err.Error(), labelRemedy))
		case seen[l.Name]:
			problems = append(problems, c.problem(section, section, "is there twice", "keep one of them"))
		}
		seen[l.Name] = true
	}
	return problems
}

// labelRemedy is what to do about a name that is no label.
const labelRemedy = "choose a name of letters, digits, hyphens and dots that is not the name of an EST operation"
