package clustertest

import (
	"fmt"
	"slices"
	"testing"

	"callsign/internal/cluster"
)

var (
	single = cluster.Place{Purpose: "tomcat", Node: "cucm1"}
	multi  = cluster.Place{Purpose: "tomcat", Node: cluster.AllNodes}
)

func requests(t *testing.T, s cluster.Store) {
	k, other := NewKey(t), NewKey(t)
	add := []cluster.NewRequest{
		k.Request(t, "tomcat", "cucm2"), k.Request(t, "ipsec", "cucm1"), NewKey(t).Request(t, "tomcat", cluster.AllNodes), other.Request(t, "tomcat", "cucm1"),
	}
	apply(t, s, cluster.Change{At: hours(1), AddRequests: add})
	var want []cluster.Request
	for _, i := range []int{1, 2, 3, 0} { // by purpose and node
		add[i].Created = hours(1)
		want = append(want, add[i].Request)
	}
	same(t, "requests", want, take(t, s, single).Requests)
	keysFit(t, s)

	// A new one takes the place of the old one, whose hash is remembered.
	third := NewKey(t).Request(t, "tomcat", "cucm1")
	third.Created = hours(2)
	apply(t, s, cluster.Change{At: hours(3), AddRequests: []cluster.NewRequest{third}})
	want[2] = third.Request
	got := take(t, s, single)
	same(t, "requests", want, got.Requests)
	former := []cluster.Retired{{Purpose: "tomcat", Node: "cucm1", KeyHash: other.Hash(t), Created: hours(1), Ended: hours(3)}}
	same(t, "former requests", former, got.Retired)

	// One that was deleted is remembered, too.
	apply(t, s, cluster.Change{At: hours(4), DropRequests: []cluster.Place{single}})
	got = take(t, s, single)
	same(t, "requests", slices.Delete(want, 2, 3), got.Requests)
	former = append([]cluster.Retired{{Purpose: "tomcat", Node: "cucm1", KeyHash: third.KeyHash, Created: hours(2), Ended: hours(4)}}, former...)
	same(t, "former requests", former, got.Retired)

	// What is not there cannot be deleted, on another node or a second time.
	for _, at := range []cluster.Place{single, {Purpose: "ipsec", Node: cluster.AllNodes}, {Purpose: "CAPF", Node: "cucm1"}} {
		if err := tryApply(t, s, cluster.Change{DropRequests: []cluster.Place{at}}); code(err) != cluster.CodeNoRequest {
			t.Errorf("deleting the request for %s: %v, want code %s", at, err, cluster.CodeNoRequest)
		}
	}
	// Deleting comes before adding; of two at one place the later stays.
	fourth, fifth := NewKey(t).Request(t, "tomcat", "cucm2"), NewKey(t).Request(t, "tomcat", "cucm2")
	at := cluster.Place{Purpose: "tomcat", Node: "cucm2"}
	apply(t, s, cluster.Change{At: hours(5), DropRequests: []cluster.Place{at}, AddRequests: []cluster.NewRequest{fourth, fifth}})
	got = take(t, s, at)
	if n := len(got.Requests); n != 3 || got.Requests[2].KeyHash != fifth.KeyHash {
		t.Errorf("%d requests, the last has key %s, want 3 and %s", n, got.Requests[n-1].KeyHash, fifth.KeyHash)
	}
	same(t, "former requests of the other node", []cluster.Retired{
		{Purpose: "tomcat", Node: "cucm2", KeyHash: fourth.KeyHash, Created: hours(5), Ended: hours(5)},
		{Purpose: "tomcat", Node: "cucm2", KeyHash: k.Hash(t), Created: hours(1), Ended: hours(5)},
	}, got.Retired)
	keysFit(t, s)
}

