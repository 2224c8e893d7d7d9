package clustertest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"callsign/internal/cluster"
)

func apart(t *testing.T, s cluster.Store) {
	k := NewKey(t)
	change := func(name string) *cluster.Change {
		trust := k.Trust(t, "tomcat-trust", "", named(name))
		return &cluster.Change{
			At: Noon, AddRequests: []cluster.NewRequest{k.Request(t, "ipsec", name)}, AddTrust: []cluster.Trust{trust},
			Install:  []cluster.Install{{Identity: k.Identity(t, "tomcat", name), Nodes: []string{name}, Key: k.PKCS8(t)}},
			Subjects: []cluster.Subject{{Node: name, Locality: name}}, Events: []cluster.Event{{Detail: name}},
		}
	}
	names := []string{"lab", "LAB", "lab ", "Zürich", "a'b"}
	for _, name := range names {
		c := change(name)
		must(t, s.Apply(t.Context(), name, c))
		for _, other := range names {
			err := s.Apply(t.Context(), other, &cluster.Change{Revision: 7})
			if !errors.Is(err, cluster.ErrChanged) {
				t.Errorf("%q on revision 7: %v, want ErrChanged", other, err)
			}
		}
	}
	for _, name := range names {
		got, err := Take(t.Context(), s, name, cluster.Place{Node: name})
		must(t, err)
		if got.Revision != 1 || len(got.Identities) != 1 || got.Identities[0].Node != name || len(got.Requests) != 1 || got.Requests[0].Node != name ||
			len(got.Trust) != 1 || got.Trust[0].CommonName != name || len(got.Subjects) != 1 || len(got.History) != 1 || got.History[0].Detail != name {
			t.Errorf("cluster %q: %+v, want its own only", name, got)
		}
		err = s.Apply(t.Context(), name, &cluster.Change{Revision: 1, DropTrust: []cluster.TrustPlace{{Store: "tomcat-trust", SHA256: fingerprint([]byte("none"))}}})
		if code(err) != cluster.CodeNoCert {
			t.Errorf("cluster %q: %v, want code %s", name, err, cluster.CodeNoCert)
		}
	}
	if wrong, err := s.CheckKeys(t.Context(), "LAB"); err != nil || len(wrong) > 0 {
		t.Errorf("keys: %q, %v", wrong, err)
	}
}

// whole: when the last part cannot be, none is.
func whole(t *testing.T, s cluster.Store) {
	k, old := NewKey(t), NewKey(t)
	at := cluster.Place{Purpose: "ipsec", Node: "cucm1"}
	trust := old.Trust(t, "tomcat-trust", "", named("CA"))
	apply(t, s, cluster.Change{
		At: hours(1), AddRequests: []cluster.NewRequest{old.Request(t, "tomcat", "cucm1"), old.Request(t, "ipsec", "cucm1")}, AddTrust: []cluster.Trust{trust},
		Install: []cluster.Install{{Identity: old.Identity(t, "tomcat", "cucm1"), Nodes: []string{"cucm1"}, Key: old.PKCS8(t)}},
		Events:  []cluster.Event{{Detail: "first"}},
	})
	before := take(t, s, single, at)
	good := func() cluster.Change {
		return cluster.Change{
			At: hours(2), DropRequests: []cluster.Place{at}, AddRequests: []cluster.NewRequest{k.Request(t, "CAPF", "cucm1")},
			Install:   []cluster.Install{{Identity: old.Identity(t, "tomcat", "cucm1"), Nodes: []string{"cucm1", "cucm2"}, From: &single}},
			DropTrust: []cluster.TrustPlace{{Store: "tomcat-trust", SHA256: trust.SHA256}}, AddTrust: []cluster.Trust{k.Trust(t, "tomcat-trust", "", named("new"))},
			Subjects: []cluster.Subject{{Node: "cucm1", Country: "CH"}}, Events: []cluster.Event{{Detail: "second"}}, ForgetBefore: hours(9),
		}
	}
	for name, spoil := range map[string]func(*cluster.Change){
		"no such request":             func(c *cluster.Change) { c.DropRequests = append(c.DropRequests, at) },
		"the request is used already": func(c *cluster.Change) { c.Install = append(c.Install, c.Install[0]) },
		"the last key is another's": func(c *cluster.Change) {
			c.Install = append(c.Install, cluster.Install{Identity: old.Identity(t, "CAPF", "c"), Nodes: []string{"cucm1"}, From: &cluster.Place{Purpose: "CAPF", Node: "cucm1"}})
		},
		"no such trust certificate": func(c *cluster.Change) { c.DropTrust = append(c.DropTrust, c.DropTrust[0]) },
		"a false fingerprint":       func(c *cluster.Change) { c.AddTrust[0].SHA256 = trust.SHA256 },
	} {
		c := good()
		spoil(&c)
		if err := tryApply(t, s, c); err == nil {
			t.Errorf("%s: no error", name)
		}
		same(t, "after "+name, before, take(t, s, single, at))
		keysFit(t, s)
	}
	c := good()
	apply(t, s, c)
	after := take(t, s, single, at)
	if after.Revision != 2 || len(after.Requests) != 1 || len(after.Identities) != 2 || len(after.Generations) != 0 || after.Trust[0].CommonName != "new" ||
		len(after.Retired) != 1 || len(after.Subjects) != 2 || len(after.History) != 2 {
		t.Errorf("the good change: %+v", after)
	}
}

