package cluster_test

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"callsign/internal/cluster"
	"callsign/internal/cluster/purpose"
)

func TestPrepareNames(t *testing.T) {
	t.Parallel()
	domain := func(s string) *string { return &s }
	for name, c := range map[string]struct {
		fields  cluster.Fields
		subject cluster.Subject
		domain  *string // of the cluster; nil: lab.example.com
		cn      string
		names   string // with blanks between; without the domain lab.example.com
	}{
		"single":               {fields: cluster.Fields{Purpose: "tomcat", Node: "cucmsub"}, cn: "cucmsub.", names: "lab.example.com cucmsub."},
		"presence node":        {fields: cluster.Fields{Purpose: "tomcat-ECDSA", Node: "imp"}, cn: "imp-EC.", names: "lab.example.com imp."},
		"one presence node":    {fields: cluster.Fields{Purpose: "cup"}, cn: "imp.", names: "lab.example.com imp."},
		"multi, presence":      {fields: cluster.Fields{Purpose: "cup-xmpp-s2s-ECDSA", Multi: true}, cn: "imp-EC-ms.", names: "lab.example.com imp."},
		"multi on subscriber":  {fields: cluster.Fields{Purpose: "CallManager", Node: "cucmsub", Multi: true}, cn: "cucmsub-ms.", names: "lab.example.com cucmsub. cucmpub."},
		"multi, all":           {fields: cluster.Fields{Purpose: "tomcat", Multi: true}, cn: "cucmpub-ms.", names: "lab.example.com cucmsub. cucmpub. imp."},
		"multi without domain": {fields: cluster.Fields{Purpose: "tomcat", Multi: true, ParentDomain: domain("")}, cn: "cucmpub-ms.", names: "cucmsub. cucmpub. imp."},
		"multi with others": {
			fields:  cluster.Fields{Purpose: "tomcat", Multi: true, Others: []string{"uc.example.com", "CUCMSUB.LAB.example.com", "Uc.Example.Com", "b.example.com"}},
			subject: labSubject("192.0.2.1", "a.example.com", "::ffff:192.0.2.1"),
			cn:      "cucmpub-ms.", names: "lab.example.com cucmsub. cucmpub. imp. uc.example.com b.example.com a.example.com 192.0.2.1",
		},
		"other parent": {fields: cluster.Fields{Purpose: "tomcat", ParentDomain: domain("example.com")}, cn: "cucmpub.", names: "example.com cucmpub."},
		"own common name": {
			fields: cluster.Fields{Purpose: "tomcat", Multi: true, CommonName: "cucmpub.lab.example.com"}, cn: "cucmpub.",
			names: "lab.example.com cucmsub. cucmpub. imp.",
		},
		"parent is the node":         {fields: cluster.Fields{Purpose: "tomcat", ParentDomain: domain("CUCMPUB.lab.example.com")}, cn: "cucmpub.", names: "CUCMPUB."},
		"emptied":                    {fields: cluster.Fields{Purpose: "TVS", ParentDomain: domain("")}, cn: "cucmpub."},
		"emptied with alternate":     {fields: cluster.Fields{Purpose: "TVS", ParentDomain: domain("")}, subject: labSubject("192.0.2.1"), cn: "cucmpub.", names: "cucmpub. 192.0.2.1"},
		"cluster without domain":     {fields: cluster.Fields{Purpose: "tomcat"}, domain: domain(""), cn: "cucmpub.", names: "cucmpub."},
		"EC without domain":          {fields: cluster.Fields{Purpose: "tomcat-ECDSA"}, domain: domain(""), cn: "cucmpub-EC", names: "cucmpub."},
		"CAPF":                       {fields: cluster.Fields{Purpose: "CAPF", CommonName: "CAPF-00000000"}, subject: labSubject("192.0.2.1"), cn: "CAPF-00000000"},
		"CAPF with an empty parent":  {fields: cluster.Fields{Purpose: "CAPF", CommonName: "CAPF-0", ParentDomain: domain("")}, cn: "CAPF-0"},
		"common name of 64 letters":  {fields: cluster.Fields{Purpose: "tomcat", CommonName: strings.Repeat("é", 64)}, cn: strings.Repeat("é", 64), names: "lab.example.com cucmpub."},
		"internationalised in ASCII": {fields: cluster.Fields{Purpose: "tomcat", ParentDomain: domain("xn--bcher-kva.example")}, cn: "cucmpub.", names: "xn--bcher-kva.example cucmpub."},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cl := lab(t)
			if c.domain != nil {
				cl.Domain = *c.domain
			}
			template, err := cl.Prepare(c.fields, c.subject, "")
			if err != nil {
				t.Fatal(err)
			}
			full := func(s string) string {
				if strings.HasSuffix(s, ".") {
					return s + "lab.example.com"
				}
				return s
			}
			var want []string
			for n := range strings.FieldsSeq(c.names) {
				want = append(want, full(n))
			}
			if d := cmp.Diff(want, template.Names()); d != "" {
				t.Error(d)
			}
			if template.CommonName != full(c.cn) {
				t.Errorf("common name %s, want %s", template.CommonName, full(c.cn))
			}
			if template.Multi() != c.fields.Multi || template.Multi() != (template.Node == cluster.AllNodes) {
				t.Errorf("node %q, multi-server %t", template.Node, template.Multi())
			}
		})
	}
}

