package cluster_test

import (
	"context"
	"crypto/x509"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"callsign/internal/cluster"
	"callsign/internal/cluster/purpose"
	"callsign/internal/cluster/upload"
)

// entry is a certificate of a trust store in the model.
type entry struct{ store, node, sha256 string }

// held is what the model knows of a trust certificate.
type held struct {
	x      *x509.Certificate
	system bool
	of     string
}

// history is a random life of a cluster, beside a model of what has to be in the store.
type history struct {
	*world
	*rapid.T

	identities map[cluster.Place]string            // fingerprints
	multi      map[cluster.Place]bool              // of identities
	requests   map[cluster.Place]*cluster.Created  // that wait
	former     []*cluster.Created                  // that do not wait any more
	trust      map[entry]held                      //
	families   map[string][]*x509.Certificate      // trust certificates of one subject, by start
	last       map[cluster.Place]*x509.Certificate // that was uploaded last
}

// purposesOf are those whose keys are quickly made, and which nodes have them.
var purposesOf = map[string][]string{
	"tomcat-ECDSA": {"cucmpub", "cucmsub", "imp"}, "CallManager-ECDSA": {"cucmpub", "cucmsub"}, "cup-ECDSA": {"imp"},
}

// TestAnyHistory: whatever administrators do, in whatever order, with restarts and crashes in between, each certificate has its
// key, each request has its key, and the store is as the rules say.
func TestAnyHistory(t *testing.T) {
	t.Parallel()
	families := trustFamilies(t)
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "history")
		if err != nil {
			rt.Fatal(err)
		}
		h := &history{
			world: newWorld(rt, dir), T: rt, identities: map[cluster.Place]string{}, multi: map[cluster.Place]bool{},
			requests: map[cluster.Place]*cluster.Created{}, trust: map[entry]held{}, families: families, last: map[cluster.Place]*x509.Certificate{},
		}
		defer func() { _ = h.store.Close() }() // each history has a file of its own
		rt.Repeat(map[string]func(*rapid.T){
			"":            func(*rapid.T) { h.check() },
			"request":     func(*rapid.T) { h.request() },
			"delete":      func(*rapid.T) { h.deleteRequest() },
			"upload":      func(*rapid.T) { h.upload() },
			"foreign":     func(*rapid.T) { h.uploadForeign() },
			"former":      func(*rapid.T) { h.uploadFormer() },
			"again":       func(*rapid.T) { h.uploadAgain() },
			"race":        func(*rapid.T) { h.race() },
			"regenerate":  func(*rapid.T) { h.regenerate() },
			"trust":       func(*rapid.T) { h.addTrust() },
			"deleteTrust": func(*rapid.T) { h.deleteTrust() },
			"restart":     func(*rapid.T) { h.restart() },
			"crash":       func(*rapid.T) { h.crash() },
		})
	})
}

// trustFamilies are CAs of three names, each renewed twice.
func trustFamilies(t *testing.T) map[string][]*x509.Certificate {
	t.Helper()
	all := map[string][]*x509.Certificate{}
	for _, name := range []string{"Family A", "Family B", "Family C"} {
		for year := range 3 {
			a, err := newAuthority(name, nil, epoch.AddDate(-3+year, 0, 0))
			if err != nil {
				t.Fatal(err)
			}
			all[name] = append(all[name], a.x)
		}
	}
	return all
}

func (h *history) tick() { h.clock = h.clock.Add(time.Minute) }

// place draws where a request is.
func (h *history) place() cluster.Place {
	name := rapid.SampledFrom(slices.Sorted(maps.Keys(purposesOf))).Draw(h.T, "purpose")
	nodes := slices.Clone(purposesOf[name])
	if name != "cup-ECDSA" {
		nodes = append(nodes, cluster.AllNodes)
	}
	return cluster.Place{Purpose: name, Node: rapid.SampledFrom(nodes).Draw(h.T, "node")}
}

func (h *history) waiting() cluster.Place {
	if len(h.requests) == 0 {
		h.Skip("nothing waits")
	}
	places := slices.SortedFunc(maps.Keys(h.requests), func(a, b cluster.Place) int { return cmpPlace(a, b) })
	return rapid.SampledFrom(places).Draw(h.T, "request")
}

func cmpPlace(a, b cluster.Place) int {
	if a.Purpose+" "+a.Node < b.Purpose+" "+b.Node {
		return -1
	}
	return 1
}

