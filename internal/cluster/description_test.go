package cluster_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"callsign/internal/cluster"
	"callsign/internal/cluster/purpose"
)

// lab returns the cluster of testdata.
func lab(t testing.TB) *cluster.Cluster {
	t.Helper()
	c, err := cluster.Load(filepath.Join("testdata", "cluster.json"))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestLoad(t *testing.T) {
	t.Parallel()
	want := &cluster.Cluster{
		Name: "lab", Domain: "lab.example.com", Release: "15.0.1", MixedMode: true, SSO: true, PhoneInteraction: "manual",
		Backup: cluster.Backup{LastBackup: time.Date(2026, 11, 19, 2, 0, 0, 0, time.UTC)},
		Nodes: []cluster.Node{
			{
				Name: "cucmpub", FQDN: "cucmpub.lab.example.com", Role: cluster.Publisher, Product: purpose.CUCM,
				Services: []string{
					"Cisco Tomcat", "Cisco CallManager", "Cisco CTIManager", "Cisco Tftp", "Cisco Trust Verification Service",
					"Cisco Certificate Authority Proxy Function", "Cisco DRF Master", "Cisco DRF Local", "Cisco HAProxy",
				},
			},
			{
				Name: "cucmsub", FQDN: "cucmsub.lab.example.com", Role: cluster.Subscriber, Product: purpose.CUCM,
				Services: []string{
					"Cisco Tomcat", "Cisco CallManager", "Cisco CTIManager", "Cisco Trust Verification Service", "Cisco DRF Local", "Cisco HAProxy",
				},
			},
			{
				Name: "imp", FQDN: "imp.lab.example.com", Role: cluster.Subscriber, Product: purpose.IMP,
				Services: []string{"Cisco Tomcat", "Cisco DRF Local"},
			},
		},
		Phones: cluster.Phones{
			Total: 412, Registered: 409, Secure: 120, ITLUnknown: 3,
			LSCByIssuer: map[string]int{"CAPF-1a2b3c4d": 118, "CAPF-0badc0de": 2},
		},
	}
	if d := cmp.Diff(want, lab(t)); d != "" {
		t.Error(d)
	}
	other, err := cluster.Load(filepath.Join("testdata", "cluster-nonsecure.json"))
	if err != nil {
		t.Fatal(err)
	}
	want.Name, want.MixedMode, want.SSO = "lab-nonsecure", false, false
	if d := cmp.Diff(want, other); d != "" {
		t.Error(d)
	}
}

func TestLoadRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	broken := filepath.Join(dir, "broken.json")
	if err := os.WriteFile(broken, []byte("{\n \"name\": \"lab\",\n}"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{
		"description " + filepath.Join(dir, "none.json"): filepath.Join(dir, "none.json"), broken + ": line 3": broken, "description " + dir: dir,
	} {
		_, err := cluster.Load(path)
		p := problem(t, err, cluster.CodeDescription)
		if !strings.Contains(p.Error(), name) || p.Remedy() == "" {
			t.Errorf("%s: %v, remedy %q: want %q", path, p, p.Remedy(), name)
		}
		if strings.Count(p.Error(), path) != 1 {
			t.Errorf("the path is not there once: %v", p)
		}
	}
}

// description is a description of a publisher with changes to its text.
func description(t *testing.T, change ...string) string {
	t.Helper()
	const small = `{
 "name": "small",
 "domain": "small.example",
 "nodes": [
  {"name": "pub", "fqdn": "pub.small.example", "role": "publisher", "product": "cucm", "services": []},
  {"name": "sub", "fqdn": "sub.small.example", "role": "subscriber", "product": "cucm", "services": []}
 ]
}`
	for i := 0; i < len(change); i += 2 {
		if !strings.Contains(small, change[i]) {
			t.Fatalf("%q is not in the description", change[i])
		}
	}
	return strings.NewReplacer(change...).Replace(small)
}

func TestParse(t *testing.T) {
	t.Parallel()
	many := strings.Repeat(`{"name": "n", "fqdn": "n.small.example", "role": "subscriber", "product": "cucm"},`, cluster.MaxNodes)
	for name, c := range map[string]struct {
		change []string
		all    string   // instead of a changed description
		want   []string // parts of the error; none: it parses
	}{
		"as it is":              {},
		"no domain":             {change: []string{`"small.example",`, `"",`}},
		"phone interaction":     {change: []string{`"domain"`, `"phoneInteractionOnCertificateUpdate": "automatic", "domain"`}},
		"name is the FQDN":      {change: []string{`"sub.small.example"`, `"sub"`}},
		"presence subscriber":   {change: []string{`"subscriber", "product": "cucm"`, `"subscriber", "product": "imp"`}},
		"unknown key":           {change: []string{`"domain"`, `"domains"`}, want: []string{`line 3: "domains" is no key of a description; did you mean domain?`}},
		"slip in a service":     {change: []string{`"services": []}` + "\n", `"services": ["Cisco Tomkat", "A Service of Ours"]}` + "\n"}, want: []string{`service "Cisco Tomkat": did you mean Cisco Tomcat?`}},
		"no time":               {change: []string{`"domain"`, `"drf": {"lastBackup": "yesterday"}, "domain"`}, want: []string{`"yesterday" is no time: write it as 2026-11-19T02:00:00Z`}},
		"unknown key of a node": {change: []string{`"fqdn": "sub`, `"fdqn": "sub`}, want: []string{`line 6: "fdqn" is no key of a description; did you mean fqdn?`}},
		"not JSON":              {change: []string{`"small.example",`, `"small.example"`}, want: []string{"line 4:"}},
		"wrong type":            {change: []string{`"small.example",`, "17,"}, want: []string{"line 3: domain cannot be a JSON number"}},
		"wrong type in a node":  {change: []string{`"services": []}` + "\n", `"services": [1]}` + "\n"}, want: []string{"line 6: nodes.services cannot be a JSON number"}},
		"empty":                 {all: " ", want: []string{"is cut off or empty"}},
		"cut off":               {all: `{"name": "lab", "nodes": [`, want: []string{"is cut off or empty"}},
		"a list":                {all: `[]`, want: []string{"line 1: the description cannot be a JSON array"}},
		"trailing data":         {all: description(t) + "\n\n{}", want: []string{"line 10: something follows"}},
		"too large":             {all: strings.Repeat(" ", cluster.MaxDescription+1), want: []string{"is larger than 1048576 bytes"}},
		"no nodes":              {all: `{"name": "lab"}`, want: []string{"0 publishers"}},
		"null":                  {all: `null`, want: []string{`name ""`, "0 publishers"}},
		"two publishers":        {change: []string{`"subscriber"`, `"publisher"`}, want: []string{"2 publishers; a cluster has exactly one"}},
		"presence publisher":    {change: []string{`"publisher", "product": "cucm"`, `"publisher", "product": "imp"`}, want: []string{`node "pub": a publisher has the product cucm`}},
		"bad name":              {change: []string{`"small",`, `"../small",`}, want: []string{`name "../small": use`}},
		"bad domain":            {change: []string{`"small.example",`, `"small..example",`}, want: []string{`domain "small..example" is no DNS domain`}},
		"bad phone interaction": {change: []string{`"domain"`, `"phoneInteractionOnCertificateUpdate": "on", "domain"`}, want: []string{`Update "on": use automatic or manual`}},
		"node with a domain":    {change: []string{`"name": "sub"`, `"name": "sub.small.example"`}, want: []string{`node "sub.small.example": the name has to be`}},
		"bad FQDN":              {change: []string{"sub.small.example", "sub_small.example"}, want: []string{`node "sub": fqdn "sub_small.example" is no DNS name`}},
		"no role":               {change: []string{`"subscriber"`, `""`}, want: []string{`node "sub": role "": use publisher or subscriber`}},
		"no product":            {change: []string{`"product": "cucm", "services": []}` + "\n", `"product": "cuc"}` + "\n"}, want: []string{`node "sub": product "cuc": use cucm or imp`}},
		"twice the same name":   {change: []string{`"name": "sub"`, `"name": "PUB"`}, want: []string{`node "PUB": "pub" names node "pub" as well`}},
		"twice the same FQDN":   {change: []string{`"sub.small.example"`, `"Pub.small.example"`}, want: []string{`node "sub": "pub.small.example" names node "pub" as well`}},
		"a name is an FQDN":     {change: []string{`"sub.small.example"`, `"pub"`}, want: []string{`node "sub": "pub" names node "pub" as well`}},
		"too many nodes":        {change: []string{`"nodes": [`, `"nodes": [` + many}, want: []string{"102 nodes; at most 100"}},
		"negative count":        {change: []string{`"domain"`, `"phones": {"lscByIssuer": {"CAPF-1": -1}}, "domain"`}, want: []string{`lscByIssuer "CAPF-1" is negative`}},
		"all at once": {
			change: []string{`"small",`, `"",`, `"small.example",`, `"-",`, `"publisher"`, `"boss"`},
			want:   []string{`name ""`, `domain "-"`, `role "boss"`, "0 publishers"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text := c.all
			if text == "" {
				text = description(t, c.change...)
			}
			got, err := cluster.Parse([]byte(text))
			if c.want == nil {
				if err != nil {
					t.Fatal(err)
				}
				if got.Publisher().Name != "pub" {
					t.Errorf("the publisher is %v", got.Publisher())
				}
				return
			}
			if err == nil {
				t.Fatalf("%q was accepted", text)
			}
			for _, part := range c.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q does not say %q", err, part)
				}
			}
		})
	}
}