func TestPrepareRefuses(t *testing.T) {
	t.Parallel()
	domain := func(s string) *string { return &s }
	long := lab(t)
	long.Domain = strings.Repeat("a", 55) + ".example"
	fips := lab(t)
	fips.FIPS = true
	twoPresence := lab(t)
	twoPresence.Nodes = append(twoPresence.Nodes, cluster.Node{Name: "imp2", FQDN: "imp2.lab.example.com", Role: cluster.Subscriber, Product: purpose.IMP})
	onlyOne := lab(t)
	onlyOne.Nodes = onlyOne.Nodes[:1]
	for name, c := range map[string]struct {
		cluster *cluster.Cluster
		fields  cluster.Fields
		subject cluster.Subject
		profile purpose.Profile
		code    string
		want    []string // in the error
		fix     string
	}{
		"no purpose":       {code: cluster.CodePurpose, want: []string{`called ""`}, fix: "tomcat, tomcat-ECDSA"},
		"case":             {fields: cluster.Fields{Purpose: "callmanager"}, code: cluster.CodePurpose, want: []string{`"callmanager"`}, fix: "write CallManager"},
		"store":            {fields: cluster.Fields{Purpose: "tomcat-trust"}, code: cluster.CodePurpose, want: []string{"tomcat-trust is a trust store"}},
		"always self":      {fields: cluster.Fields{Purpose: "ITLRecovery"}, code: cluster.CodeNoCSR, want: []string{"no CA signs ITLRecovery"}},
		"no multi-server":  {fields: cluster.Fields{Purpose: "ipsec", Multi: true}, code: cluster.CodeNotMulti, want: []string{"ipsec has one"}, fix: "tomcat, tomcat-ECDSA, CallManager, "},
		"unknown node":     {fields: cluster.Fields{Purpose: "tomcat", Node: "cucm9"}, code: cluster.CodeNode, want: []string{`cluster lab has no node "cucm9"`}, fix: "use cucmpub, cucmsub or imp"},
		"not on node":      {fields: cluster.Fields{Purpose: "CallManager", Node: "imp"}, code: cluster.CodeNotHere, want: []string{"CallManager is not on node imp"}, fix: "--node cucmpub or cucmsub"},
		"CAPF, subscriber": {fields: cluster.Fields{Purpose: "CAPF", Node: "cucmsub"}, code: cluster.CodeNotHere, fix: "--node cucmpub"},
		"which node":       {cluster: twoPresence, fields: cluster.Fields{Purpose: "cup"}, code: cluster.CodeNotHere, want: []string{"cucmpub, the publisher"}, fix: "--node imp or imp2"},
		"nowhere":          {cluster: onlyOne, fields: cluster.Fields{Purpose: "cup"}, code: cluster.CodeNotHere, fix: "no node of cluster lab has it"},
		"common name too long": {
			cluster: long, fields: cluster.Fields{Purpose: "CallManager-ECDSA"}, want: []string{"the usual common name", "74 characters where X.520 allows 64"}, fix: "--cn",
		},
		"own common name too long": {fields: cluster.Fields{Purpose: "tomcat", CommonName: strings.Repeat("é", 65)}, want: []string{"common name", "65 characters"}, fix: "--cn"},
		"common name wildcard":     {fields: cluster.Fields{Purpose: "tomcat", CommonName: "*.example.com"}, want: []string{`common name "*.example.com" is a wildcard`}},
		"common name blank":        {fields: cluster.Fields{Purpose: "tomcat", CommonName: " "}, want: []string{"blanks"}},
		"common name, line break":  {fields: cluster.Fields{Purpose: "tomcat", CommonName: "a\nCN=b"}, want: []string{`"a\nCN=b" has characters that do not print`}},
		"parent, IDN":              {fields: cluster.Fields{Purpose: "tomcat", ParentDomain: domain("bücher.example")}, want: []string{"parent domain", "internationalised"}, fix: "xn--"},
		"parent, address":          {fields: cluster.Fields{Purpose: "tomcat", ParentDomain: domain("192.0.2.1")}, want: []string{"is an IP address"}, fix: "--parent-domain"},
		"parent, point at the end": {fields: cluster.Fields{Purpose: "tomcat", ParentDomain: domain("example.com.")}, want: []string{"ends with a point"}},
		"parent, underscore":       {fields: cluster.Fields{Purpose: "tomcat", ParentDomain: domain("a_b.example")}, want: []string{"is no DNS name"}, fix: "letters, digits and hyphens"},
		"parent, long":             {fields: cluster.Fields{Purpose: "tomcat", ParentDomain: domain(strings.Repeat("a.", 127))}, want: []string{"longer than the 253"}},
		"parent of CAPF":           {fields: cluster.Fields{Purpose: "CAPF", ParentDomain: domain("example.com")}, want: []string{"have no subject alternative names"}},
		"others without multi":     {fields: cluster.Fields{Purpose: "tomcat", Others: []string{"a.example.com"}}, want: []string{"with --multi-server only"}},
		"other, address":           {fields: cluster.Fields{Purpose: "tomcat", Multi: true, Others: []string{"2001:db8::1"}}, want: []string{`other domain "2001:db8::1" is an IP address`}, fix: "alternate host name of node cucmpub"},
		"other, host name":         {fields: cluster.Fields{Purpose: "tomcat", Multi: true, Others: []string{"phones"}}, want: []string{"host name without domain"}},
		"other, wildcard":          {fields: cluster.Fields{Purpose: "tomcat", Multi: true, Others: []string{"*.example.com"}}, want: []string{"is a wildcard"}},
		"other, URL":               {fields: cluster.Fields{Purpose: "tomcat", Multi: true, Others: []string{"https://a.example.com/"}}, want: []string{"is a URL"}},
		"other, port":              {fields: cluster.Fields{Purpose: "tomcat", Multi: true, Others: []string{"a.example.com:8443"}}, want: []string{"is more than a DNS name"}},
		"other, empty":             {fields: cluster.Fields{Purpose: "tomcat", Multi: true, Others: []string{""}}, want: []string{`other domain "" is empty`}},
		"other, no address":        {fields: cluster.Fields{Purpose: "tomcat", Multi: true, Others: []string{"1.2.3.256"}}, want: []string{"ends with a number"}},
		"many others":              {fields: cluster.Fields{Purpose: "tomcat", Multi: true, Others: numbered(cluster.MaxNames + 1)}, want: []string{"201 other domains where at most 200"}},
		"many names":               {fields: cluster.Fields{Purpose: "tomcat", Multi: true, Others: numbered(cluster.MaxNames - 3)}, want: []string{"201 names where at most 200"}},
		"EC key for RSA":           {fields: cluster.Fields{Purpose: "tomcat", Key: key(t, "ec:384")}, want: []string{"tomcat has keys of the type RSA"}, fix: "or the purpose tomcat-ECDSA"},
		"RSA key for EC":           {fields: cluster.Fields{Purpose: "cup-ECDSA", Node: "imp", Key: key(t, "rsa:2048")}, want: []string{"keys of the type EC"}, fix: "or the purpose cup"},
		"key length":               {fields: cluster.Fields{Purpose: "tomcat", Key: cluster.KeySpec{Bits: 8192}}, want: []string{"key rsa:8192 has no possible length"}},
		"long CAPF key":            {fields: cluster.Fields{Purpose: "CAPF", Key: key(t, "rsa:4096")}, want: []string{"mixed mode"}, fix: "rsa:3072"},
		"hash of 384":              {fields: cluster.Fields{Purpose: "tomcat-ECDSA", Hash: cluster.SHA256}, want: []string{`hash "sha256" does not go with key ec:384`}, fix: "use sha384 or sha512"},
		"hash of 521":              {fields: cluster.Fields{Purpose: "tomcat-ECDSA", Key: key(t, "ec:521"), Hash: cluster.SHA384}, fix: "use sha512"},
		"unknown hash":             {fields: cluster.Fields{Purpose: "tomcat", Hash: "MD5"}, want: []string{`hash "md5"`}},
		"FIPS hash":                {cluster: fips, fields: cluster.Fields{Purpose: "tomcat", Hash: cluster.SHA512}, want: []string{"in FIPS mode"}, fix: "use sha256"},
		"FIPS key":                 {cluster: fips, fields: cluster.Fields{Purpose: "tomcat-ECDSA", Key: key(t, "ec:384")}, want: []string{"FIPS mode allows the hash SHA256 only"}, fix: "use ec:256"},
		"profile":                  {fields: cluster.Fields{Purpose: "tomcat"}, profile: "14", want: []string{`profile "14"`}, fix: "15, 12.5 or 11"},
		"subject":                  {fields: cluster.Fields{Purpose: "tomcat"}, subject: cluster.Subject{Country: "Germany"}, want: []string{`country "Germany"`}},
		"all at once": {
			fields: cluster.Fields{
				Purpose: "tomcat", Node: "imp", Multi: true, CommonName: "*", ParentDomain: domain("_"), Others: []string{"192.0.2.1", "a"}, Key: key(t, "ec:256"),
			},
			subject: cluster.Subject{State: "\x00", AlternateHostNames: []string{"-"}},
			want: []string{
				"the request for tomcat, multi-server, made on imp: ", `common name "*"`, `parent domain "_"`, `other domain "192.0.2.1"`, `other domain "a"`,
				"key ec:256", `state "\x00"`, `alternate host name "-"`,
			},
		},
		"a flood": {fields: cluster.Fields{Purpose: "tomcat", Multi: true, Others: strings.Split(strings.Repeat("_,", 150), ",")}, want: []string{"and 141 faults more"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cl, code := c.cluster, c.code
			if cl == nil {
				cl = lab(t)
			}
			if code == "" {
				code = cluster.CodeField
			}
			template, err := cl.Prepare(c.fields, c.subject, c.profile)
			if err == nil {
				t.Fatalf("was accepted: %+v", template)
			}
			p := problem(t, err, code)
			for _, part := range c.want {
				if !strings.Contains(p.Error(), part) {
					t.Errorf("%v does not say %q", p, part)
				}
			}
			if !strings.Contains(p.Remedy(), c.fix) {
				t.Errorf("the remedy %q does not say %q", p.Remedy(), c.fix)
			}
		})
	}
}

