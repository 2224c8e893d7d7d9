package purpose_test

import (
	"crypto/x509"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"callsign/internal/cluster/purpose"
)

// read returns the rows of a decision table, by the name of their purpose or store.
func read(t *testing.T, path string) (identity, trust map[string]map[string]any) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Format   int              `json:"format"`
		Identity []map[string]any `json:"identity"`
		Trust    []map[string]any `json:"trust"`
	}
	if err := json.Unmarshal(data, &file); err != nil || file.Format != 1 {
		t.Fatal(file.Format, err)
	}
	rows := func(list []map[string]any, key string) map[string]map[string]any {
		all := map[string]map[string]any{}
		for _, row := range list {
			name, ok := row[key].(string)
			if !ok || all[name] != nil {
				t.Fatalf("%s: %v", key, row)
			}
			all[name] = row
		}
		return all
	}
	return rows(file.Identity, "purpose"), rows(file.Trust, "store")
}

// TestTable: our table is the published one, with the purposes of IM and Presence added, and what is said here.
func TestTable(t *testing.T) {
	t.Parallel()
	identity, trust := read(t, "table.json")
	wantIdentity, wantTrust := read(t, filepath.Join("testdata", "purposes.json"))
	if len(wantIdentity) < 9 || len(wantTrust) < 10 {
		t.Fatalf("%d purposes, %d stores", len(wantIdentity), len(wantTrust))
	}
	presence := func(name string) bool { return strings.HasPrefix(name, "cup") }
	for name := range identity {
		if presence(name) {
			delete(identity, name)
		}
	}
	delete(identity["ipsec"], "kuImp")
	for name := range trust {
		if presence(name) {
			delete(trust, name)
		}
	}
	// What the published table says in words is a field here.
	delete(trust["Phone-Edge-trust"], "publisherOnly")
	const words = " (15; publisher only for upload and delete)"
	trust["Phone-Edge-trust"]["usedFor"] = trust["Phone-Edge-trust"]["usedFor"].(string) + words
	if d := cmp.Diff(wantIdentity, identity); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(wantTrust, trust); d != "" {
		t.Error(d)
	}
}

// published is a row as this test reads it, apart from the package.
type published struct {
	Purpose, File, KeyType, Nodes, CN, CNMulti string
	Trust                                      *string
	Products                                   []string
	CSR, MultiServer, CA                       bool
	PathLen                                    *int
	SelfSignedYears                            int
	InCTL, InITL, CTLUpdate, PhonesReset       bool
	KU                                         map[string][]string
	EKU                                        json.RawMessage
	NeverWith                                  []string `json:"never_with"`
	Confirm, After                             []string
	Restart                                    map[string][]struct {
		Service, Scope, Via, Group, When string
		Auto                             bool
	}
}