func TestNodes(t *testing.T) {
	t.Parallel()
	c, err := cluster.Parse([]byte(`{"name": "lab", "nodes": [
		{"name": "tftp", "fqdn": "tftp.lab.example", "role": "subscriber", "product": "cucm", "services": ["Cisco Tftp"]},
		{"name": "im1", "fqdn": "im1.lab.example", "role": "subscriber", "product": "imp", "services": ["Cisco CallManager"]},
		{"name": "pub", "fqdn": "pub.lab.example", "role": "publisher", "product": "cucm", "services": ["Cisco Trust Verification Service"]},
		{"name": "sub", "fqdn": "sub.lab.example", "role": "subscriber", "product": "cucm",
		 "services": ["Cisco CallManager", "Cisco Trust Verification Service"]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	names := func(nodes []*cluster.Node) string {
		var all []string
		for _, n := range nodes {
			all = append(all, n.Name)
		}
		return strings.Join(all, " ")
	}
	if got, want := names(c.Ordered()), "pub tftp im1 sub"; got != want {
		t.Errorf("ordered: %s, want %s", got, want)
	}
	want := map[string]string{
		"tomcat": "pub tftp im1 sub", "tomcat-ECDSA": "pub tftp im1 sub", "ipsec": "pub tftp im1 sub", "CallManager": "sub",
		"CallManager-ECDSA": "sub", "TVS": "pub sub", "CAPF": "pub", "ITLRecovery": "pub", "authz": "pub", "cup": "im1", "cup-ECDSA": "im1",
		"cup-xmpp": "im1", "cup-xmpp-ECDSA": "im1", "cup-xmpp-s2s": "im1", "cup-xmpp-s2s-ECDSA": "im1",
	}
	got := map[string]string{}
	for _, p := range purpose.Identities() {
		got[p.Name] = names(c.NodesWith(&p))
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	for name, want := range map[string]string{"sub": "sub", "SUB": "sub", "sub.lab.example": "sub", "Sub.LAB.example": "sub", "lab.example": "", "": ""} {
		n, ok := c.Node(name)
		if ok != (want != "") || ok && n.Name != want {
			t.Errorf("node %q: %v, %t; want %q", name, n, ok, want)
		}
	}
}

// FuzzParse: what parses holds together, and parses again to the same when it is written.
func FuzzParse(f *testing.F) {
	for _, name := range []string{"cluster.json", "cluster-nonsecure.json"} {
		data, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte(`{"name":"a","nodes":[{"name":"p","fqdn":"p","role":"publisher","product":"cucm"}]}`))
	f.Add([]byte("{\n\"name\": 1"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := cluster.Parse(data)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\r\x00\x1b") {
				t.Errorf("the error has control characters: %q", err)
			}
			return
		}
		publisher := c.Publisher()
		if ordered := c.Ordered(); len(ordered) != len(c.Nodes) || ordered[0] != publisher {
			t.Fatalf("%d nodes, ordered %d", len(c.Nodes), len(ordered))
		}
		for i := range c.Nodes {
			if n, ok := c.Node(c.Nodes[i].FQDN); !ok || n != &c.Nodes[i] {
				t.Fatalf("node %s is not found by its FQDN", c.Nodes[i].Name)
			}
		}
		again, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		d, err := cluster.Parse(again)
		if err != nil {
			t.Fatalf("%s: %v", again, err)
		}
		if diff := cmp.Diff(c, d); diff != "" {
			t.Error(diff)
		}
	})
}