// numbered returns n host names.
func numbered(n int) []string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf("n%d.example.com", i))
	}
	return all
}

// TestLargestCluster: a multi-server request has room for every node.
func TestLargestCluster(t *testing.T) {
	t.Parallel()
	c := lab(t)
	for i := len(c.Nodes); i < cluster.MaxNodes; i++ {
		c.Nodes = append(c.Nodes, cluster.Node{
			Name: fmt.Sprintf("n%d", i), FQDN: fmt.Sprintf("n%d.lab.example.com", i), Role: cluster.Subscriber, Product: purpose.CUCM,
		})
	}
	template, err := c.Prepare(cluster.Fields{Purpose: "tomcat", Multi: true}, cluster.Subject{}, "")
	if err != nil {
		t.Fatal(err)
	}
	if n := len(template.Names()); n != cluster.MaxNodes+1 {
		t.Errorf("%d names", n)
	}
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		purpose string
		bits    int // asked for
		fips    bool
		key     string
		hash    cluster.Hash
	}{
		"RSA":         {purpose: "tomcat", key: "rsa:2048", hash: cluster.SHA256},
		"RSA 4096":    {purpose: "tomcat", bits: 4096, key: "rsa:4096", hash: cluster.SHA256},
		"RSA in FIPS": {purpose: "tomcat", fips: true, key: "rsa:2048", hash: cluster.SHA256},
		"EC":          {purpose: "tomcat-ECDSA", key: "ec:384", hash: cluster.SHA384},
		"EC 256":      {purpose: "tomcat-ECDSA", bits: 256, key: "ec:256", hash: cluster.SHA256},
		"EC 521":      {purpose: "tomcat-ECDSA", bits: 521, key: "ec:521", hash: cluster.SHA512},
		"EC in FIPS":  {purpose: "tomcat-ECDSA", fips: true, key: "ec:256", hash: cluster.SHA256},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cl := lab(t)
			cl.FIPS = c.fips
			template, err := cl.Prepare(cluster.Fields{Purpose: c.purpose, Key: cluster.KeySpec{Bits: c.bits}}, cluster.Subject{}, "")
			if err != nil {
				t.Fatal(err)
			}
			if template.Key.String() != c.key || template.Hash != c.hash {
				t.Errorf("%s %s, want %s %s", template.Key, template.Hash, c.key, c.hash)
			}
		})
	}
}

