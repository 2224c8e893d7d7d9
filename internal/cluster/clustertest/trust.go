package clustertest

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509/pkix"
	"encoding/hex"
	"slices"
	"testing"

	"callsign/internal/cluster"
)

func fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

// sorted puts trust certificates in the order of lists.
func sorted(list ...cluster.Trust) []cluster.Trust {
	slices.SortFunc(list, func(a, b cluster.Trust) int { return compare(a.Store, b.Store, a.Node, b.Node, a.SHA256, b.SHA256) })
	return list
}

func trustListed(t *testing.T, s cluster.Store) {
	k := NewKey(t)
	root := k.Trust(t, "tomcat-trust", "", named("Root"))
	root.Description, root.Added = "Signed by itself", hours(3)
	onNode, elsewhere := root, root
	onNode.Node, elsewhere.Store = "cucm2", "ipsec-trust"
	own := k.Trust(t, "tomcat-trust", "cucm1", named("cucm1"))
	own.Origin, own.Of, own.OfNode = cluster.System, "tomcat", "cucm1"
	all := []cluster.Trust{onNode, root, own, elsewhere}
	for range 5 {
		all = append(all, k.Trust(t, "tomcat-trust", "", named("CA")))
	}
	apply(t, s, cluster.Change{At: hours(1), AddTrust: all})
	for i := range all {
		if all[i].Added.IsZero() {
			all[i].Added = hours(1)
		}
	}
	want := sorted(all...)
	same(t, "all", want, take(t, s).Trust)
	for _, store := range []string{"", "tomcat-trust", "ipsec-trust", "CAPF-trust"} {
		var light, full []cluster.Trust
		for _, c := range want {
			if store == "" || c.Store == store {
				full = append(full, c)
				c.DER = nil
				light = append(light, c)
			}
		}
		view(t, s, func(r cluster.Reader) error {
			list, err := r.TrustList(t.Context(), store)
			must(t, err)
			same(t, "list of "+store, light, list)
			if store == "" {
				return nil
			}
			list, err = r.TrustAll(t.Context(), store)
			same(t, "certificates of "+store, full, list)
			return err
		})
	}
}

func trustFound(t *testing.T, s cluster.Store) {
	k := NewKey(t)
	named := func(name, organization string) pkix.Name {
		return pkix.Name{CommonName: name, Organization: []string{organization}}
	}
	one := k.Trust(t, "tomcat-trust", "", named("Root CA", "Example"))
	twin := NewKey(t).Trust(t, "tomcat-trust", "", named("ROOT ca", "Example")) // the same name by RFC 5280
	other := k.Trust(t, "tomcat-trust", "cucm1", named("root CA", "Other"))
	nameless := k.Trust(t, "tomcat-trust", "", named("", "Example"))
	umlaut := k.Trust(t, "tomcat-trust", "", named("ÄRGER", "Example"))
	away := one
	away.Store = "ipsec-trust"
	// A copy of tomcat, one of another purpose, and one in another store.
	copied, ipsec := k.Trust(t, "tomcat-trust", "", named("copied", "Example")), k.Trust(t, "tomcat-trust", "", named("copied", "Example"))
	copied.Origin, copied.Of, copied.OfNode = cluster.System, "tomcat", "cucm1"
	ipsec.Origin, ipsec.Of = cluster.System, "ipsec"
	far := copied
	far.Store = "ipsec-trust"
	all := []cluster.Trust{one, twin, other, nameless, umlaut, away, copied, ipsec, far}
	for i := range all {
		all[i].Added = hours(1)
	}
	apply(t, s, cluster.Change{AddTrust: all})
	one, twin, other, nameless, umlaut, away, copied = all[0], all[1], all[2], all[3], all[4], all[5], all[6]
	view(t, s, func(r cluster.Reader) error {
		for name, tc := range map[string]struct {
			store string
			keys  []string
			want  []cluster.Trust
		}{
			"a name":          {"tomcat-trust", []string{one.SubjectKey}, sorted(one, twin)},
			"names":           {"tomcat-trust", []string{other.SubjectKey, "unknown", one.SubjectKey, one.SubjectKey}, sorted(one, twin, other)},
			"no name":         {"tomcat-trust", nil, nil},
			"an unknown name": {"tomcat-trust", []string{"unknown"}, nil},
			"another store":   {"ipsec-trust", []string{one.SubjectKey, other.SubjectKey}, sorted(away)},
			"an empty store":  {"CAPF-trust", []string{one.SubjectKey}, nil},
			"no store":        {"", []string{one.SubjectKey}, nil},
		} {
			got, err := r.TrustBySubject(t.Context(), tc.store, tc.keys...)
			must(t, err)
			same(t, "by subject: "+name, tc.want, got)
		}
		for name, tc := range map[string]struct {
			store, name string
			want        []cluster.Trust
		}{
			"as it is":           {"tomcat-trust", "Root CA", sorted(one, twin, other)},
			"in other case":      {"tomcat-trust", "rOOT cA", sorted(one, twin, other)},
			"a part":             {"tomcat-trust", "Root", nil},
			"a pattern":          {"tomcat-trust", "Root%", nil},
			"empty":              {"tomcat-trust", "", nil},
			"not ASCII":          {"tomcat-trust", "Ärger", sorted(umlaut)},
			"not ASCII, folded":  {"tomcat-trust", "ärger", nil},
			"of another store":   {"ipsec-trust", "ROOT CA", sorted(away)},
			"of an empty store":  {"CAPF-trust", "Root CA", nil},
			"an organization":    {"tomcat-trust", "Example", nil},
			"with a blank more ": {"tomcat-trust", "Root CA ", nil},
		} {
			got, err := r.TrustByCommonName(t.Context(), tc.store, tc.name)
			must(t, err)
			same(t, "by common name: "+name, tc.want, got)
		}
		copied.DER = nil
		for place, want := range map[cluster.Place][]cluster.Trust{
			{Purpose: "tomcat", Node: "tomcat-trust"}: {copied}, {Purpose: "Tomcat", Node: "tomcat-trust"}: nil, {Node: "tomcat-trust"}: nil, {Purpose: "tomcat"}: nil,
		} {
			got, err := r.TrustCopies(t.Context(), place.Node, place.Purpose)
			must(t, err)
			same(t, "copies of "+place.Purpose+" in "+place.Node, want, got)
		}
		for print, want := range map[string][]cluster.Trust{one.SHA256: sorted(one, away), nameless.SHA256: {nameless}, "": nil, "unknown": nil} {
			got, err := r.TrustByFingerprint(t.Context(), print)
			must(t, err)
			same(t, "by fingerprint "+print, want, got)
		}
		return nil
	})
}