func (h *history) request() {
	h.tick()
	at := h.place()
	c := h.create(cluster.Fields{Purpose: at.Purpose, Node: at.Node, Multi: at.Node == cluster.AllNodes})
	if old := h.requests[at]; (old != nil) != (c.Replaced != nil) {
		h.Fatalf("replaced %v, model %v", c.Replaced, old)
	} else if old != nil {
		h.former = append(h.former, old)
	}
	h.requests[at] = c
}

func (h *history) deleteRequest() {
	h.tick()
	at := h.waiting()
	if err := h.DeleteRequest(context.Background(), &h.requests[at].Request); err != nil {
		h.Fatal(err)
	}
	h.former = append(h.former, h.requests[at])
	delete(h.requests, at)
}

// nodeOf is what an administrator says with --node: the node, or for a multi-server certificate nothing.
func (h *history) upload() {
	h.tick()
	at := h.waiting()
	p := pki()
	x := p.issuing.sign(h.world.t, h.requests[at].DER, h.clock, nil)
	certs := []*x509.Certificate{x}
	chain := rapid.IntRange(0, 2).Draw(h.T, "certificates of the chain in the file")
	certs = append(certs, []*x509.Certificate{p.issuing.x, p.root.x}[:chain]...)
	store := storeOf(at.Purpose)
	have := h.inStore(store)
	for _, c := range certs[1:] {
		have[string(c.Raw)] = true
	}
	if !have[string(p.issuing.x.Raw)] || !have[string(p.root.x.Raw)] {
		h.put(cluster.Upload{Purpose: at.Purpose, Node: at.Node, File: file(certs...)}, upload.Rejected, upload.CANotInTrust)
		return
	}
	o := h.put(cluster.Upload{Purpose: at.Purpose, Node: at.Node, File: file(certs...)}, upload.Accepted, "")
	if o.Multi != (at.Node == cluster.AllNodes) {
		h.Fatalf("multi-server: %v", o.Multi)
	}
	for _, c := range certs[1:] {
		h.store1(store, cluster.AllNodes, held{x: c})
	}
	h.install(at, x)
	h.last[at] = x
	delete(h.requests, at)
}

func storeOf(name string) string {
	p, _ := purpose.Find(name)
	return p.Trust
}

// inStore are the certificates of a store that is on every node.
func (h *history) inStore(store string) map[string]bool {
	have := map[string]bool{}
	for e, t := range h.trust {
		if e.store == store && e.node == cluster.AllNodes {
			have[string(t.x.Raw)] = true
		}
	}
	return have
}

func (h *history) store1(store, node string, t held) {
	e := entry{store, node, cluster.NewRecord(t.x).SHA256}
	if _, ok := h.trust[e]; !ok {
		h.trust[e] = t
	}
}

// install is what a certificate that comes into service does to the model.
func (h *history) install(at cluster.Place, x *x509.Certificate) {
	sum := cluster.NewRecord(x).SHA256
	nodes := []string{at.Node}
	if at.Node == cluster.AllNodes {
		nodes = purposesOf[at.Purpose]
	}
	for _, n := range nodes {
		to := cluster.Place{Purpose: at.Purpose, Node: n}
		h.identities[to], h.multi[to] = sum, at.Node == cluster.AllNodes
	}
	for e, t := range h.trust {
		if t.system && t.of == at.Purpose && !h.serves(at.Purpose, e.sha256) {
			delete(h.trust, e)
		}
	}
	h.store1(storeOf(at.Purpose), cluster.AllNodes, held{x: x, system: true, of: at.Purpose})
}

// serves reports whether a certificate is in service on any node.
func (h *history) serves(name, sum string) bool {
	for at, have := range h.identities {
		if at.Purpose == name && have == sum {
			return true
		}
	}
	return false
}

// uploadForeign brings what has to be refused.
func (h *history) uploadForeign() {
	at := h.waiting()
	p := pki()
	csr := h.requests[at].DER
	u := cluster.Upload{Purpose: at.Purpose, Node: at.Node}
	switch rapid.IntRange(0, 2).Draw(h.T, "what is wrong") {
	case 0:
		u.File = file(p.foreign.sign(h.world.t, csr, h.clock, nil), p.issuing.x)
		h.put(u, upload.Rejected, upload.CANotInTrust)
	case 1:
		u.File = file(p.issuing.sign(h.world.t, csr, h.clock, func(c *x509.Certificate) { c.DNSNames = append(c.DNSNames, "www.example.com") }), p.issuing.x, p.root.x)
		h.put(u, upload.Rejected, upload.CSRSANMismatch)
	default:
		u.File = file(p.issuing.sign(h.world.t, csr, h.clock.AddDate(-3, 0, 0), nil), p.issuing.x, p.root.x)
		h.put(u, upload.Rejected, upload.CertExpired)
	}
}

