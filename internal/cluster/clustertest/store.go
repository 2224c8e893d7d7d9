package clustertest

import (
	"context"
	"crypto/x509/pkix"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"callsign/internal/cluster"
)

// Run runs the suite; newStore makes an empty store.
func Run(t *testing.T, newStore func(t *testing.T) cluster.Store) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, cluster.Store){
		"nobody has written":                   nobody,
		"requests":                             requests,
		"former requests are bounded":          formerRequests,
		"installing the answer to a request":   installing,
		"installing on many nodes":             installingOnMany,
		"installing a self-signed certificate": selfSigned,
		"what does not fit is refused":         refused,
		"generations end":                      generationsEnd,
		"trust certificates are listed":        trustListed,
		"trust certificates are found":         trustFound,
		"trust certificates go":                trustGoes,
		"adding trust again changes nothing":   trustAgain,
		"odd names":                            oddNames,
		"subject settings":                     subjects,
		"history":                              history,
		"the history is bounded":               historyBounded,
		"clusters are apart":                   apart,
		"a change is whole":                    whole,
		"one of many changes wins":             oneWins,
		"a view is of one moment":              oneMoment,
		"views beside a writer":                besideWriter,
		"times are kept to the millisecond":    times,
		"memory stays its owner's":             ownMemory,
		"errors of the reader's user":          viewErrors,
		"an ended context":                     ended,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newStore(t))
		})
	}
}

const lab = "lab"

// Snapshot is all that a store says of a cluster.
type Snapshot struct {
	Revision    int64
	Identities  []cluster.Identity
	Generations []cluster.Generation
	Requests    []cluster.Request
	Retired     []cluster.Retired
	Trust       []cluster.Trust // with DER
	Subjects    []cluster.Subject
	History     []cluster.Event
}

// Take reads everything, former requests and subject settings at these places only. Certificates in trust stores are read
// in every way there is, which have to agree.
func Take(ctx context.Context, s cluster.Store, name string, places ...cluster.Place) (Snapshot, error) {
	var all Snapshot
	err := s.View(ctx, name, func(r cluster.Reader) (err error) {
		set := func(step func() error) {
			if err == nil {
				err = step()
			}
		}
		set(func() error { all.Revision, err = r.Revision(ctx); return err })
		set(func() error { all.Identities, err = r.Identities(ctx); return err })
		set(func() error { all.Generations, err = r.Generations(ctx); return err })
		set(func() error { all.Requests, err = r.Requests(ctx); return err })
		set(func() error { all.History, err = r.History(ctx, 0); return err })
		set(func() error { all.Trust, err = trustOf(ctx, r); return err })
		for _, p := range places {
			set(func() error {
				list, err := r.Retired(ctx, p.Purpose, p.Node)
				all.Retired = append(all.Retired, list...)
				return err
			})
			set(func() error {
				subject, ok, err := r.Subject(ctx, p.Node)
				if ok {
					all.Subjects = append(all.Subjects, subject)
				}
				return err
			})
		}
		return err
	})
	return all, err
}

// trustOf reads every trust store, and lets lists and certificates agree.
func trustOf(ctx context.Context, r cluster.Reader) ([]cluster.Trust, error) {
	list, err := r.TrustList(ctx, "")
	if err != nil {
		return nil, err
	}
	var all []cluster.Trust
	for i := range list {
		if i > 0 && list[i].Store == list[i-1].Store {
			continue
		}
		of, err := r.TrustAll(ctx, list[i].Store)
		if err != nil {
			return nil, err
		}
		all = append(all, of...)
	}
	light := slices.Clone(all)
	for i := range light {
		light[i].DER = nil
	}
	if diff := cmp.Diff(list, light, cmpopts.EquateEmpty()); diff != "" {
		return nil, errors.New("the list and the certificates of the trust stores do not agree (-list +certificates):\n" + diff)
	}
	return all, nil
}

func take(t *testing.T, s cluster.Store, places ...cluster.Place) Snapshot {
	t.Helper()
	all, err := Take(t.Context(), s, lab, places...)
	must(t, err)
	return all
}

// apply makes a change at the revision that is current.
func apply(t *testing.T, s cluster.Store, c cluster.Change) {
	t.Helper()
	must(t, tryApply(t, s, c))
}

func tryApply(t *testing.T, s cluster.Store, c cluster.Change) error {
	t.Helper()
	view(t, s, func(r cluster.Reader) (err error) {
		c.Revision, err = r.Revision(t.Context())
		return err
	})
	return s.Apply(t.Context(), lab, &c)
}

