package clustertest

import (
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"callsign/internal/cluster"
)

// pool is what random changes are made of.
type pool struct {
	keys  []Key
	pkcs8 [][]byte
	ids   [][]cluster.Identity // by key and purpose
	reqs  []cluster.NewRequest // by key
	trust []cluster.Trust
}

var (
	randomPurposes = []string{"tomcat", "ipsec"}
	randomNodes    = []string{cluster.AllNodes, "cucm1", "cucm2"}
	randomStores   = []string{"tomcat-trust", "ipsec-trust"}
)

func newPool(t *testing.T) *pool {
	t.Helper()
	p := &pool{}
	for i := range 4 {
		k := NewKey(t)
		p.keys, p.pkcs8 = append(p.keys, k), append(p.pkcs8, k.PKCS8(t))
		p.ids = append(p.ids, []cluster.Identity{k.Identity(t, randomPurposes[0], fmt.Sprint("a", i)), k.Identity(t, randomPurposes[1], fmt.Sprint("b", i))})
		p.reqs = append(p.reqs, k.Request(t, "", ""))
		p.trust = append(p.trust, k.Trust(t, "", "", pkix.Name{CommonName: fmt.Sprint("CA ", i%2)}))
	}
	return p
}

// RunRandom makes random changes, good ones and bad ones, to a store and to a [Memory], which have to agree on every
// answer and on what is there afterwards; and whatever was done, each certificate and each request has its key.
func RunRandom(t *testing.T, s cluster.Store) {
	t.Helper()
	p := newPool(t)
	var places []cluster.Place
	for _, purpose := range randomPurposes {
		for _, node := range randomNodes {
			places = append(places, cluster.Place{Purpose: purpose, Node: node})
		}
	}
	var clusters atomic.Int64
	rapid.Check(t, func(rt *rapid.T) {
		name, model := fmt.Sprint("cluster ", clusters.Add(1)), &Memory{}
		for step := range rapid.IntRange(1, 12).Draw(rt, "changes") {
			now := model.at(name)
			c := p.change(rt, step, now)
			c.Revision = now.revision
			if rapid.IntRange(0, 9).Draw(rt, "stale") == 0 {
				c.Revision += int64(rapid.SampledFrom([]int{-1, 1}).Draw(rt, "off by"))
			}
			want, got := model.Apply(t.Context(), name, c), s.Apply(t.Context(), name, c)
			if (want == nil) != (got == nil) || code(want) != code(got) || errors.Is(want, cluster.ErrChanged) != errors.Is(got, cluster.ErrChanged) {
				rt.Fatalf("the store answers %v, want %v", got, want)
			}
			before, err := Take(t.Context(), model, name, places...)
			if err != nil {
				rt.Fatal(err)
			}
			after, err := Take(t.Context(), s, name, places...)
			if err != nil {
				rt.Fatal(err)
			}
			if diff := cmp.Diff(before, after, cmpopts.EquateEmpty()); diff != "" {
				rt.Fatalf("after %+v (-want +got):\n%s", c, diff)
			}
			if wrong, err := s.CheckKeys(t.Context(), name); err != nil || len(wrong) > 0 {
				rt.Fatalf("keys: %q, %v", wrong, err)
			}
		}
	})
}

// change draws a change of few parts to what is there now. Some parts cannot be.
func (p *pool) change(rt *rapid.T, step int, now *contents) *cluster.Change {
	c := &cluster.Change{At: hours(step), Events: []cluster.Event{{Detail: fmt.Sprint(step)}}}
	place := func() cluster.Place {
		return cluster.Place{Purpose: rapid.SampledFrom(randomPurposes).Draw(rt, "purpose"), Node: rapid.SampledFrom(randomNodes).Draw(rt, "node")}
	}
	// Mostly one that is there: left to chance alone most changes would be refused.
	waiting := func() (cluster.Place, int) {
		list, _ := now.Requests(rt.Context())
		if len(list) == 0 || rapid.IntRange(0, 4).Draw(rt, "any request") == 0 {
			return place(), rapid.IntRange(0, len(p.keys)-1).Draw(rt, "key")
		}
		q := rapid.SampledFrom(list).Draw(rt, "request")
		k := slices.IndexFunc(p.reqs, func(r cluster.NewRequest) bool { return r.KeyHash == q.KeyHash })
		return cluster.Place{Purpose: q.Purpose, Node: q.Node}, k
	}
	key := func() int { return rapid.IntRange(0, len(p.keys)-1).Draw(rt, "key") }
	for range rapid.IntRange(1, 3).Draw(rt, "parts") {
		switch part := rapid.SampledFrom([]string{"request", "answer", "self-signed", "delete", "trust", "trust goes", "subject", "forget"}).Draw(rt, "part"); part {
		case "request":
			at, q := place(), p.reqs[key()]
			q.Purpose, q.Node = at.Purpose, at.Node
			c.AddRequests = append(c.AddRequests, q)
		case "answer", "self-signed":
			at, k := waiting()
			in := cluster.Install{Identity: p.ids[k][0], Nodes: []string{at.Node}}
			if at.Purpose == randomPurposes[1] {
				in.Identity = p.ids[k][1]
			}
			if at.Node == cluster.AllNodes {
				in.Nodes, in.Multi = randomNodes[1:], true
			}
			if part == "answer" {
				in.From = &at
			} else {
				in.Key = p.pkcs8[k]
			}
			c.Install = append(c.Install, in)
		case "delete":
			at, _ := waiting()
			c.DropRequests = append(c.DropRequests, at)
		case "trust":
			tr := p.trust[key()]
			tr.Store, tr.Node = rapid.SampledFrom(randomStores).Draw(rt, "store"), rapid.SampledFrom(randomNodes).Draw(rt, "node")
			c.AddTrust = append(c.AddTrust, tr)
		case "trust goes":
			at := cluster.TrustPlace{Store: randomStores[0], SHA256: p.trust[key()].SHA256}
			if list := now.find(func(*cluster.Trust) bool { return true }); len(list) > 0 {
				tr := rapid.SampledFrom(list).Draw(rt, "certificate")
				at = cluster.TrustPlace{Store: tr.Store, Node: tr.Node, SHA256: tr.SHA256}
			}
			c.DropTrust = append(c.DropTrust, at)
		case "subject":
			c.Subjects = append(c.Subjects, cluster.Subject{Node: place().Node, Locality: fmt.Sprint(step)})
		case "forget":
			c.ForgetBefore = hours(rapid.IntRange(0, step+1).Draw(rt, "before"))
		}
	}
	return c
}