// uploadFormer brings the certificate of a request that does not wait any more.
func (h *history) uploadFormer() {
	if len(h.former) == 0 {
		h.Skip("no request was replaced or deleted")
	}
	c := rapid.SampledFrom(h.former).Draw(h.T, "former request")
	p := pki()
	u := cluster.Upload{Purpose: c.Purpose, Node: c.Node, File: file(p.issuing.sign(h.world.t, c.DER, h.clock, nil), p.issuing.x, p.root.x)}
	code := upload.CSRMissing
	for at := range h.requests {
		if at.Purpose == c.Purpose && (c.Node == cluster.AllNodes || at.Node == c.Node || at.Node == cluster.AllNodes) {
			code = upload.CSRKeyMismatch
		}
	}
	h.put(u, upload.Rejected, code)
}

// uploadAgain brings a certificate that was uploaded before.
func (h *history) uploadAgain() {
	if len(h.last) == 0 {
		h.Skip("nothing was uploaded")
	}
	at := rapid.SampledFrom(slices.SortedFunc(maps.Keys(h.last), cmpPlace)).Draw(h.T, "place")
	o, err := h.Upload(context.Background(), cluster.Upload{Purpose: at.Purpose, Node: at.Node, File: file(h.last[at])})
	if err != nil || o.Verdict != upload.Rejected || o.Code != upload.CSRMissing && o.Code != upload.CSRKeyMismatch {
		h.Fatalf("%+v %v", o, err)
	}
}

// race lets two administrators upload different certificates of one request at once.
func (h *history) race() {
	h.tick()
	at := h.waiting()
	p := pki()
	var certs [2]*x509.Certificate
	var outcomes [2]*cluster.Outcome
	var errs [2]error
	var all sync.WaitGroup
	for i := range certs {
		certs[i] = p.issuing.sign(h.world.t, h.requests[at].DER, h.clock, nil)
		all.Go(func() {
			outcomes[i], errs[i] = h.Upload(context.Background(), cluster.Upload{Purpose: at.Purpose, Node: at.Node, File: file(certs[i], p.issuing.x, p.root.x)})
		})
	}
	all.Wait()
	won := -1
	for i := range certs {
		switch {
		case errs[i] == nil && outcomes[i].Verdict == upload.Accepted && won < 0:
			won = i
		case errs[i] == nil && outcomes[i].Code == upload.CSRMissing, errs[i] == nil && outcomes[i].Code == upload.CSRKeyMismatch, problemCode(errs[i]) == cluster.CodeChanged:
		default:
			h.Fatalf("upload %d: %+v %v", i, outcomes[i], errs[i])
		}
	}
	if won < 0 {
		h.Fatalf("nobody won: %v", errs)
	}
	for _, c := range []*x509.Certificate{p.issuing.x, p.root.x} {
		h.store1(storeOf(at.Purpose), cluster.AllNodes, held{x: c})
	}
	h.install(at, certs[won])
	h.last[at] = certs[won]
	delete(h.requests, at)
}

func (h *history) regenerate() {
	h.tick()
	at := h.place()
	r := h.regen(cluster.Fields{Purpose: at.Purpose, Node: at.Node, Multi: at.Node == cluster.AllNodes, Key: cluster.KeySpec{Bits: 256}})
	x, err := x509.ParseCertificate(r.DER)
	if err != nil {
		h.Fatal(err)
	}
	h.install(at, x)
}

