package cluster

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of a subject.
const (
	maxUnits      = 16
	maxAlternates = 50
	// Lengths in characters, X.520 Annex C: ub-organization-name, ub-organizational-unit-name and ub-common-name are 64,
	// ub-locality-name and ub-state-name 128.
	maxName  = 64
	maxPlace = 128
)

// ParseUnits reads organisational units from one text, as set web-security takes them: separated by commas, and "\," is a
// comma inside of a unit. "\\" is a backslash; before anything else a backslash stands for itself. Blanks around units are
// removed. An empty text has no units. Errors are *Problem with CodeField: an empty unit, or one that Subject.Validate refuses.
func ParseUnits(text string) ([]string, error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	var units []string
	var unit strings.Builder
	end := func() {
		units = append(units, strings.TrimSpace(unit.String()))
		unit.Reset()
	}
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == '\\' && i+1 < len(text) && (text[i+1] == ',' || text[i+1] == '\\'):
			i++
			unit.WriteByte(text[i])
		case text[i] == ',':
			end()
		default:
			unit.WriteByte(text[i])
		}
	}
	end()
	var wrong faults
	checkUnits(&wrong, units)
	if err := wrong.problem(""); err != nil {
		return nil, err
	}
	return units, nil
}

// FormatUnits writes organisational units as ParseUnits reads them.
func FormatUnits(units []string) string {
	escape := strings.NewReplacer(`\`, `\\`, `,`, `\,`)
	var out []string
	for _, u := range units {
		out = append(out, escape.Replace(u))
	}
	return strings.Join(out, ",")
}

// Validate checks what stands in certificates: at most 16 units and an organisation of up to 64 characters, locality and state
// of up to 128 (X.520), a country of two letters, alternate host names that are DNS names or IP addresses. Every field may be
// empty. The error is a *Problem with CodeField that names all that is wrong.
func (s *Subject) Validate() error {
	var wrong faults
	s.check(&wrong)
	object := "the subject settings"
	if s.Node != "" {
		object += " of " + s.Node
	}
	return wrong.problem(object)
}

func (s *Subject) check(wrong *faults) {
	checkUnits(wrong, s.Units)
	checkText(wrong, "organisation", s.Organization, maxName)
	checkText(wrong, "locality", s.Locality, maxPlace)
	checkText(wrong, "state", s.State, maxPlace)
	if s.Country != "" && !isCountry(s.Country) {
		wrong.add("use the two letters of ISO 3166, such as US", "country %s is not two letters", shown(s.Country))
	}
	if len(s.AlternateHostNames) > maxAlternates {
		wrong.add("leave some out", "%d alternate host names where at most %d are possible", len(s.AlternateHostNames), maxAlternates)
		return
	}
	for _, name := range s.AlternateHostNames {
		if _, isIP := address(name); isIP {
			continue
		}
		if why, fix := dnsNameFault(name); why != "" {
			wrong.add(fix, "alternate host name %s %s", shown(name), why)
		}
	}
}

func checkUnits(wrong *faults, units []string) {
	if len(units) > maxUnits {
		wrong.add(`write a comma inside of a unit as \,`, "%d organisational units where at most %d are possible", len(units), maxUnits)
		return
	}
	for _, u := range units {
		if u == "" {
			wrong.add(`name units between the commas; write a comma inside of a unit as \,`, "an organisational unit is empty")
			continue
		}
		checkText(wrong, "organisational unit", u, maxName)
	}
}

// checkText checks the value of an attribute.
func checkText(wrong *faults, field, value string, most int) {
	switch n := utf8.RuneCountInString(value); {
	case !utf8.ValidString(value):
		wrong.add("enter it again, in UTF-8", "%s %s is not UTF-8", field, shown(value))
	case strings.ContainsFunc(value, func(r rune) bool { return !unicode.IsPrint(r) }):
		// Line breaks and invisible characters: the name would look like another one.
		wrong.add("enter it again without them", "%s %s has characters that do not print", field, shown(value))
	case value != strings.TrimSpace(value):
		wrong.add("remove them", "%s %s has blanks at its ends", field, shown(value))
	case n > most:
		wrong.add("shorten it", "%s %s has %d characters where X.520 allows %d", field, shown(value), n, most)
	}
}

func isCountry(s string) bool {
	return len(s) == 2 && isLetter(s[0]) && isLetter(s[1])
}

func isLetter(b byte) bool { return 'a' <= b|0x20 && b|0x20 <= 'z' }

// Attribute types of names, X.520.
var (
	oidCommonName   = asn1.ObjectIdentifier{2, 5, 4, 3}
	oidCountry      = asn1.ObjectIdentifier{2, 5, 4, 6}
	oidLocality     = asn1.ObjectIdentifier{2, 5, 4, 7}
	oidState        = asn1.ObjectIdentifier{2, 5, 4, 8}
	oidOrganization = asn1.ObjectIdentifier{2, 5, 4, 10}
	oidUnit         = asn1.ObjectIdentifier{2, 5, 4, 11}
)

// name returns the distinguished name of a certificate in the order of a call manager: C, ST, L, O, OU, CN, with what is
// empty left out. encoding/asn1 makes a PrintableString of a value where that is possible, and a UTF8String otherwise.
func (s *Subject) name(commonName string, units bool) pkix.RDNSequence {
	var seq pkix.RDNSequence
	add := func(oid asn1.ObjectIdentifier, values ...string) {
		for _, v := range values {
			if v != "" {
				seq = append(seq, pkix.RelativeDistinguishedNameSET{{Type: oid, Value: v}})
			}
		}
	}
	add(oidCountry, strings.ToUpper(s.Country))
	add(oidState, s.State)
	add(oidLocality, s.Locality)
	add(oidOrganization, s.Organization)
	if units {
		add(oidUnit, s.Units...)
	}
	add(oidCommonName, commonName)
	return seq
}

// String returns the settings as one line, in the order in which a request has them: "C=US, ST=Texas, O=Example, OU=Voice\,
// Lab, SAN=phones.example.net". It is empty for settings without a value.
func (s *Subject) String() string {
	var parts []string
	add := func(label string, values ...string) {
		for _, v := range values {
			if v != "" {
				parts = append(parts, label+"="+FormatUnits([]string{v}))
			}
		}
	}
	add("C", s.Country)
	add("ST", s.State)
	add("L", s.Locality)
	add("O", s.Organization)
	add("OU", s.Units...)
	add("SAN", s.AlternateHostNames...)
	return strings.Join(parts, ", ")
}