func TestNotes(t *testing.T) {
	t.Parallel()
	none := ""
	for name, c := range map[string]struct {
		fields  cluster.Fields
		change  func(*cluster.Cluster)
		want    map[string]string // code: part of the text
		subject cluster.Subject
	}{
		"nothing to say":   {fields: cluster.Fields{Purpose: "tomcat"}},
		"nor to CAPF":      {fields: cluster.Fields{Purpose: "CAPF"}},
		"nor to EC":        {fields: cluster.Fields{Purpose: "CallManager-ECDSA"}},
		"weak":             {fields: cluster.Fields{Purpose: "tomcat", Key: key(t, "rsa:1024")}, want: map[string]string{cluster.NoteWeakKey: "1024"}},
		"long":             {fields: cluster.Fields{Purpose: "CallManager", Key: key(t, "rsa:3072")}, want: map[string]string{cluster.NoteLongKey: "phones"}},
		"long for tomcat":  {fields: cluster.Fields{Purpose: "tomcat", Key: key(t, "rsa:4096")}},
		"no names":         {fields: cluster.Fields{Purpose: "tomcat", ParentDomain: &none}, want: map[string]string{cluster.NoteNoNames: "cucmpub.lab.example.com"}},
		"own common name":  {fields: cluster.Fields{Purpose: "tomcat", CommonName: "x.example.com"}, want: map[string]string{cluster.NoteCommonName: "x.example.com"}},
		"own and a name":   {fields: cluster.Fields{Purpose: "tomcat", CommonName: "LAB.example.com"}},
		"alternate name":   {fields: cluster.Fields{Purpose: "tomcat", CommonName: "x.example.com"}, subject: labSubject("x.example.com")},
		"FIPS":             {fields: cluster.Fields{Purpose: "tomcat-ECDSA"}, change: func(c *cluster.Cluster) { c.FIPS = true }, want: map[string]string{cluster.NoteFIPS: "256 bits"}},
		"FIPS, as told to": {fields: cluster.Fields{Purpose: "tomcat-ECDSA", Key: key(t, "ec:256")}, change: func(c *cluster.Cluster) { c.FIPS = true }},
		"multi-server": {
			fields: cluster.Fields{Purpose: "tomcat", Multi: true},
			want:   map[string]string{cluster.NoteCommonName: "cucmpub-ms.", cluster.NotePresence: "nodes as well: imp"},
		},
		"multi-server, presence only": {fields: cluster.Fields{Purpose: "cup-xmpp", Multi: true, CommonName: "imp.lab.example.com"}},
		"tomcat does not run": {
			fields: cluster.Fields{Purpose: "CallManager", Multi: true, CommonName: "lab.example.com"},
			change: func(c *cluster.Cluster) { c.Nodes[1].Services = c.Nodes[1].Services[1:]; c.Nodes[2].Services = nil },
			want:   map[string]string{cluster.NoteNotRunning: "on cucmsub:"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cl := lab(t)
			if c.change != nil {
				c.change(cl)
			}
			template, err := cl.Prepare(c.fields, c.subject, "")
			if err != nil {
				t.Fatal(err)
			}
			var codes []string
			for _, n := range template.Notes {
				codes = append(codes, n.Code)
				if !strings.Contains(n.Text, c.want[n.Code]) {
					t.Errorf("%q does not say %q", n.Text, c.want[n.Code])
				}
			}
			slices.Sort(codes)
			if d := cmp.Diff(slices.Sorted(maps.Keys(c.want)), codes); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestNewDigits: each CAPF certificate has a name of its own.
func TestNewDigits(t *testing.T) {
	t.Parallel()
	form := regexp.MustCompile(`^CAPF-[0-9a-f]{8}$`)
	seen := map[string]bool{}
	for range 10 {
		template, err := lab(t).Prepare(cluster.Fields{Purpose: "CAPF"}, cluster.Subject{}, "")
		if err != nil {
			t.Fatal(err)
		}
		if !form.MatchString(template.CommonName) || seen[template.CommonName] {
			t.Errorf("common name %s", template.CommonName)
		}
		seen[template.CommonName] = true
	}
}

// TestStringTypes: values are PrintableString where that is possible.
func TestStringTypes(t *testing.T) {
	t.Parallel()
	s := cluster.Subject{Units: []string{"Voice, Lab", "R&D"}, Organization: "Société", Locality: "Lab City", State: "a@b", Country: "de"}
	template, err := lab(t).Prepare(cluster.Fields{Purpose: "tomcat-ECDSA", IncludeOU: true}, s, "")
	if err != nil {
		t.Fatal(err)
	}
	der, _, err := template.Request(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var rdns []asn1.RawValue
	if _, err := asn1.Unmarshal(parsedRequest(t, der).RawSubject, &rdns); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, rdn := range rdns {
		var attribute struct {
			Type  asn1.ObjectIdentifier
			Value asn1.RawValue
		}
		if rest, err := asn1.Unmarshal(rdn.Bytes, &attribute); err != nil || len(rest) > 0 {
			t.Fatal(err, rest)
		}
		kind := map[int]string{asn1.TagPrintableString: "printable", asn1.TagUTF8String: "utf8"}[attribute.Value.Tag]
		got = append(got, fmt.Sprintf("%s %s %s", attribute.Type, kind, attribute.Value.Bytes))
	}
	want := []string{
		"2.5.4.6 printable DE", "2.5.4.8 utf8 a@b", "2.5.4.7 printable Lab City", "2.5.4.10 utf8 Société", "2.5.4.11 printable Voice, Lab", "2.5.4.11 utf8 R&D",
		"2.5.4.3 printable cucmpub-EC.lab.example.com",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if want := `CN=cucmpub-EC.lab.example.com,OU=R&D,OU=Voice\, Lab,O=Société,L=Lab City,ST=a@b,C=DE`; template.Subject() != want {
		t.Errorf("%s, want %s", template.Subject(), want)
	}
}

// TestWrongTemplate: a template makes only what it was prepared for.
func TestWrongTemplate(t *testing.T) {
	t.Parallel()
	f := cluster.Fields{Purpose: "tomcat-ECDSA"}
	request, err := lab(t).Prepare(f, cluster.Subject{}, "")
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := lab(t).PrepareSelfSigned(f, cluster.Subject{}, "")
	if err != nil {
		t.Fatal(err)
	}
	if der, key, err := request.SelfSigned(rand.Reader, at); err == nil || der != nil || key != nil {
		t.Error("a certificate was made of a request's template")
	}
	if der, key, err := certificate.Request(rand.Reader); err == nil || der != nil || key != nil {
		t.Error("a request was made of a certificate's template")
	}
	if der, key, err := new(cluster.Template).Request(rand.Reader); err == nil || der != nil || key != nil {
		t.Error("a request was made of nothing")
	}
}

// FuzzPrepare: what is accepted can be made, and has the names that were announced, each once.
func FuzzPrepare(f *testing.F) {
	f.Add("", "example.com", "a.example.com", "192.0.2.1", "Voice, Lab", "US")
	f.Add("x", "", "A.example.com", "a.example.com", "é", "")
	f.Add("*", "xn--bcher-kva.example", "1.2.3.4", "2001:db8::1", "\x00", "u")
	f.Add("\u202e", "a..b", ".", "::ffff:1.2.3.4", " ", "U\xff")
	f.Fuzz(func(t *testing.T, cn, domain, other, alternate, unit, country string) {
		fields := cluster.Fields{
			Purpose: "tomcat-ECDSA", Multi: true, CommonName: cn, ParentDomain: &domain, Others: []string{other}, IncludeOU: true, Key: cluster.KeySpec{Bits: 256},
		}
		template, err := lab(t).Prepare(fields, cluster.Subject{Units: []string{unit}, Country: country, AlternateHostNames: []string{alternate}}, "")
		if err != nil {
			problem(t, err, cluster.CodeField)
			return
		}
		der, _, err := template.Request(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		r := parsedRequest(t, der)
		if d := cmp.Diff(template.Names(), names(r)); d != "" {
			t.Error(d)
		}
		if r.Subject.CommonName != template.CommonName || cn != "" && cn != template.CommonName {
			t.Errorf("common name %q, want %q", r.Subject.CommonName, template.CommonName)
		}
		seen := map[string]bool{}
		for _, n := range names(r) {
			if n = strings.ToLower(n); seen[n] {
				t.Errorf("%s is there twice", n)
			}
			seen[n] = true
		}
		if r.PublicKeyAlgorithm != x509.ECDSA {
			t.Errorf("the key is %s", r.PublicKeyAlgorithm)
		}
	})
}