// TestIdentities: what the package says of a purpose is what its row says.
func TestIdentities(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile(filepath.Join("testdata", "purposes.json"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Identity []published }
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	bits := map[string]x509.KeyUsage{
		"digitalSignature": x509.KeyUsageDigitalSignature, "keyEncipherment": x509.KeyUsageKeyEncipherment,
		"dataEncipherment": x509.KeyUsageDataEncipherment, "keyCertSign": x509.KeyUsageCertSign,
	}
	usages := map[string]x509.ExtKeyUsage{
		"serverAuth": x509.ExtKeyUsageServerAuth, "clientAuth": x509.ExtKeyUsageClientAuth, "ipsecEndSystem": x509.ExtKeyUsageIPSECEndSystem,
	}
	for _, row := range file.Identity {
		t.Run(row.Purpose, func(t *testing.T) {
			t.Parallel()
			p, ok := purpose.Find(row.Purpose)
			if !ok {
				t.Fatal("is unknown")
			}
			if row.CA != (row.PathLen != nil) || row.CA && *row.PathLen != 0 {
				t.Fatal("a path length that is not said here")
			}
			trust := ""
			if row.Trust != nil {
				trust = *row.Trust
			}
			type facts struct {
				Name, File, Key, Nodes, Trust           string
				Products                                []string
				CSR, Multi, CA, CTL, ITL, Update, Reset bool
				Years                                   int
				NeverWith, Confirm, After               []string
			}
			var products []string
			for _, q := range p.Products {
				products = append(products, string(q))
			}
			want := facts{
				row.Purpose, row.File, row.KeyType, row.Nodes, trust, row.Products, row.CSR, row.MultiServer, row.CA, row.InCTL, row.InITL,
				row.CTLUpdate, row.PhonesReset, row.SelfSignedYears, row.NeverWith, row.Confirm, row.After,
			}
			got := facts{
				p.Name, p.File(), string(p.Key), string(p.Nodes), p.Trust, products, p.CSR, p.MultiServer, p.CA, p.InCTL, p.InITL,
				p.CTLUpdate, p.PhonesReset, p.SelfSigned, p.NeverWith, p.Confirm, p.After,
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Error(d)
			}
			for _, profile := range []purpose.Profile{purpose.Profile15, purpose.Profile125} {
				var ku x509.KeyUsage
				for _, name := range row.KU[string(profile)] {
					if bits[name] == 0 {
						t.Fatalf("key usage %s", name)
					}
					ku |= bits[name]
				}
				if got := p.KeyUsage(purpose.CUCM, profile); got != ku {
					t.Errorf("key usage in %s: %s, want %s", profile, got, ku)
				}
				var eku []x509.ExtKeyUsage
				for _, name := range ekuNames(t, row.EKU, profile) {
					eku = append(eku, usages[name])
				}
				if d := cmp.Diff(eku, p.ExtKeyUsage(profile)); d != "" {
					t.Errorf("extended key usage in %s: %s", profile, d)
				}
			}
			for _, mode := range []purpose.Mode{purpose.CASigned, purpose.SelfSigned, purpose.Guide14} {
				var restarts []purpose.Restart
				for _, r := range row.Restart[string(mode)] {
					restarts = append(restarts, purpose.Restart(r))
				}
				if d := cmp.Diff(restarts, p.Restarts(mode)); d != "" {
					t.Errorf("%s: %s", mode, d)
				}
			}
			pattern := strings.NewReplacer("{fqdn}", "pub.a.example", "{host}", "pub", "{domain}", "a.example", "{8 hex digits}", "0badc0de")
			if got, want := p.CommonName("pub", "pub.a.example", "a.example", "0badc0de", false), pattern.Replace(row.CN); got != want {
				t.Errorf("common name %s, want %s", got, want)
			}
			if row.MultiServer {
				if got, want := p.CommonName("pub", "pub.a.example", "a.example", "", true), pattern.Replace(row.CNMulti); got != want {
					t.Errorf("multi-server common name %s, want %s", got, want)
				}
			}
		})
	}
}

// ekuNames are the extended key usages of a row, which are one list or one for each profile.
func ekuNames(t *testing.T, data json.RawMessage, profile purpose.Profile) []string {
	t.Helper()
	var one []string
	if json.Unmarshal(data, &one) == nil {
		return one
	}
	var each map[string][]string
	if err := json.Unmarshal(data, &each); err != nil || each[string(profile)] == nil {
		t.Fatal(each, err)
	}
	return each[string(profile)]
}

// TestKeyUsage is the table of key usages in full.
func TestKeyUsage(t *testing.T) {
	t.Parallel()
	const (
		sign    = x509.KeyUsageDigitalSignature
		data    = x509.KeyUsageDataEncipherment
		keyEnc  = x509.KeyUsageKeyEncipherment
		agree   = x509.KeyUsageKeyAgreement
		certs   = x509.KeyUsageCertSign
		server  = x509.ExtKeyUsageServerAuth
		client  = x509.ExtKeyUsageClientAuth
		ipsec   = x509.ExtKeyUsageIPSECEndSystem
		tls     = sign | data
		tls12   = tls | keyEnc
		tls11   = tls12 | agree
		usually = "15 12.5 11"
	)
	both := []x509.ExtKeyUsage{server, client}
	all := []x509.ExtKeyUsage{server, client, ipsec}
	type usage struct {
		ku  []x509.KeyUsage // in 15, 12.5 and 11
		eku []x509.ExtKeyUsage
	}
	forTLS, always := []x509.KeyUsage{tls, tls12, tls11}, []x509.KeyUsage{tls12, tls12, tls11}
	rows := map[string]usage{
		"cucm tomcat": {forTLS, both}, "cucm tomcat-ECDSA": {forTLS, both}, "imp tomcat": {forTLS, both}, "imp tomcat-ECDSA": {forTLS, both},
		"cucm CallManager": {forTLS, both}, "cucm CallManager-ECDSA": {forTLS, both},
		"cucm ipsec": {always, all}, "imp ipsec": {forTLS, all}, "cucm TVS": {always, both},
		"cucm CAPF":        {[]x509.KeyUsage{sign | certs, sign | certs, sign | certs}, both},
		"cucm ITLRecovery": {[]x509.KeyUsage{0, 0, 0}, nil}, "cucm authz": {[]x509.KeyUsage{0, 0, 0}, nil},
		"imp cup": {forTLS, all}, "imp cup-ECDSA": {forTLS, all}, "imp cup-xmpp": {forTLS, all}, "imp cup-xmpp-ECDSA": {forTLS, all},
		"imp cup-xmpp-s2s": {forTLS, all}, "imp cup-xmpp-s2s-ECDSA": {forTLS, all},
	}
	seen := 0
	for _, p := range purpose.Identities() {
		for _, product := range p.Products {
			seen++
			want, ok := rows[string(product)+" "+p.Name]
			if !ok {
				t.Errorf("%s on %s is not in the table", p.Name, product)
				continue
			}
			for i, profile := range strings.Fields(usually) {
				if got := p.KeyUsage(product, purpose.Profile(profile)); got != want.ku[i] {
					t.Errorf("%s on %s, %s: %s, want %s", p.Name, product, profile, got, want.ku[i])
				}
				eku := want.eku
				if p.Name == "CAPF" && profile != "15" {
					eku = []x509.ExtKeyUsage{server}
				}
				if got := p.ExtKeyUsage(purpose.Profile(profile)); !slices.Equal(got, eku) {
					t.Errorf("%s, %s: %v, want %v", p.Name, profile, got, eku)
				}
			}
			if p.KeyUsage(product, "") != want.ku[0] {
				t.Errorf("%s: no profile is not 15", p.Name)
			}
		}
	}
	if seen != len(rows) {
		t.Errorf("%d rows for %d purposes", len(rows), seen)
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	if got := purpose.Names(); len(got) != 15 || got[0] != "tomcat" || len(got) != len(purpose.Identities()) {
		t.Errorf("purposes %q", got)
	}
	stores := purpose.StoreNames()
	if len(stores) != 13 || len(stores) != len(purpose.Stores()) {
		t.Errorf("stores %q", stores)
	}
	for _, name := range stores {
		if s, ok := purpose.FindStore(name); !ok || s.Name != name || !purpose.IsStore(name) {
			t.Errorf("store %s is not found", name)
		}
	}
	for _, name := range []string{"", "Tomcat", "tomcat-trust", "tomcat "} {
		if _, ok := purpose.Find(name); ok {
			t.Errorf("purpose %q is found", name)
		}
	}
	for _, name := range []string{"", "tomcat", "Tomcat-trust", "no-trust"} {
		if _, ok := purpose.FindStore(name); ok {
			t.Errorf("store %q is found", name)
		}
	}
	for name, want := range map[string]string{
		"tomcat": "tomcat-ECDSA", "tomcat-ECDSA": "tomcat", "CallManager": "CallManager-ECDSA", "cup-xmpp-s2s-ECDSA": "cup-xmpp-s2s", "ipsec": "", "CAPF": "", "TVS": "",
	} {
		if p, _ := purpose.Find(name); p.Twin() != want {
			t.Errorf("the twin of %s is %q, want %q", name, p.Twin(), want)
		}
	}
	for _, p := range purpose.Identities() {
		if ec := strings.HasSuffix(p.Name, "-ECDSA"); ec != (p.Key == purpose.EC) {
			t.Errorf("%s has a key of type %s", p.Name, p.Key)
		}
		if _, ok := purpose.FindStore(p.Trust); !ok && p.Name != "authz" {
			t.Errorf("%s: no store %q", p.Name, p.Trust)
		}
	}
}

// TestCopies: nobody changes the table through what it is given.
func TestCopies(t *testing.T) {
	t.Parallel()
	p, _ := purpose.Find("tomcat")
	p.Name = "changed"
	purpose.Identities()[0].Name = "changed"
	purpose.Stores()[0].Name = "changed"
	p.Restarts(purpose.CASigned)[0].Service = "changed"
	again, ok := purpose.Find("tomcat")
	if !ok || again.Name != "tomcat" || again.Restarts(purpose.CASigned)[0].Service != "Cisco Tomcat" {
		t.Errorf("%+v", again)
	}
	if _, ok := purpose.FindStore("tomcat-trust"); !ok {
		t.Error("the store is gone")
	}
}

// TestStoresOfProducts: a store is where one of its purposes is.
func TestStoresOfProducts(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]struct{ cucm, imp bool }{
		"tomcat-trust": {true, true}, "ipsec-trust": {true, true}, "CAPF-trust": {true, false}, "CallManager-trust": {true, false},
		"cup-trust": {false, true}, "Phone-trust": {true, false},
	} {
		s, ok := purpose.FindStore(name)
		if !ok || s.On(purpose.CUCM) != want.cucm || s.On(purpose.IMP) != want.imp {
			t.Errorf("%s: %+v", name, s)
		}
	}
}