func trustGoes(t *testing.T, s cluster.Store) {
	k := NewKey(t)
	one, two := k.Trust(t, "tomcat-trust", "", named("CA")), k.Trust(t, "tomcat-trust", "", named("CA"))
	onNode, away := one, one
	onNode.Node, away.Store = "cucm1", "ipsec-trust"
	all := []cluster.Trust{one, two, onNode, away}
	for i := range all {
		all[i].Added = hours(1)
	}
	apply(t, s, cluster.Change{AddTrust: all})
	at := cluster.TrustPlace{Store: "tomcat-trust", SHA256: one.SHA256}
	// Going comes before coming, so what goes can come again.
	anew := one
	anew.Description, anew.Added = "anew", hours(2)
	apply(t, s, cluster.Change{DropTrust: []cluster.TrustPlace{at}, AddTrust: []cluster.Trust{anew}})
	same(t, "one came anew", sorted(anew, all[1], all[2], all[3]), take(t, s).Trust)
	apply(t, s, cluster.Change{DropTrust: []cluster.TrustPlace{at}})
	same(t, "one went", sorted(all[1], all[2], all[3]), take(t, s).Trust)
	for _, at := range []cluster.TrustPlace{
		at, {Store: "tomcat-trust", Node: "cucm2", SHA256: one.SHA256}, {Store: "CAPF-trust", SHA256: one.SHA256}, {Store: "tomcat-trust", SHA256: "unknown"},
	} {
		err := tryApply(t, s, cluster.Change{DropTrust: []cluster.TrustPlace{{Store: "ipsec-trust", SHA256: one.SHA256}, at}})
		if code(err) != cluster.CodeNoCert {
			t.Errorf("deleting %s from %s: %v, want code %s", at.SHA256, at, err, cluster.CodeNoCert)
		}
	}
	same(t, "nothing more went", sorted(all[1], all[2], all[3]), take(t, s).Trust)
}

func trustAgain(t *testing.T, s cluster.Store) {
	one := NewKey(t).Trust(t, "tomcat-trust", "", named("CA"))
	one.Added, one.Description = hours(1), "the first"
	again := one
	again.Added, again.Description, again.Origin = hours(2), "the second", cluster.System
	apply(t, s, cluster.Change{AddTrust: []cluster.Trust{one, again}})
	apply(t, s, cluster.Change{AddTrust: []cluster.Trust{again}})
	got := take(t, s)
	same(t, "the first stays", []cluster.Trust{one}, got.Trust)
	if got.Revision != 2 {
		t.Errorf("revision %d, want 2: a change that changes nothing is one, too", got.Revision)
	}
}

// oddNames: what certificates may say is kept octet by octet, and found by exactly that.
func oddNames(t *testing.T, s cluster.Store) {
	k := NewKey(t)
	var all []cluster.Trust
	for _, name := range []string{"a\x00b", "a", "A\x00C", "%", "_", "o'neil; DROP TABLE", "\xff\xfe", "日本", `"`} {
		c := k.Trust(t, "tomcat-trust", "", named("CA"))
		c.CommonName, c.Subject, c.IssuerName, c.Description, c.Added = name, name, name, name, hours(1)
		all = append(all, c)
	}
	apply(t, s, cluster.Change{AddTrust: all})
	same(t, "all", sorted(slices.Clone(all)...), take(t, s).Trust)
	view(t, s, func(r cluster.Reader) error {
		for i := range all {
			got, err := r.TrustByCommonName(t.Context(), "tomcat-trust", string(bytes.ToUpper([]byte(all[i].CommonName)[:1]))+all[i].CommonName[1:])
			must(t, err)
			if all[i].CommonName[0] >= 0x80 { // upper case is not ASCII's
				got, err = r.TrustByCommonName(t.Context(), "tomcat-trust", all[i].CommonName)
				must(t, err)
			}
			same(t, "by "+all[i].CommonName, []cluster.Trust{all[i]}, got)
		}
		return nil
	})
}