// addTrust uploads a CA certificate into a store; the model applies the rule of names by itself.
func (h *history) addTrust() {
	h.tick()
	store := rapid.SampledFrom([]string{"tomcat-trust", "CallManager-trust", "CAPF-trust"}).Draw(h.T, "store")
	node, where := "", cluster.AllNodes
	if store == "CAPF-trust" {
		node = rapid.SampledFrom([]string{"cucmpub", "cucmsub"}).Draw(h.T, "node")
		where = node
	}
	family := rapid.SampledFrom(slices.Sorted(maps.Keys(h.families))).Draw(h.T, "family")
	x := rapid.SampledFrom(h.families[family]).Draw(h.T, "certificate")
	want, code := upload.Accepted, upload.Code("")
	var replaced []entry
	for e, t := range h.trust {
		if e.store != store || e.node != where && e.node != cluster.AllNodes || t.x.Subject.CommonName != family {
			continue
		}
		switch {
		case t.x.Equal(x):
			want = upload.Unchanged
		case !x.NotBefore.After(t.x.NotBefore) && want != upload.Unchanged:
			want, code = upload.Rejected, upload.TrustOlder
		case want == upload.Accepted:
			want, replaced = upload.Replacing, append(replaced, e)
		}
	}
	h.put(cluster.Upload{Purpose: store, Node: node, File: file(x)}, want, code)
	if want == upload.Accepted || want == upload.Replacing {
		for _, e := range replaced {
			delete(h.trust, e)
		}
		h.store1(store, where, held{x: x})
	}
}

func (h *history) deleteTrust() {
	h.tick()
	if len(h.trust) == 0 {
		h.Skip("the trust stores are empty")
	}
	e := rapid.SampledFrom(slices.SortedFunc(maps.Keys(h.trust), func(a, b entry) int {
		return cmpPlace(cluster.Place{Purpose: a.store + a.node, Node: a.sha256}, cluster.Place{Purpose: b.store + b.node, Node: b.sha256})
	})).Draw(h.T, "certificate")
	gone, err := h.DeleteTrust(context.Background(), e.store, "", e.sha256, false, false)
	if slices.Contains(slices.Collect(maps.Values(h.identities)), e.sha256) {
		if problemCode(err) != cluster.CodeOwn {
			h.Fatalf("a copy of a certificate in service: %v", err)
		}
		return
	}
	if err != nil {
		h.Fatal(err)
	}
	// A store that is not replicated loses it on all nodes.
	for other := range h.trust {
		if other.store == e.store && other.sha256 == e.sha256 {
			delete(h.trust, other)
		}
	}
	if len(gone) == 0 {
		h.Fatal("nothing is said to be gone")
	}
}

// check compares the store with the model.
func (h *history) check() {
	ctx := context.Background()
	if err := h.CheckKeys(ctx); err != nil {
		h.Fatal(err)
	}
	h.view(func(r cluster.Reader) error {
		identities, err := r.Identities(ctx)
		if err != nil {
			return err
		}
		got, multi := map[cluster.Place]string{}, map[cluster.Place]bool{}
		for i := range identities {
			at := cluster.Place{Purpose: identities[i].Purpose, Node: identities[i].Node}
			got[at], multi[at] = identities[i].SHA256, identities[i].Multi
		}
		if diff := cmp.Diff(h.identities, got) + cmp.Diff(h.multi, multi); diff != "" {
			return fmt.Errorf("identity certificates (-model +store):\n%s", diff)
		}
		requests, err := r.Requests(ctx)
		if err != nil {
			return err
		}
		wanted, waiting := map[cluster.Place]string{}, map[cluster.Place]string{}
		for at, c := range h.requests {
			wanted[at] = c.KeyHash
		}
		for _, q := range requests {
			waiting[cluster.Place{Purpose: q.Purpose, Node: q.Node}] = q.KeyHash
		}
		if diff := cmp.Diff(wanted, waiting); diff != "" {
			return fmt.Errorf("requests (-model +store):\n%s", diff)
		}
		trust, err := r.TrustList(ctx, "")
		if err != nil {
			return err
		}
		model, stored := map[entry]bool{}, map[entry]bool{}
		for e, t := range h.trust {
			model[e] = t.system
		}
		for i := range trust {
			stored[entry{trust[i].Store, trust[i].Node, trust[i].SHA256}] = trust[i].Origin == cluster.System
		}
		if diff := cmp.Diff(model, stored); diff != "" {
			return fmt.Errorf("trust stores (-model +store):\n%s", diff)
		}
		return nil
	})
	h.checkList()
}

// checkList: the list has what the model has, a multi-server certificate once.
func (h *history) checkList() {
	rows, err := h.List(context.Background(), cluster.Query{})
	if err != nil {
		h.Fatal(err)
	}
	want := len(h.requests) + len(h.trust)
	seen := map[string]bool{}
	for at, sum := range h.identities {
		if key := at.Purpose + sum; !h.multi[at] || !seen[key] {
			want++
			seen[key] = h.multi[at]
		}
	}
	if len(rows) != want {
		h.Fatalf("the list has %d rows, the model %d", len(rows), want)
	}
}