func oneWins(t *testing.T, s cluster.Store) {
	const rounds, writers = 4, 8
	keys := make([]Key, writers)
	for i := range keys {
		keys[i] = NewKey(t)
	}
	for revision := range int64(rounds) {
		results := make([]error, writers)
		var wg sync.WaitGroup
		for i := range writers {
			c := &cluster.Change{
				Revision: revision, AddRequests: []cluster.NewRequest{keys[i].Request(t, "tomcat", "cucm1")}, Events: []cluster.Event{{Detail: fmt.Sprint(i)}},
			}
			wg.Go(func() { results[i] = s.Apply(t.Context(), lab, c) })
		}
		wg.Wait()
		winner := -1
		for i, err := range results {
			switch {
			case err == nil && winner < 0:
				winner = i
			case err == nil:
				t.Errorf("revision %d: %d wins, and %d", revision, winner, i)
			case !errors.Is(err, cluster.ErrChanged):
				t.Errorf("revision %d: %d: %v, want ErrChanged", revision, i, err)
			}
		}
		if winner < 0 {
			t.Fatalf("revision %d: nobody wins", revision)
		}
		won := keys[winner].Hash(t) //nolint:gosec // G602: the index was looked at
		got := take(t, s, single)
		if got.Revision != revision+1 || len(got.History) != int(revision)+1 || got.History[0].Detail != fmt.Sprint(winner) ||
			len(got.Requests) != 1 || got.Requests[0].KeyHash != won || len(got.Retired) != int(revision) {
			t.Errorf("after revision %d, which %d won: %+v", revision, winner, got)
		}
	}
}

func oneMoment(t *testing.T, s cluster.Store) {
	k := NewKey(t)
	add := func() cluster.Change {
		return cluster.Change{
			At: Noon, AddTrust: []cluster.Trust{k.Trust(t, "tomcat-trust", "", named("CA"))}, AddRequests: []cluster.NewRequest{k.Request(t, "tomcat", "cucm1")},
			Install: []cluster.Install{{Identity: k.Identity(t, "tomcat", "c"), Nodes: []string{"cucm1"}, From: &single}},
			Events:  []cluster.Event{{}},
		}
	}
	apply(t, s, add())
	before := take(t, s)
	view(t, s, func(r cluster.Reader) error {
		apply(t, s, add()) // while somebody looks
		revision, err := r.Revision(t.Context())
		must(t, err)
		trust, err := trustOf(t.Context(), r)
		must(t, err)
		ids, err := r.Identities(t.Context())
		must(t, err)
		generations, err := r.Generations(t.Context())
		must(t, err)
		events, err := r.History(t.Context(), 0)
		must(t, err)
		same(t, "what is seen", before, Snapshot{Revision: revision, Trust: trust, Identities: ids, Generations: generations, History: events})
		return nil
	})
	if got := take(t, s); got.Revision != 2 || len(got.Trust) != 2 || len(got.Generations) != 1 {
		t.Errorf("afterwards: %+v", got)
	}
}

