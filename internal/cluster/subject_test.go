package cluster_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"callsign/internal/cluster"
)

func TestParseUnits(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		text string
		want []string
		err  string
	}{
		"none":                {text: ""},
		"blanks":              {text: "  "},
		"one":                 {text: "Collaboration", want: []string{"Collaboration"}},
		"several":             {text: "Voice,Ops , Lab", want: []string{"Voice", "Ops", "Lab"}},
		"comma inside":        {text: `Voice\, Lab,Ops`, want: []string{"Voice, Lab", "Ops"}},
		"backslash":           {text: `R\D`, want: []string{`R\D`}},
		"doubled backslash":   {text: `R\\,D`, want: []string{`R\`, "D"}},
		"backslash at end":    {text: `R\`, want: []string{`R\`}},
		"only a comma inside": {text: `\,`, want: []string{","}},
		"not ASCII":           {text: "Télécoms,음성", want: []string{"Télécoms", "음성"}},
		"as long as possible": {text: strings.Repeat("é", 64), want: []string{strings.Repeat("é", 64)}},
		"empty unit":          {text: "Voice,,Ops", err: "an organisational unit is empty"},
		"comma at the end":    {text: "Voice,", err: "an organisational unit is empty"},
		"too long":            {text: strings.Repeat("é", 65), err: "has 65 characters where X.520 allows 64"},
		"too many":            {text: strings.Repeat("a,", 16) + "a", err: "17 organisational units where at most 16"},
		"line break":          {text: "Voice\nOps", err: `"Voice\nOps" has characters that do not print`},
		"not UTF-8":           {text: "Voice\xff", err: "is not UTF-8"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := cluster.ParseUnits(c.text)
			if c.err != "" {
				if p := problem(t, err, cluster.CodeField); !strings.Contains(p.Error(), c.err) {
					t.Errorf("%v does not say %q", err, c.err)
				}
				return
			}
			if d := cmp.Diff(c.want, got); err != nil || d != "" {
				t.Errorf("%v\n%s", err, d)
			}
			again, err := cluster.ParseUnits(cluster.FormatUnits(got))
			if d := cmp.Diff(got, again); err != nil || d != "" {
				t.Errorf("written and read again: %v\n%s", err, d)
			}
		})
	}
	if got, want := cluster.FormatUnits([]string{"Voice, Lab", `R\D`}), `Voice\, Lab,R\\D`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestSubject(t *testing.T) {
	t.Parallel()
	good := func() cluster.Subject {
		return cluster.Subject{
			Node: "cucmpub", Units: []string{"Voice, Lab", "Ops"}, Organization: "Example Voice Lab", Locality: "Lab City", State: "Lab State", Country: "US",
			AlternateHostNames: []string{"phones.example.net", "phones", "192.0.2.10", "2001:db8::10"},
		}
	}
	s := good()
	if err := s.Validate(); err != nil {
		t.Error(err)
	}
	if err := new(cluster.Subject).Validate(); err != nil {
		t.Error(err)
	}
	want := `C=US, ST=Lab State, L=Lab City, O=Example Voice Lab, OU=Voice\, Lab, OU=Ops, SAN=phones.example.net, SAN=phones, SAN=192.0.2.10, SAN=2001:db8::10`
	if d := cmp.Diff(want, s.String()); d != "" {
		t.Error(d)
	}
	for name, c := range map[string]struct {
		change func(*cluster.Subject)
		want   []string
	}{
		"country name":   {func(s *cluster.Subject) { s.Country = "USA" }, []string{"the subject settings of cucmpub: ", `country "USA" is not two letters`}},
		"country digits": {func(s *cluster.Subject) { s.Country = "U1" }, []string{`country "U1"`}},
		"country not ASCII": {
			func(s *cluster.Subject) { s.Country = "ß" }, []string{`country "ß"`}, // two octets
		},
		"organisation": {func(s *cluster.Subject) { s.Organization = strings.Repeat("x", 65) }, []string{"organisation", "65 characters where X.520 allows 64"}},
		"locality":     {func(s *cluster.Subject) { s.Locality = strings.Repeat("x", 129) }, []string{"locality", "129 characters where X.520 allows 128"}},
		"state":        {func(s *cluster.Subject) { s.State = strings.Repeat("x", 129) }, []string{"state", "X.520 allows 128"}},
		"blank":        {func(s *cluster.Subject) { s.State = " Texas" }, []string{"blanks at its ends"}},
		"zone":         {func(s *cluster.Subject) { s.AlternateHostNames = []string{"fe80::1%eth0"} }, []string{`alternate host name "fe80::1%eth0"`}},
		"wildcard":     {func(s *cluster.Subject) { s.AlternateHostNames = []string{"*.example.net"} }, []string{`alternate host name "*.example.net" is a wildcard`}},
		"IDN":          {func(s *cluster.Subject) { s.AlternateHostNames = []string{"bücher.example"} }, []string{"internationalised"}},
		"no address":   {func(s *cluster.Subject) { s.AlternateHostNames = []string{"192.0.2.300"} }, []string{"ends with a number"}},
		"too many": {
			func(s *cluster.Subject) { s.AlternateHostNames = strings.Split(strings.Repeat("a,", 50)+"a", ",") }, []string{"51 alternate host names where at most 50"},
		},
		"everything": {
			func(s *cluster.Subject) {
				s.Country, s.State, s.Units, s.AlternateHostNames = "1", "a\tb", []string{""}, []string{"a..b", ""}
			},
			[]string{`country "1"`, `state "a\tb"`, "organisational unit is empty", `"a..b" is no DNS name`, `alternate host name "" is empty`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := good()
			c.change(&s)
			p := problem(t, s.Validate(), cluster.CodeField)
			for _, part := range c.want {
				if !strings.Contains(p.Error(), part) {
					t.Errorf("%v does not say %q", p, part)
				}
			}
		})
	}
}

// FuzzParseUnits: what parses is valid, and is the same when it is written and read again.
func FuzzParseUnits(f *testing.F) {
	for _, seed := range []string{"", "Voice", `Voice\, Lab,Ops`, `a\\,b`, `\`, ",", " a , b ", "é,\xff", "\u00a0a"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		units, err := cluster.ParseUnits(text)
		if err != nil {
			problem(t, err, cluster.CodeField)
			return
		}
		if err := (&cluster.Subject{Units: units}).Validate(); err != nil {
			t.Fatal(err)
		}
		again, err := cluster.ParseUnits(cluster.FormatUnits(units))
		if d := cmp.Diff(units, again); err != nil || d != "" {
			t.Fatalf("%v\n%s", err, d)
		}
	})
}
