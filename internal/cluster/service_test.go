package cluster_test

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"callsign/internal/cluster"
	"callsign/internal/cluster/purpose"
	"callsign/internal/cluster/upload"
)

const multiECDSA = "tomcat-ECDSA"

// TestMultiServer: one certificate of the cluster from its request to the next one, on three nodes.
func TestMultiServer(t *testing.T) {
	t.Parallel()
	w := testWorld(t)
	ctx := context.Background()
	p := pki()
	first := w.create(cluster.Fields{Purpose: multiECDSA, Multi: true})
	if first.Node != cluster.AllNodes || first.Replaced != nil || !slices.Contains(first.Template.DNSNames, "imp.lab.example.com") {
		t.Errorf("%+v", first)
	}
	// Generated again: the certificate of the first request comes too late, and is told so.
	w.clock = w.clock.Add(time.Hour)
	second := w.create(cluster.Fields{Purpose: multiECDSA, Multi: true})
	if second.Replaced == nil || second.Replaced.KeyHash != first.KeyHash {
		t.Errorf("replaced %+v", second.Replaced)
	}
	late := p.issuing.sign(t, first.DER, w.clock, nil)
	o := w.put(cluster.Upload{Purpose: multiECDSA, File: file(late)}, upload.Rejected, upload.CSRKeyMismatch)
	if c := strings.Join(o.Reasons[0].Causes, "; "); !strings.Contains(c, "2026-11-20T12:00:00Z") || !strings.Contains(c, "private key is gone") {
		t.Errorf("causes %s", c)
	}
	// First the certificate alone, then with its CAs.
	x := p.issuing.sign(t, second.DER, w.clock, nil)
	w.put(cluster.Upload{Purpose: multiECDSA, File: file(x)}, upload.Rejected, upload.CANotInTrust)
	w.put(cluster.Upload{Purpose: "tomcat-trust", File: file(p.root.x)}, upload.Accepted, "")
	w.put(cluster.Upload{Purpose: "tomcat-trust", File: file(p.issuing.x)}, upload.Accepted, "")
	w.put(cluster.Upload{Purpose: "tomcat-trust", File: file(p.issuing.x, p.root.x)}, upload.Unchanged, "")
	checked, err := w.CheckUpload(ctx, cluster.Upload{Purpose: multiECDSA, File: file(x)})
	if err != nil || checked.Verdict != upload.Accepted {
		t.Fatalf("%+v %v", checked, err)
	}
	o = w.put(cluster.Upload{Purpose: multiECDSA, File: file(x)}, upload.Accepted, "")
	if diff := cmp.Diff([]string{"cucmpub", "cucmsub", "imp"}, o.Nodes); diff != "" || !o.Multi {
		t.Errorf("nodes (-want +got):\n%s", diff)
	}
	var steps []string
	for _, s := range o.Steps {
		steps = append(steps, s.Node+": "+s.Command)
	}
	if diff := cmp.Diff([]string{"cucmpub: utils service restart Cisco Tomcat", "cucmsub: utils service restart Cisco Tomcat", "imp: utils service restart Cisco Tomcat"}, steps); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
	rows := w.list(cluster.Query{Usage: cluster.IdentityUsage})
	if len(rows) != 1 || rows[0].Distribution != cluster.MultiServer || rows[0].Chain != "ok" || rows[0].Type != cluster.TypeCASigned || rows[0].IssuedBy != "Test Issuing CA" {
		t.Errorf("%+v", rows)
	}
	// It was uploaded: once more it has no request, and the reason says why.
	o = w.put(cluster.Upload{Purpose: multiECDSA, File: file(x)}, upload.Rejected, upload.CSRMissing)
	if c := o.Reasons[0].Causes[0]; !strings.Contains(c, "the certificate in service of tomcat-ECDSA (multi-server)") {
		t.Errorf("cause %s", c)
	}
	// One node gets its own: the others keep the shared one.
	r := w.regen(cluster.Fields{Purpose: multiECDSA, Node: "cucmsub"})
	if len(r.Before) != 1 || r.KeyBits != 256 {
		t.Fatalf("%+v", r)
	}
	rows = w.list(cluster.Query{Usage: cluster.IdentityUsage})
	if len(rows) != 2 || rows[0].Distribution != cluster.MultiServer || rows[1].Node != "cucmsub" || rows[1].Type != cluster.TypeSelfSigned {
		t.Errorf("%+v", rows)
	}
	diff, err := w.Diff(ctx)
	if err != nil || len(diff) != 1 || !slices.Equal(diff[0].Missing, []string{"cucmsub"}) || !slices.Equal(diff[0].On, []string{"cucmpub", "imp"}) {
		t.Errorf("%+v %v", diff, err)
	}
	if err := w.CheckKeys(ctx); err != nil {
		t.Error(err)
	}
	events, err := w.History(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for _, e := range events {
		count[e.Action]++
		if e.Actor != "tester" {
			t.Errorf("%+v", e)
		}
	}
	if diff := cmp.Diff(map[string]int{
		cluster.ActionRequestCreated: 2, cluster.ActionTrustAdded: 2, cluster.ActionUploaded: 3, cluster.ActionRegenerated: 1,
	}, count); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

func (w *world) list(q cluster.Query) []cluster.Row {
	w.t.Helper()
	rows, err := w.List(context.Background(), q)
	if err != nil {
		w.t.Fatal(err)
	}
	return rows
}

// TestNodeOfUpload: without --node a certificate goes where its request is; with it, only there.
func TestNodeOfUpload(t *testing.T) {
	t.Parallel()
	w := testWorld(t)
	p := pki()
	w.put(cluster.Upload{Purpose: "tomcat-trust", File: file(p.root.x, p.issuing.x)}, upload.Accepted, "")
	pub := w.create(cluster.Fields{Purpose: multiECDSA})
	sub := w.create(cluster.Fields{Purpose: multiECDSA, Node: "cucmsub"})
	x := p.issuing.sign(t, sub.DER, w.clock, nil)
	o := w.put(cluster.Upload{Purpose: multiECDSA, Node: "CUCMPUB.lab.example.com", File: file(x)}, upload.Rejected, upload.CSRKeyMismatch)
	if c := o.Reasons[0].Causes[0]; c != "the certificate has the key of the request of tomcat-ECDSA@cucmsub, which waits as well" {
		t.Errorf("cause %s", c)
	}
	o = w.put(cluster.Upload{Purpose: multiECDSA, File: file(x)}, upload.Accepted, "")
	if !slices.Equal(o.Nodes, []string{"cucmsub"}) || len(o.Steps) != 1 || o.Steps[0].Node != "cucmsub" {
		t.Errorf("%v, %+v", o.Nodes, o.Steps)
	}
	w.put(cluster.Upload{Purpose: multiECDSA, Node: "cucmpub", File: file(p.issuing.sign(t, pub.DER, w.clock, nil))}, upload.Accepted, "")
	if _, err := w.Upload(context.Background(), cluster.Upload{Purpose: multiECDSA, Node: "nowhere", File: file(x)}); problemCode(err) != cluster.CodeNode {
		t.Errorf("%v", err)
	}
	w.put(cluster.Upload{Purpose: "CallManager", Node: "imp", File: file(x)}, upload.Rejected, upload.BadPurpose)
	w.put(cluster.Upload{Purpose: "Phone-Edge-trust", Node: "cucmsub", File: file(p.root.x)}, upload.Rejected, upload.BadPurpose)
	w.put(cluster.Upload{Purpose: "authz", File: file(x)}, upload.Rejected, upload.BadPurpose)
}

// TestCAPFAndItsLSCs: former CAPF certificates stay until no phone has an LSC of them.
func TestCAPFAndItsLSCs(t *testing.T) {
	t.Parallel()
	w := testWorld(t)
	ctx := context.Background()
	key := cluster.KeySpec{Type: purpose.RSA, Bits: 1024} // quick; nobody trusts it
	old := w.regen(cluster.Fields{Purpose: "CAPF", CommonName: "CAPF-1a2b3c4d", Key: key})
	w.clock = w.clock.Add(time.Hour)
	w.regen(cluster.Fields{Purpose: "CAPF", CommonName: "CAPF-55667788", Key: key})
	for _, store := range []string{"CAPF-trust", "CallManager-trust"} {
		if diff := cmp.Diff([]string{"CAPF-1a2b3c4d", "CAPF-55667788"}, w.trustNames(store)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", store, diff)
		}
	}
	if _, err := w.DeleteTrust(ctx, "CallManager-trust", "", "CAPF-55667788", true, false); problemCode(err) != cluster.CodeOwn {
		t.Errorf("in service: %v", err)
	}
	// 118 phones by the description, 3 by the records here.
	w.LSCs = func(_ context.Context, issuer *x509.Certificate) (int, error) {
		if issuer.Subject.CommonName == "CAPF-1a2b3c4d" {
			return 3, nil
		}
		return 0, nil
	}
	if _, err := w.DeleteTrust(ctx, "CallManager-trust", "", "CAPF-1a2b3c4d", false, false); problemCode(err) != cluster.CodeInUse {
		t.Errorf("with LSCs: %v", err)
	}
	all, err := w.Dependents(ctx, "", "CAPF-1a2b3c4d")
	if err != nil || len(all) != 2 || all[0].Live() != 118 || len(all[0].LSCs) != 2 || !all[0].Used() {
		t.Errorf("%+v %v", all, err)
	}
	if gone, err := w.DeleteTrust(ctx, "CallManager-trust", "", "CAPF-1a2b3c4d", true, true); err != nil || len(gone) != 1 || len(w.trustNames("CallManager-trust")) != 2 {
		t.Errorf("dry: %+v %v", gone, err)
	}
	gone, err := w.DeleteTrust(ctx, "CallManager-trust", "", old.SHA256[:12], true, false)
	if err != nil || len(gone) != 1 || len(gone[0].Restart) == 0 || gone[0].Restart[0].Node != "cucmpub" {
		t.Errorf("%+v %v", gone, err)
	}
	if diff := cmp.Diff([]string{"CAPF-55667788"}, w.trustNames("CallManager-trust")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestWhatBreaks: what a deletion breaks is found by judging every path without the certificate.
func TestWhatBreaks(t *testing.T) {
	t.Parallel()
	w := testWorld(t)
	ctx := context.Background()
	p := pki()
	w.put(cluster.Upload{Purpose: "tomcat-trust", File: file(p.root.x, p.issuing.x, p.foreign.x)}, upload.Accepted, "")
	for _, node := range []string{"cucmpub", "cucmsub"} {
		c := w.create(cluster.Fields{Purpose: multiECDSA, Node: node})
		w.put(cluster.Upload{Purpose: multiECDSA, Node: node, File: file(p.issuing.sign(t, c.DER, w.clock, nil))}, upload.Accepted, "")
	}
	for name, want := range map[string]struct{ breaks, issued []string }{
		"Test Root CA":    {[]string{"tomcat-ECDSA@cucmpub", "tomcat-ECDSA@cucmsub"}, []string{"tomcat-trust/"}},
		"Test Issuing CA": {[]string{"tomcat-ECDSA@cucmpub", "tomcat-ECDSA@cucmsub"}, []string{"tomcat-ECDSA@cucmpub", "tomcat-ECDSA@cucmsub", "tomcat-trust/", "tomcat-trust/"}},
		"Foreign CA":      {},
	} {
		all, err := w.Dependents(ctx, "tomcat-trust", name)
		if err != nil || len(all) != 1 {
			t.Fatalf("%s: %+v %v", name, all, err)
		}
		var issued []string
		for _, i := range all[0].Issued {
			if store, _, ok := strings.Cut(i, "/"); ok {
				i = store + "/"
			}
			issued = append(issued, i)
		}
		if diff := cmp.Diff(want.breaks, all[0].Breaks) + cmp.Diff(want.issued, issued); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if _, err := w.DeleteTrust(ctx, "tomcat-trust", "", "test root ca", false, false); err != nil {
		t.Fatal(err)
	}
	rows := w.list(cluster.Query{Broken: true})
	if len(rows) != 2 || !strings.HasPrefix(rows[0].Chain, "incomplete_anchor: ") {
		t.Errorf("%+v", rows)
	}
	if _, err := w.Dependents(ctx, "", "Test Root CA"); problemCode(err) != cluster.CodeNoCert {
		t.Errorf("%v", err)
	}
}

// TestReplacedTrust: what a new trust certificate breaks is known before it takes the place of the old one.
func TestReplacedTrust(t *testing.T) {
	t.Parallel()
	w := testWorld(t)
	ctx := context.Background()
	p := pki()
	w.put(cluster.Upload{Purpose: "tomcat-trust", File: file(p.root.x, p.issuing.x)}, upload.Accepted, "")
	c := w.create(cluster.Fields{Purpose: multiECDSA})
	w.put(cluster.Upload{Purpose: multiECDSA, File: file(p.issuing.sign(t, c.DER, w.clock, nil))}, upload.Accepted, "")
	renewed, err := newAuthority("Test Root CA", nil, epoch.AddDate(0, -1, 0)) // with another key
	if err != nil {
		t.Fatal(err)
	}
	o, err := w.CheckUpload(ctx, cluster.Upload{Purpose: "tomcat-trust", File: file(renewed.x)})
	if err != nil || o.Verdict != upload.Replacing || len(o.Superseded) != 1 {
		t.Fatalf("%+v %v", o, err)
	}
	if diff := cmp.Diff([]string{"tomcat-ECDSA@cucmpub"}, o.Superseded[0].Breaks); diff != "" {
		t.Errorf("breaks (-want +got):\n%s", diff)
	}
	// The same root with the same key, issued anew: everything has its path still.
	same := *p.root.x
	same.NotBefore, same.RawSubjectPublicKeyInfo = epoch.AddDate(0, -1, 0), nil
	der, err := x509.CreateCertificate(rand.Reader, &same, &same, p.root.key.Public(), p.root.key)
	if err != nil {
		t.Fatal(err)
	}
	x, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	o, err = w.CheckUpload(ctx, cluster.Upload{Purpose: "tomcat-trust", File: file(x)})
	if err != nil || o.Verdict != upload.Replacing || len(o.Superseded) != 1 || len(o.Superseded[0].Breaks) != 0 || len(o.Superseded[0].Issued) == 0 {
		t.Fatalf("%+v %v", o, err)
	}
}

// TestNamesOfTrust: a certificate is found by every name that people have for it, and a name of two is refused.
func TestNamesOfTrust(t *testing.T) {
	t.Parallel()
	w := testWorld(t)
	w.Policy.SameName = upload.ByKeyID
	ctx := context.Background()
	families := trustFamilies(t)["Family A"]
	w.put(cluster.Upload{Purpose: "CallManager-trust", File: file(families[0])}, upload.Accepted, "")
	r := cluster.NewRecord(families[0])
	colons := strings.ToUpper(r.Serial[:2]) + ":" + r.Serial[2:]
	for _, name := range []string{"Family A", "family a", "Family A.pem", r.Serial, colons, r.SHA256, r.SHA256[:8], strings.ToUpper(r.SHA256), "Family A_" + r.Serial + ".pem"} {
		if found, err := w.TrustNamed(ctx, "", name); err != nil || len(found) != 1 {
			t.Errorf("%q: %d %v", name, len(found), err)
		}
	}
	for _, name := range []string{"", "Family", r.SHA256[:7], "zz", r.SHA256 + "0"} {
		if _, err := w.TrustNamed(ctx, "CallManager-trust", name); problemCode(err) != cluster.CodeNoCert {
			t.Errorf("%q: %v", name, err)
		}
	}
	if _, err := w.TrustNamed(ctx, "CallManager-Trust", "Family A"); problemCode(err) != cluster.CodePurpose {
		t.Errorf("%v", err)
	}
	w.put(cluster.Upload{Purpose: "CallManager-trust", File: file(families[1])}, upload.Accepted, "")
	if _, err := w.DeleteTrust(ctx, "CallManager-trust", "", "Family A", false, false); problemCode(err) != cluster.CodeAmbiguous || !strings.Contains(err.Error(), r.SHA256[:16]) {
		t.Errorf("%v", err)
	}
	if _, err := w.DeleteTrust(ctx, "CallManager-trust", "", r.SHA256, false, false); err != nil {
		t.Error(err)
	}
}

// TestStoresOfNodes: CAPF-trust has what was uploaded on each node, and loses it on all.
func TestStoresOfNodes(t *testing.T) {
	t.Parallel()
	w := testWorld(t)
	ctx := context.Background()
	p := pki()
	for _, node := range []string{"cucmsub", "cucmpub"} {
		w.put(cluster.Upload{Purpose: "CAPF-trust", Node: node, File: file(p.root.x)}, upload.Accepted, "")
	}
	w.put(cluster.Upload{Purpose: "CAPF-trust", File: file(p.root.x)}, upload.Unchanged, "")
	w.put(cluster.Upload{Purpose: "CAPF-trust", Node: "cucmsub", File: file(p.foreign.x)}, upload.Accepted, "")
	w.put(cluster.Upload{Purpose: "CAPF-trust", Node: "imp", File: file(p.foreign.x)}, upload.Rejected, upload.BadPurpose)
	diff, err := w.Diff(ctx)
	if err != nil || len(diff) != 1 || !slices.Equal(diff[0].Missing, []string{"cucmpub"}) {
		t.Errorf("%+v %v", diff, err)
	}
	for node, want := range map[string]int{"cucmpub": 1, "cucmsub": 2, "": 1} {
		if got, err := w.Export(ctx, "CAPF-trust", node); err != nil || len(got) != want || len(got[0].DER) == 0 {
			t.Errorf("%q: %d %v", node, len(got), err)
		}
	}
	if _, err := w.DeleteTrust(ctx, "CAPF-trust", "cucmpub", "Foreign CA", false, false); problemCode(err) != cluster.CodeNoCert {
		t.Errorf("%v", err)
	}
	if gone, err := w.DeleteTrust(ctx, "CAPF-trust", "", "Test Root CA", false, false); err != nil || len(gone) != 2 {
		t.Errorf("%d %v", len(gone), err)
	}
	if diff := cmp.Diff([]string{"Foreign CA"}, w.trustNames("CAPF-trust")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestNeverTogether: TVS and CallManager within a day are warned of, in either order.
func TestNeverTogether(t *testing.T) {
	t.Parallel()
	w := testWorld(t)
	ctx := context.Background()
	w.regen(cluster.Fields{Purpose: "CallManager-ECDSA", Key: cluster.KeySpec{Bits: 256}})
	for _, c := range []struct {
		purpose string
		after   time.Duration
		want    []string
	}{
		{"TVS", time.Hour, []string{"CallManager-ECDSA"}},
		{"tomcat", time.Hour, nil},
		{"ITLRecovery", time.Hour, []string{"CallManager-ECDSA"}},
		{"CallManager-ECDSA", time.Hour, nil},
		{"TVS", 25 * time.Hour, nil},
	} {
		w.clock = epoch.Add(c.after)
		r, err := w.PlanRegenerate(ctx, cluster.Fields{Purpose: c.purpose, Key: cluster.KeySpec{Bits: bitsOf(c.purpose)}})
		if err != nil || !slices.Equal(r.Recent, c.want) {
			t.Errorf("%s after %s: %v %v, want %v", c.purpose, c.after, r.Recent, err, c.want)
		}
	}
	w.clock = epoch.Add(time.Hour)
	w.regen(cluster.Fields{Purpose: "TVS", Key: cluster.KeySpec{Bits: 1024}})
	r, err := w.PlanRegenerate(ctx, cluster.Fields{Purpose: "CallManager-ECDSA", Key: cluster.KeySpec{Bits: 256}})
	if err != nil || !slices.Equal(r.Recent, []string{"TVS"}) {
		t.Errorf("%v %v", r, err)
	}
}

func bitsOf(name string) int {
	if p, _ := purpose.Find(name); p.Key == purpose.RSA {
		return 1024
	}
	return 256
}

// TestSubjectSettings: they change a self-signed tomcat certificate at once, and a CA-signed one not.
func TestSubjectSettings(t *testing.T) {
	t.Parallel()
	w := testWorld(t)
	ctx := context.Background()
	lab := cluster.Subject{Organization: "Example Voice Lab", Locality: "Lab City", State: "Lab State", Country: "US", Units: []string{"Voice"}, AlternateHostNames: []string{"192.0.2.10"}}
	plan := func(s cluster.Subject) *cluster.SubjectPlan {
		p, err := w.PlanSubject(ctx, s)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	if plan(lab).Regenerates != nil {
		t.Error("there is nothing to regenerate")
	}
	if _, set, _ := w.Subject(ctx, ""); set {
		t.Error("a plan set it")
	}
	w.regen(cluster.Fields{Purpose: "tomcat", Key: cluster.KeySpec{Bits: 1024}})
	r, err := w.SetSubject(ctx, plan(lab))
	if err != nil || r == nil || !strings.Contains(r.Subject, "OU=Voice") || r.KeyBits != 1024 || len(r.Before) != 1 {
		t.Fatalf("%+v %v", r, err)
	}
	got, set, err := w.Subject(ctx, "cucmpub")
	lab.Node = "cucmpub"
	if diff := cmp.Diff(lab, got); diff != "" || !set || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	// The other nodes are untouched, a request has them.
	if _, set, err = w.Subject(ctx, "cucmsub"); set || err != nil {
		t.Errorf("%v %v", set, err)
	}
	c := w.create(cluster.Fields{Purpose: multiECDSA, IncludeOU: true})
	if s := c.Template.Subject(); !strings.Contains(s, "Example Voice Lab") || !strings.Contains(s, "Voice") || len(c.Template.IPAddresses) != 1 {
		t.Errorf("%s %v", s, c.Template.IPAddresses)
	}
	if _, err := w.PlanSubject(ctx, cluster.Subject{Country: "USA"}); problemCode(err) != cluster.CodeField {
		t.Errorf("%v", err)
	}
	if _, err := w.PlanSubject(ctx, cluster.Subject{Node: "nowhere"}); problemCode(err) != cluster.CodeNode {
		t.Errorf("%v", err)
	}
}

func TestListQueries(t *testing.T) {
	t.Parallel()
	w := testWorld(t)
	p := pki()
	w.put(cluster.Upload{Purpose: "tomcat-trust", File: file(p.root.x, p.issuing.x)}, upload.Accepted, "")
	c := w.create(cluster.Fields{Purpose: multiECDSA})
	w.put(cluster.Upload{Purpose: multiECDSA, File: file(p.issuing.sign(t, c.DER, w.clock, func(x *x509.Certificate) { x.NotAfter = w.clock.AddDate(0, 0, 20) }))}, upload.Accepted, "")
	w.create(cluster.Fields{Purpose: multiECDSA, Node: "cucmsub"})
	w.regen(cluster.Fields{Purpose: "tomcat", Key: cluster.KeySpec{Bits: 1024}})
	days := func(n int) *cluster.Threshold { return &cluster.Threshold{Before: time.Duration(n) * 24 * time.Hour} }
	where := func(text string) cluster.Query {
		c, err := cluster.ParseCriterion(text)
		if err != nil {
			t.Fatal(err)
		}
		return cluster.Query{Where: []cluster.Criterion{c}}
	}
	for name, c := range map[string]struct {
		query cluster.Query
		want  string // certificates and nodes
	}{
		"everything":              {cluster.Query{}, "tomcat@cucmpub tomcat-ECDSA@cucmpub tomcat-ECDSA@cucmsub tomcat-trust@ tomcat-trust@ tomcat-trust@ tomcat-trust@"},
		"a purpose":               {cluster.Query{Certificate: "tomcat"}, "tomcat@cucmpub"},
		"a node":                  {cluster.Query{Node: "cucmsub", Usage: cluster.IdentityUsage}, "tomcat-ECDSA@cucmsub"},
		"requests":                {cluster.Query{Type: cluster.TypeCSROnly}, "tomcat-ECDSA@cucmsub"},
		"soon":                    {cluster.Query{Within: days(30), Usage: cluster.IdentityUsage}, "tomcat-ECDSA@cucmpub"},
		"not so soon":             {cluster.Query{Within: days(19)}, ""},
		"trust":                   {cluster.Query{Usage: cluster.TrustUsage, KeyType: "RSA"}, "tomcat-trust@"},
		"a column":                {where("issued by begins with test issuing"), "tomcat-ECDSA@cucmpub tomcat-trust@"},
		"no expiration":           {where("expiration is empty"), "tomcat-ECDSA@cucmsub"},
		"a date":                  {where("Expiration is exactly 12/10/2026"), "tomcat-ECDSA@cucmpub tomcat-trust@"},
		"the end of a column":     {where("common name ends with root ca"), "tomcat-trust@"},
		"nothing":                 {where("description contains nonsense"), ""},
		"usage":                   {where("usage is exactly identity"), "tomcat@cucmpub tomcat-ECDSA@cucmpub tomcat-ECDSA@cucmsub"},
		"a store by its own name": {cluster.Query{Certificate: "CallManager-trust"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, r := range w.list(c.query) {
				got = append(got, r.Certificate+"@"+r.Node)
			}
			if text := strings.Join(got, " "); text != c.want {
				t.Errorf("got  %s\nwant %s", text, c.want)
			}
		})
	}
	rows := w.list(cluster.Query{Certificate: "tomcat"})
	if rows[0].Twin != string(cluster.TypeCASigned) || !rows[0].TwinWarning || rows[0].FileName() != "tomcat.pem" {
		t.Errorf("%+v", rows[0])
	}
}

func TestParseCriterion(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"common name contains lab": "common name|contains|lab", "Key Type is exactly RSA": "key type|is exactly|RSA", "description is not empty": "description|is not empty|",
		"issued by begins with  Two Words ": "issued by|begins with|Two Words", "name contains x": "", "type": "", "type likes RSA": "", "type contains": "", "type is empty now": "", "": "",
		"type containsRSA": "",
	} {
		c, err := cluster.ParseCriterion(text)
		got := strings.Join([]string{c.Column, c.Operator, c.Text}, "|")
		if err != nil {
			got = ""
		}
		if got != want {
			t.Errorf("%q: %q %v, want %q", text, got, err, want)
		}
	}
}

func TestThresholds(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "d", "-1d", "0%", "100%", "75", "x%", "36501d", "-5h", "1.5d"} {
		if got, err := cluster.ParseThreshold(text); err == nil {
			t.Errorf("%q is %v", text, got)
		}
	}
	from, to := epoch, epoch.AddDate(0, 0, 100)
	for _, c := range []struct {
		text string
		at   time.Time
		due  bool
	}{
		{"30d", epoch.AddDate(0, 0, 70), false},
		{"30d", epoch.AddDate(0, 0, 70).Add(time.Second), true},
		{"75%", epoch.AddDate(0, 0, 75), true},
		{"75%", epoch.AddDate(0, 0, 75).Add(-time.Second), false},
		{"12h", to.Add(-13 * time.Hour), false},
		{"12h", to.Add(-11 * time.Hour), true},
		{"0d", to, false},
		{"0d", to.Add(time.Second), true},
		{"99%", to.AddDate(1, 0, 0), true},
		{"1%", epoch.AddDate(-1, 0, 0), false},
	} {
		th, err := cluster.ParseThreshold(c.text)
		if err != nil || th.Due(from, to, c.at) != c.due || th.String() != strings.TrimSuffix(c.text, "") && c.text != "12h" {
			t.Errorf("%s (%s) at %s: %v, want %v, %v", c.text, th, c.at, th.Due(from, to, c.at), c.due, err)
		}
	}
	long := cluster.Threshold{Percent: 50}
	if long.Due(epoch.AddDate(-200, 0, 0), epoch.AddDate(201, 0, 0), epoch) || !long.Due(epoch.AddDate(-202, 0, 0), epoch.AddDate(201, 0, 0), epoch) {
		t.Error("centuries are counted wrongly")
	}
}

// TestTwoUploadsAtOnce: the second one is told that somebody else was first.
func TestTwoUploadsAtOnce(t *testing.T) {
	t.Parallel()
	w := testWorld(t)
	ctx := context.Background()
	p := pki()
	c := w.create(cluster.Fields{Purpose: multiECDSA})
	first, second := p.issuing.sign(t, c.DER, w.clock, nil), p.issuing.sign(t, c.DER, w.clock, nil)
	slow := *w.Service
	slow.Store = interrupted{Store: w.Service.Store, once: new(sync.Once), between: func() {
		w.put(cluster.Upload{Purpose: multiECDSA, File: file(first, p.issuing.x, p.root.x)}, upload.Accepted, "")
	}}
	_, err := slow.Upload(ctx, cluster.Upload{Purpose: multiECDSA, File: file(second, p.issuing.x, p.root.x)})
	if problemCode(err) != cluster.CodeChanged {
		t.Errorf("%v", err)
	}
	if rows := w.list(cluster.Query{Usage: cluster.IdentityUsage}); len(rows) != 1 || rows[0].SHA256 != cluster.NewRecord(first).SHA256 {
		t.Errorf("%+v", rows)
	}
	// A change of something else in between does no harm.
	c = w.create(cluster.Fields{Purpose: multiECDSA})
	third := p.issuing.sign(t, c.DER, w.clock, nil)
	slow.Store = interrupted{Store: w.Service.Store, once: new(sync.Once), between: func() {
		w.put(cluster.Upload{Purpose: "CallManager-trust", File: file(p.root.x)}, upload.Accepted, "")
	}}
	o, err := slow.Upload(ctx, cluster.Upload{Purpose: multiECDSA, File: file(third)})
	if err != nil || o.Verdict != upload.Accepted {
		t.Errorf("%+v %v", o, err)
	}
	// Somebody who never stops.
	slow.Store = busy{w.Service.Store}
	if _, err := slow.CreateRequest(ctx, w.plan(cluster.Fields{Purpose: multiECDSA})); problemCode(err) != cluster.CodeChanged {
		t.Errorf("%v", err)
	}
}

// interrupted lets somebody else come between the first reading and its change.
type interrupted struct {
	cluster.Store
	once    *sync.Once
	between func()
}

func (i interrupted) Apply(ctx context.Context, name string, c *cluster.Change) error {
	i.once.Do(i.between)
	return i.Store.Apply(ctx, name, c)
}

type busy struct{ cluster.Store }

func (busy) Apply(context.Context, string, *cluster.Change) error {
	return fmt.Errorf("apply: %w", cluster.ErrChanged)
}

func TestRequestsOfNodes(t *testing.T) {
	t.Parallel()
	w := testWorld(t)
	ctx := context.Background()
	if _, err := w.Request(ctx, multiECDSA, "", false); problemCode(err) != cluster.CodeNoRequest {
		t.Errorf("%v", err)
	}
	sub := w.create(cluster.Fields{Purpose: multiECDSA, Node: "cucmsub"})
	if q, err := w.Request(ctx, multiECDSA, "", false); err != nil || q.KeyHash != sub.KeyHash {
		t.Errorf("the only one: %v", err)
	}
	multi := w.create(cluster.Fields{Purpose: multiECDSA, Multi: true})
	if q, err := w.Request(ctx, multiECDSA, "", true); err != nil || q.KeyHash != multi.KeyHash {
		t.Errorf("multi-server: %v", err)
	}
	if _, err := w.Request(ctx, multiECDSA, "", false); err == nil {
		t.Error("one of two was picked")
	}
	if q, err := w.Request(ctx, multiECDSA, "cucmsub.lab.example.com", false); err != nil || w.DeleteRequest(ctx, q) != nil {
		t.Error(err)
	}
	if _, err := w.Request(ctx, "Tomcat", "", false); problemCode(err) != cluster.CodePurpose {
		t.Errorf("%v", err)
	}
	w.plan(cluster.Fields{Purpose: "CallManager-ECDSA"}) // keeps nothing
	if all, err := w.Requests(ctx); err != nil || len(all) != 1 {
		t.Errorf("%d %v", len(all), err)
	}
}

// TestKeysStayInTheStore: the files of the database are private, and nothing but them has a key.
func TestKeysStayInTheStore(t *testing.T) {
	t.Parallel()
	w := testWorld(t)
	w.create(cluster.Fields{Purpose: multiECDSA})
	files, err := filepath.Glob(w.path + "*")
	if err != nil || len(files) < 2 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		if strings.HasSuffix(f, ".lock") {
			continue
		}
		fi, err := os.Stat(f)
		if err != nil || fi.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", f, fi.Mode(), err)
		}
	}
}

func TestConsequences(t *testing.T) {
	t.Parallel()
	lab := describe(t)
	plain, err := cluster.Load("testdata/cluster-nonsecure.json")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		on      *cluster.Cluster
		purpose string
		mode    purpose.Mode
		nodes   []string
		want    []string
	}{
		"CallManager, CA-signed, mixed mode": {lab, "CallManager", purpose.CASigned, []string{"cucmpub", "cucmsub"}, []string{
			"cucmpub utils ctl update CTLFile",
			"cucmpub Cisco Trust Verification Service", "cucmsub Cisco Trust Verification Service", "cucmpub Cisco Tftp",
			"cucmpub Cisco CallManager", "cucmsub Cisco CallManager", "cucmpub Cisco CTIManager", "cucmsub Cisco CTIManager",
		}},
		"CallManager, self-signed, non-secure": {plain, "CallManager", purpose.SelfSigned, []string{"cucmpub"}, []string{
			"cucmpub Cisco CallManager", "cucmsub Cisco CallManager", "cucmpub Cisco CTIManager", "cucmsub Cisco CTIManager",
			"cucmpub Cisco Trust Verification Service", "cucmsub Cisco Trust Verification Service", "cucmpub Cisco Tftp", "cucmpub Cisco HAProxy", "cucmsub Cisco HAProxy",
		}},
		"ipsec": {plain, "ipsec", purpose.CASigned, []string{"cucmpub"}, []string{"cucmpub Cisco DRF Master", "cucmpub Cisco DRF Local", "cucmsub Cisco DRF Local", "imp Cisco DRF Local"}},
		"CAPF, mixed mode": {lab, "CAPF", purpose.CASigned, []string{"cucmpub"}, []string{
			"cucmpub utils ctl update CTLFile", "cucmpub Cisco Trust Verification Service", "cucmsub Cisco Trust Verification Service", "cucmpub Cisco Tftp",
			"cucmpub Cisco Certificate Authority Proxy Function",
		}},
		"ITLRecovery, non-secure": {plain, "ITLRecovery", purpose.SelfSigned, []string{"cucmpub"}, []string{
			"cucmpub utils itl reset localkey", "cucmpub Cisco Trust Verification Service", "cucmsub Cisco Trust Verification Service", "cucmpub Cisco Tftp",
		}},
		"tomcat with SSO, self-signed, one node": {lab, "tomcat", purpose.SelfSigned, []string{"imp"}, []string{"imp Cisco Tomcat", "imp Cisco SSOSP Tomcat"}},
		"tomcat, self-signed, without SSO":       {plain, "tomcat", purpose.SelfSigned, []string{"imp"}, []string{"imp Cisco Tomcat"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, _ := purpose.Find(c.purpose)
			var got []string
			for _, s := range c.on.Changed(p, c.mode, c.nodes).Steps {
				what := s.Service
				if what == "" {
					what = s.Command
				}
				got = append(got, s.Node+" "+what)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	// Every condition and follow-up of the table has its words.
	lab.SSO, lab.MixedMode = true, true
	for _, p := range purpose.Identities() {
		for _, m := range []purpose.Mode{purpose.CASigned, purpose.SelfSigned, purpose.Guide14} {
			c := lab.Changed(&p, m, []string{"cucmpub"})
			if len(c.Before) != len(p.Confirm) {
				t.Errorf("%s: %d of %d preconditions have words", p.Name, len(c.Before), len(p.Confirm))
			}
			after := len(p.After)
			if !slices.Contains(p.After, "backup") {
				after++ // is always the last
			}
			if p.PhonesReset && !slices.Contains(p.After, "second-phones-reset") {
				after++
			}
			if len(c.After) != after {
				t.Errorf("%s: %d of %d follow-ups have words", p.Name, len(c.After), after)
			}
		}
	}
}

func TestProblems(t *testing.T) {
	t.Parallel()
	cause := errors.New("cause")
	p := &cluster.Problem{ErrCode: cluster.CodeNode, Detail: "detail", Fix: "fix", Err: cause}
	if p.Error() != "detail: cause" || p.Code() != cluster.CodeNode || p.Remedy() != "fix" || !errors.Is(p, cause) {
		t.Errorf("%v", p)
	}
}