func formerRequests(t *testing.T, s cluster.Store) {
	elsewhere := cluster.Place{Purpose: "tomcat", Node: "cucm2"}
	apply(t, s, cluster.Change{AddRequests: []cluster.NewRequest{NewKey(t).Request(t, "tomcat", "cucm2"), NewKey(t).Request(t, "tomcat", "")}})
	apply(t, s, cluster.Change{DropRequests: []cluster.Place{elsewhere, multi}})
	var want []string
	for i := range cluster.MaxRetired + 4 {
		q := NewKey(t).Request(t, "tomcat", "cucm1")
		// All at one time: the order is that of the changes.
		apply(t, s, cluster.Change{At: Noon, AddRequests: []cluster.NewRequest{q}})
		if i%3 == 0 {
			apply(t, s, cluster.Change{At: Noon, DropRequests: []cluster.Place{single}})
		}
		want = append([]string{q.KeyHash}, want...)
	}
	last := take(t, s, single).Requests
	if len(last) == 1 { // it waits still
		want = want[1:]
	}
	for at, n := range map[cluster.Place]int{single: cluster.MaxRetired, elsewhere: 1, multi: 1} {
		got := take(t, s, at).Retired
		if len(got) != n {
			t.Fatalf("%d former requests for %s, want %d", len(got), at, n)
		}
		for i, r := range got {
			if at == single && r.KeyHash != want[i] || r.Purpose != at.Purpose || r.Node != at.Node {
				t.Errorf("former request %d for %s: %+v, want key %s", i, at, r, want[i])
			}
		}
	}
}

func installing(t *testing.T, s cluster.Store) {
	k := NewKey(t)
	apply(t, s, cluster.Change{At: hours(1), AddRequests: []cluster.NewRequest{k.Request(t, "tomcat", "cucm1"), NewKey(t).Request(t, "ipsec", "cucm1")}})
	id := k.Identity(t, "tomcat", "cucm1")
	apply(t, s, cluster.Change{At: hours(2), Install: []cluster.Install{{Identity: id, Nodes: []string{"cucm1"}, From: &single}}})
	id.Node, id.Since = "cucm1", hours(2)
	got := take(t, s, single)
	same(t, "certificates in service", []cluster.Identity{id}, got.Identities)
	same(t, "generations", []cluster.Generation{}, got.Generations)
	same(t, "former requests: it became the certificate", []cluster.Retired{}, got.Retired)
	if len(got.Requests) != 1 || got.Requests[0].Purpose != "ipsec" {
		t.Errorf("requests: %+v, want that of ipsec", got.Requests)
	}
	keysFit(t, s)

	// The next one makes it a generation. It may be asked for and installed in one change.
	next := NewKey(t)
	renewed := next.Identity(t, "tomcat", "cucm1")
	apply(t, s, cluster.Change{
		At: hours(3), AddRequests: []cluster.NewRequest{next.Request(t, "tomcat", "cucm1")},
		Install: []cluster.Install{{Identity: renewed, Nodes: []string{"cucm1"}, From: &single}},
	})
	renewed.Node, renewed.Since = "cucm1", hours(3)
	got = take(t, s, single)
	same(t, "certificates in service", []cluster.Identity{renewed}, got.Identities)
	same(t, "generations", []cluster.Generation{{Identity: id, Replaced: hours(3)}}, got.Generations)
	same(t, "former requests", []cluster.Retired{}, got.Retired)
	keysFit(t, s)
}