func view(t *testing.T, s cluster.Store, do func(cluster.Reader) error) {
	t.Helper()
	must(t, s.View(t.Context(), lab, do))
}

func same(t *testing.T, what string, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// keysFit wants every key to be that of its certificate or request.
func keysFit(t *testing.T, s cluster.Store) {
	t.Helper()
	wrong, err := s.CheckKeys(t.Context(), lab)
	if err != nil || len(wrong) > 0 {
		t.Errorf("keys: %q, %v", wrong, err)
	}
}

func code(err error) string {
	if p, ok := errors.AsType[*cluster.Problem](err); ok {
		return p.Code()
	}
	return ""
}

// hours is a time after Noon.
func hours(n int) time.Time { return Noon.Add(time.Duration(n) * time.Hour) }

func named(name string) pkix.Name {
	return pkix.Name{CommonName: name, Organization: []string{"Example"}}
}

func nobody(t *testing.T, s cluster.Store) {
	same(t, "everything", Snapshot{}, take(t, s, cluster.Place{Purpose: "tomcat", Node: "cucm1"}))
	keysFit(t, s)
	view(t, s, func(r cluster.Reader) error {
		var found []cluster.Trust
		for _, read := range []func() ([]cluster.Trust, error){
			func() ([]cluster.Trust, error) { return r.TrustBySubject(t.Context(), "tomcat-trust", "a", "b") },
			func() ([]cluster.Trust, error) { return r.TrustBySubject(t.Context(), "tomcat-trust") },
			func() ([]cluster.Trust, error) { return r.TrustByCommonName(t.Context(), "tomcat-trust", "a") },
			func() ([]cluster.Trust, error) { return r.TrustByFingerprint(t.Context(), "a") },
			func() ([]cluster.Trust, error) { return r.TrustCopies(t.Context(), "tomcat-trust", "tomcat") },
		} {
			list, err := read()
			must(t, err)
			found = append(found, list...)
		}
		same(t, "certificates", []cluster.Trust{}, found)
		return nil
	})
	if err := s.Apply(t.Context(), lab, &cluster.Change{Revision: 1}); !errors.Is(err, cluster.ErrChanged) {
		t.Errorf("a change on revision 1: %v, want ErrChanged", err)
	}
	must(t, s.Apply(t.Context(), lab, &cluster.Change{}))
	same(t, "revision after a change of nothing", Snapshot{Revision: 1}, take(t, s))
}

func subjects(t *testing.T, s cluster.Store) {
	full := cluster.Subject{
		Node: "cucm1", Units: []string{"Voice", "", "Ops, \"quoted\""}, Organization: "Example", Locality: "Genève", State: "GE", Country: "CH",
		AlternateHostNames: []string{"Voice", "", "Ops, \"quoted\""},
	}
	apply(t, s, cluster.Change{Subjects: []cluster.Subject{full, {Node: "cucm2"}}})
	read := func(node string, want cluster.Subject, wantOK bool) {
		t.Helper()
		view(t, s, func(r cluster.Reader) error {
			got, ok, err := r.Subject(t.Context(), node)
			if ok != wantOK {
				t.Errorf("%s: found %t, want %t", node, ok, wantOK)
			}
			same(t, node, want, got)
			return err
		})
	}
	read("cucm1", full, true)
	read("cucm2", cluster.Subject{Node: "cucm2"}, true)
	read("cucm3", cluster.Subject{}, false)
	apply(t, s, cluster.Change{Subjects: []cluster.Subject{{Node: "cucm1", Country: "DE"}, {Node: "cucm1", Country: "AT"}}})
	read("cucm1", cluster.Subject{Node: "cucm1", Country: "AT"}, true)
	read("cucm2", cluster.Subject{Node: "cucm2"}, true)
}

func history(t *testing.T, s cluster.Store) {
	first := cluster.Event{
		At: hours(1), Actor: "admin", Action: cluster.ActionUploaded, Purpose: "tomcat", Node: "cucm1", Before: strings.Repeat("a", 64),
		After: strings.Repeat("b", 64), Detail: "déjà vu",
	}
	second := cluster.Event{Actor: "admin", Action: cluster.ActionTrustDeleted}
	apply(t, s, cluster.Change{At: hours(2), Events: []cluster.Event{first, second}})
	third := cluster.Event{At: hours(0), Action: cluster.ActionSubjectSet} // at an earlier time, and later all the same
	apply(t, s, cluster.Change{At: hours(3), Events: []cluster.Event{third}})
	second.At = hours(2)
	want := []cluster.Event{third, second, first}
	for limit, n := range map[int]int{0: 3, 1: 1, 2: 2, 3: 3, 9: 3} {
		view(t, s, func(r cluster.Reader) error {
			got, err := r.History(t.Context(), limit)
			same(t, "history", want[:n], got)
			return err
		})
	}
}

func historyBounded(t *testing.T, s cluster.Store) {
	const kept, changes = cluster.EventsKept, 3
	for c := range changes {
		var events []cluster.Event
		for i := range kept {
			events = append(events, cluster.Event{At: Noon, Detail: string(rune('a'+c)) + strings.Repeat("x", i%7)})
		}
		apply(t, s, cluster.Change{Events: events})
	}
	// They are counted for each cluster.
	must(t, s.Apply(t.Context(), "other", &cluster.Change{Events: []cluster.Event{{Detail: "other"}}}))
	apply(t, s, cluster.Change{Events: []cluster.Event{{Detail: "the last"}}})
	got := take(t, s).History
	if len(got) < kept || len(got) > 2*kept || got[0].Detail != "the last" {
		t.Fatalf("%d events of %d are left, want %d to %d from the last on; the first is %q", len(got), changes*kept+1, kept, 2*kept, got[0].Detail)
	}
	for i := range kept - 1 {
		if want := "c" + strings.Repeat("x", (kept-1-i)%7); got[1+i].Detail != want {
			t.Fatalf("event %d is %q, want %q", 1+i, got[1+i].Detail, want)
		}
	}
	other, err := Take(t.Context(), s, "other")
	must(t, err)
	if len(other.History) != 1 {
		t.Errorf("the other cluster has %d events, want 1", len(other.History))
	}
}

func times(t *testing.T, s cluster.Store) {
	zone := time.FixedZone("two hours ahead", 7200)
	at := time.Date(2026, 11, 20, 14, 0, 0, 123_999_999, zone)
	want := time.Date(2026, 11, 20, 12, 0, 0, 123_000_000, time.UTC)
	later := at.Add(time.Hour)
	k := NewKey(t)
	request, trust, id := k.Request(t, "ipsec", "cucm1"), k.Trust(t, "ipsec-trust", "", named("CA")), k.Identity(t, "CAPF", "capf")
	for _, c := range []cluster.Change{
		{At: at}, // everything takes it
		{At: later},
	} {
		c.AddRequests, c.AddTrust = []cluster.NewRequest{request}, []cluster.Trust{trust}
		c.Install = []cluster.Install{{Identity: id, Nodes: []string{"cucm1"}, Key: k.PKCS8(t)}}
		c.Events = []cluster.Event{{}}
		if !c.At.Equal(at) { // said for each
			c.AddRequests[0].Created, c.Events[0].At = at, at
			trust.Added, trust.Node = at, "cucm2"
			id.Since, id.NotBefore, id.NotAfter = at, at, time.Time{}
			c.Install[0].Identity, c.AddTrust[0] = id, trust
		}
		apply(t, s, c)
		got := take(t, s, cluster.Place{Purpose: "ipsec", Node: "cucm1"})
		all := map[string]time.Time{"created": got.Requests[0].Created, "since": got.Identities[0].Since, "event": got.History[0].At}
		for _, tr := range got.Trust {
			all["added on "+tr.Node] = tr.Added
		}
		for what, g := range all {
			if g != want {
				t.Errorf("%s came back as %v, want %v", what, g, want)
			}
		}
	}
	got := take(t, s, cluster.Place{Purpose: "ipsec", Node: "cucm1"})
	if r := got.Retired[0]; r.Created != want || r.Ended != want.Add(time.Hour) {
		t.Errorf("the former request was created %v and ended %v", r.Created, r.Ended)
	}
	if g := got.Generations[0]; g.Since != want || g.Replaced != want.Add(time.Hour) || g.NotBefore != Noon {
		t.Errorf("the generation is of %v, replaced %v, valid from %v", g.Since, g.Replaced, g.NotBefore)
	}
	if i := got.Identities[0]; i.NotBefore != want || !i.NotAfter.IsZero() {
		t.Errorf("the certificate is valid from %v to %v, want from %v without end", i.NotBefore, i.NotAfter, want)
	}
	before := time.Now().Add(-time.Second)
	apply(t, s, cluster.Change{Events: []cluster.Event{{}}})
	if at := take(t, s).History[0].At; at.Before(before) || at.After(time.Now().Add(time.Second)) {
		t.Errorf("without a time the event is of %v, want now", at)
	}
}