// besideWriter: whatever is read in a view fits, while others write.
func besideWriter(t *testing.T, s cluster.Store) {
	const writers, changes = 3, 8
	k := NewKey(t)
	var writing, reading sync.WaitGroup
	done := make(chan struct{})
	for w := range writers {
		var all []*cluster.Change
		for i := range changes {
			all = append(all, &cluster.Change{
				AddTrust: []cluster.Trust{k.Trust(t, "tomcat-trust", "", named("CA"))}, Events: []cluster.Event{{Detail: fmt.Sprint(w, i)}},
				Install: []cluster.Install{{Identity: k.Identity(t, "tomcat", "c"), Nodes: []string{"cucm1"}, Key: k.PKCS8(t)}},
			})
		}
		writing.Go(func() {
			for _, c := range all {
				if err := insist(t.Context(), s, c); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 2 {
		reading.Go(func() {
			for ended := false; !ended; {
				select {
				case <-done:
					ended = true // and one look more
				default:
				}
				got, err := Take(t.Context(), s, lab)
				if err != nil {
					t.Error(err)
					return
				}
				n := int(got.Revision)
				if len(got.Trust) != n || len(got.History) != n || len(got.Generations) != max(0, n-1) {
					t.Errorf("at revision %d: %d trust certificates, %d events, %d generations", n, len(got.Trust), len(got.History), len(got.Generations))
				}
				if wrong, err := s.CheckKeys(t.Context(), lab); err != nil || len(wrong) > 0 {
					t.Errorf("keys: %q, %v", wrong, err)
				}
			}
		})
	}
	writing.Wait()
	close(done)
	reading.Wait()
	if got := take(t, s); got.Revision != writers*changes {
		t.Errorf("revision %d, want %d", got.Revision, writers*changes)
	}
}

// insist makes a change, again and again when others were quicker.
func insist(ctx context.Context, s cluster.Store, c *cluster.Change) error {
	for {
		err := s.View(ctx, lab, func(r cluster.Reader) (err error) {
			c.Revision, err = r.Revision(ctx)
			return err
		})
		if err == nil {
			err = s.Apply(ctx, lab, c)
		}
		if !errors.Is(err, cluster.ErrChanged) {
			return err
		}
	}
}

// ownMemory: what a caller does with its memory afterwards does not reach the store.
func ownMemory(t *testing.T, s cluster.Store) {
	k := NewKey(t)
	c := cluster.Change{
		At: Noon, AddRequests: []cluster.NewRequest{k.Request(t, "ipsec", "cucm1")}, AddTrust: []cluster.Trust{k.Trust(t, "tomcat-trust", "", named("CA"))},
		Install:  []cluster.Install{{Identity: k.Identity(t, "tomcat", "cucm1"), Nodes: []string{"cucm1"}, Key: k.PKCS8(t)}},
		Subjects: []cluster.Subject{{Node: "cucm1", Units: []string{"a"}, AlternateHostNames: []string{"b"}}}, Events: []cluster.Event{{Detail: "d"}},
	}
	apply(t, s, c)
	before := take(t, s, single)
	spoil := func(all ...[]byte) {
		for _, b := range all {
			clear(b)
		}
	}
	spoil(c.AddRequests[0].DER, c.AddRequests[0].Key, c.AddTrust[0].DER, c.Install[0].DER, c.Install[0].Key)
	c.Subjects[0].Units[0], c.Subjects[0].AlternateHostNames[0], c.Events[0].Detail = "x", "x", "x"
	same(t, "after the change was spoilt", before, take(t, s, single))
	keysFit(t, s)
	read := take(t, s, single)
	spoil(read.Requests[0].DER, read.Trust[0].DER, read.Identities[0].DER)
	read.Subjects[0].Units[0], read.History[0].Detail = "x", "x"
	same(t, "after what was read was spoilt", before, take(t, s, single))
}

func viewErrors(t *testing.T, s cluster.Store) {
	want := errors.New("of the reader's user")
	if err := s.View(t.Context(), lab, func(cluster.Reader) error { return want }); err != want { //nolint:errorlint // as it is
		t.Errorf("%v, want the error as it was returned", err)
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		_ = s.View(t.Context(), lab, func(cluster.Reader) error { panic("of the reader's user") })
	}()
	apply(t, s, cluster.Change{Events: []cluster.Event{{Detail: "goes on"}}})
	if got := take(t, s); len(got.History) != 1 {
		t.Errorf("afterwards: %+v", got)
	}
}

func ended(t *testing.T, s cluster.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Apply(ctx, lab, &cluster.Change{Events: []cluster.Event{{}}}); !errors.Is(err, context.Canceled) {
		t.Errorf("Apply: %v, want the context's error", err)
	}
	if err := s.View(ctx, lab, func(cluster.Reader) error { t.Error("the view was given"); return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("View: %v, want the context's error", err)
	}
	if _, err := s.CheckKeys(ctx, lab); !errors.Is(err, context.Canceled) {
		t.Errorf("CheckKeys: %v, want the context's error", err)
	}
	same(t, "afterwards", Snapshot{}, take(t, s))
}