func installingOnMany(t *testing.T, s cluster.Store) {
	nodes := []string{"cucm2", "cucm1", "imp1"}
	k, old := NewKey(t), NewKey(t)
	waiting := old.Request(t, "tomcat", "cucm1")
	before := old.Identity(t, "tomcat", "cucm1")
	other := old.Identity(t, "tomcat-ECDSA", "cucm1")
	apply(t, s, cluster.Change{
		At: hours(1), AddRequests: []cluster.NewRequest{waiting, k.Request(t, "tomcat", cluster.AllNodes)},
		Install: []cluster.Install{
			{Identity: before, Nodes: []string{"cucm1"}, Key: old.PKCS8(t)}, {Identity: other, Nodes: []string{"cucm1"}, Key: old.PKCS8(t)},
		},
	})
	id := k.Identity(t, "tomcat", "cluster-ms")
	id.Multi, id.Node = true, "not looked at"
	apply(t, s, cluster.Change{At: hours(2), Install: []cluster.Install{{Identity: id, Nodes: nodes, From: &multi}}})
	var want []cluster.Identity
	for _, n := range []string{"cucm1", "cucm2", "imp1"} {
		id.Node, id.Since = n, hours(2)
		want = append(want, id)
	}
	before.Node, before.Since, other.Node, other.Since, waiting.Created = "cucm1", hours(1), "cucm1", hours(1), hours(1)
	got := take(t, s, single, multi)
	same(t, "certificates in service", append(want, other), got.Identities)
	same(t, "generations", []cluster.Generation{{Identity: before, Replaced: hours(2)}}, got.Generations)
	same(t, "requests: that of the one node goes on waiting", []cluster.Request{waiting.Request}, got.Requests)
	same(t, "former requests", []cluster.Retired{}, got.Retired)
	keysFit(t, s)

	// The one node can leave the common certificate.
	alone := old.Identity(t, "tomcat", "cucm1")
	apply(t, s, cluster.Change{At: hours(3), Install: []cluster.Install{{Identity: alone, Nodes: []string{"cucm1"}, From: &single}}})
	alone.Node, alone.Since = "cucm1", hours(3)
	got = take(t, s)
	same(t, "certificates in service", append([]cluster.Identity{alone}, append(want[1:], other)...), got.Identities)
	same(t, "generations, the latest first", []cluster.Generation{{Identity: want[0], Replaced: hours(3)}, {Identity: before, Replaced: hours(2)}}, got.Generations)
	keysFit(t, s)
}

func selfSigned(t *testing.T, s cluster.Store) {
	k := NewKey(t)
	waiting := NewKey(t).Request(t, "tomcat", "cucm1")
	apply(t, s, cluster.Change{At: hours(1), AddRequests: []cluster.NewRequest{waiting}})
	id := k.Identity(t, "tomcat", "cucm1")
	id.Since = hours(0)
	apply(t, s, cluster.Change{At: hours(2), Install: []cluster.Install{{Identity: id, Nodes: []string{"cucm1"}, Key: k.PKCS8(t)}}})
	id.Node, waiting.Created = "cucm1", hours(1)
	got := take(t, s)
	same(t, "certificates in service", []cluster.Identity{id}, got.Identities)
	same(t, "requests", []cluster.Request{waiting.Request}, got.Requests)
	keysFit(t, s)
}

func refused(t *testing.T, s cluster.Store) {
	k, other := NewKey(t), NewKey(t)
	id := k.Identity(t, "tomcat", "cucm1")
	apply(t, s, cluster.Change{
		At: Noon, AddRequests: []cluster.NewRequest{other.Request(t, "tomcat", "cucm1")},
		Install: []cluster.Install{{Identity: id, Nodes: []string{"cucm1"}, Key: k.PKCS8(t)}},
	})
	install := func(change func(*cluster.Install)) cluster.Change {
		in := cluster.Install{Identity: id, Nodes: []string{"cucm1", "cucm2"}, Key: k.PKCS8(t)}
		change(&in)
		return cluster.Change{Install: []cluster.Install{in}}
	}
	request := func(change func(*cluster.NewRequest)) cluster.Change {
		q := k.Request(t, "tomcat", "cucm1")
		change(&q)
		return cluster.Change{AddRequests: []cluster.NewRequest{q}}
	}
	trust := func(change func(*cluster.Trust)) cluster.Change {
		c := k.Trust(t, "tomcat-trust", "", named("CA"))
		change(&c)
		return cluster.Change{AddTrust: []cluster.Trust{c}}
	}
	before := take(t, s, single)
	for name, tc := range map[string]struct {
		change cluster.Change
		code   string // "" for an error without one
	}{
		"a certificate with another's key":         {install(func(in *cluster.Install) { in.Key = other.PKCS8(t) }), cluster.CodeKeysMismatch},
		"a certificate with a key that is none":    {install(func(in *cluster.Install) { in.Key = []byte("key") }), cluster.CodeKeysMismatch},
		"a certificate for another's request":      {install(func(in *cluster.Install) { in.Key, in.From = nil, &single }), cluster.CodeKeysMismatch},
		"a certificate for no request":             {install(func(in *cluster.Install) { in.Key, in.From = nil, &multi }), cluster.CodeNoRequest},
		"a certificate without a key":              {install(func(in *cluster.Install) { in.Key = nil }), ""},
		"a certificate with a key and a request":   {install(func(in *cluster.Install) { in.From = &single }), ""},
		"a certificate on no node":                 {install(func(in *cluster.Install) { in.Nodes = nil }), ""},
		"a certificate on no node in particular":   {install(func(in *cluster.Install) { in.Nodes = []string{"cucm1", cluster.AllNodes} }), ""},
		"a certificate twice on a node":            {install(func(in *cluster.Install) { in.Nodes = []string{"cucm1", "cucm1"} }), ""},
		"a certificate for nothing":                {install(func(in *cluster.Install) { in.Purpose = "" }), ""},
		"a certificate with another's fingerprint": {install(func(in *cluster.Install) { in.SHA256 = other.Hash(t) }), ""},
		"a certificate that is none": {install(func(in *cluster.Install) {
			q := k.Request(t, "", "")
			in.DER, in.SHA256 = q.DER, fingerprint(q.DER)
		}), ""},
		"a request with another's key":             {request(func(q *cluster.NewRequest) { q.Key = other.PKCS8(t) }), cluster.CodeKeysMismatch},
		"a request without a key":                  {request(func(q *cluster.NewRequest) { q.Key = nil }), cluster.CodeKeysMismatch},
		"a request with another's hash":            {request(func(q *cluster.NewRequest) { q.KeyHash = other.Hash(t) }), ""},
		"a request that is none":                   {request(func(q *cluster.NewRequest) { q.DER = id.DER }), ""},
		"a request for nothing":                    {request(func(q *cluster.NewRequest) { q.Purpose = "" }), ""},
		"a trust certificate for no store":         {trust(func(c *cluster.Trust) { c.Store = "" }), ""},
		"a trust certificate with another's print": {trust(func(c *cluster.Trust) { c.SHA256 = other.Hash(t) }), ""},
		"a trust certificate without DER":          {trust(func(c *cluster.Trust) { c.DER = nil }), ""},
	} {
		err := tryApply(t, s, tc.change)
		if err == nil || code(err) != tc.code {
			t.Errorf("%s: %v, want code %q", name, err, tc.code)
		}
		same(t, "after "+name, before, take(t, s, single))
	}
	keysFit(t, s)
}

func generationsEnd(t *testing.T, s cluster.Store) {
	for i := range 5 {
		var all []cluster.Install
		for _, node := range []string{"cucm1", "cucm2"} {
			k := NewKey(t)
			all = append(all, cluster.Install{Identity: k.Identity(t, "tomcat", fmt.Sprintf("%s-%d", node, i)), Nodes: []string{node}, Key: k.PKCS8(t)})
		}
		apply(t, s, cluster.Change{At: hours(i), Install: all}) // replaces at 1, 2, 3 and 4
	}
	left := func() (names []string) {
		for _, g := range take(t, s).Generations {
			names = append(names, g.CommonName)
		}
		return names
	}
	all := []string{"cucm1-3", "cucm1-2", "cucm1-1", "cucm1-0", "cucm2-3", "cucm2-2", "cucm2-1", "cucm2-0"}
	same(t, "generations", all, left())
	apply(t, s, cluster.Change{At: hours(9)})
	same(t, "generations when none are to end", all, left())
	must(t, s.Apply(t.Context(), "other", &cluster.Change{ForgetBefore: hours(100)}))
	apply(t, s, cluster.Change{At: hours(9), ForgetBefore: hours(3)})
	same(t, "generations when those replaced before 3 have ended", []string{"cucm1-3", "cucm1-2", "cucm2-3", "cucm2-2"}, left())
	// In the order of the fields: what this change replaces ends with it.
	k := NewKey(t)
	apply(t, s, cluster.Change{
		At: hours(9), Install: []cluster.Install{{Identity: k.Identity(t, "tomcat", "cucm1-5"), Nodes: []string{"cucm1"}, Key: k.PKCS8(t)}}, ForgetBefore: hours(10),
	})
	got := take(t, s)
	same(t, "generations when all have ended", []cluster.Generation{}, got.Generations)
	if len(got.Identities) != 2 || got.Identities[0].CommonName != "cucm1-5" || got.Identities[1].CommonName != "cucm2-4" {
		t.Errorf("in service: %+v, want the last of each node", got.Identities)
	}
	keysFit(t, s)
}
