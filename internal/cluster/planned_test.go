package cluster_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"callsign/internal/cluster"
	"callsign/internal/cluster/purpose"
	"callsign/internal/cluster/upload"
)

// TestWhatWasShown: who was asked about one request or certificate changes no other.
func TestWhatWasShown(t *testing.T) {
	t.Parallel()
	w := testWorld(t)
	ctx := context.Background()
	f := cluster.Fields{Purpose: multiECDSA}
	none := w.plan(f)
	if none.Waiting != nil || none.Template.CommonName != "cucmpub-EC.lab.example.com" {
		t.Fatalf("%+v", none)
	}
	first := w.create(f) // by somebody else, meanwhile
	if _, err := w.CreateRequest(ctx, none); problemCode(err) != cluster.CodeChanged {
		t.Errorf("a request that nobody was shown was replaced: %v", err)
	}
	one := w.plan(f)
	if one.Waiting == nil || one.Waiting.KeyHash != first.KeyHash {
		t.Fatalf("%+v", one)
	}
	second, err := w.CreateRequest(ctx, one)
	if err != nil || second.Replaced == nil || second.Replaced.KeyHash != first.KeyHash {
		t.Fatalf("%+v, %v", second, err)
	}
	if _, err := w.CreateRequest(ctx, one); problemCode(err) != cluster.CodeChanged {
		t.Errorf("the request after the one that was shown was replaced: %v", err)
	}
	if err := w.DeleteRequest(ctx, one.Waiting); problemCode(err) != cluster.CodeChanged {
		t.Errorf("the request after the one that was shown was deleted: %v", err)
	}
	two := w.plan(f)
	if err := w.DeleteRequest(ctx, &second.Request); err != nil {
		t.Error(err)
	}
	if _, err := w.CreateRequest(ctx, two); problemCode(err) != cluster.CodeChanged {
		t.Errorf("a request that was deleted meanwhile was replaced: %v", err)
	}
	if err := w.CheckKeys(ctx); err != nil {
		t.Error(err)
	}
}

// TestPlanSubject: what settings would change is said before they do, and holds until then.
func TestPlanSubject(t *testing.T) {
	t.Parallel()
	w := testWorld(t)
	ctx := context.Background()
	lab := cluster.Subject{Organization: "Example Voice Lab"}
	bare, err := w.PlanSubject(ctx, lab)
	if err != nil || bare.InService != nil || bare.Regenerates != nil || bare.After.Node != "cucmpub" || bare.Before.Organization != "" {
		t.Fatalf("%+v, %v", bare, err)
	}
	w.regen(cluster.Fields{Purpose: "tomcat", Key: cluster.KeySpec{Bits: 1024}})
	if _, err := w.SetSubject(ctx, bare); problemCode(err) != cluster.CodeChanged {
		t.Errorf("the certificate came after the plan: %v", err)
	}
	w.create(cluster.Fields{Purpose: multiECDSA, Node: "cucmsub"})
	w.create(cluster.Fields{Purpose: multiECDSA, Multi: true})
	plan, err := w.PlanSubject(ctx, lab)
	if err != nil || plan.Regenerates == nil || plan.InService == nil || len(plan.Waiting) != 1 || plan.Waiting[0].Node != cluster.AllNodes {
		t.Fatalf("%+v, %v", plan, err)
	}
	if _, set, err := w.Subject(ctx, ""); set || err != nil {
		t.Errorf("a plan set it: %v", err)
	}
	made, err := w.SetSubject(ctx, plan)
	if err != nil || made == nil || made.SHA256 == plan.InService.SHA256 {
		t.Fatalf("%+v, %v", made, err)
	}
	if _, err := w.SetSubject(ctx, plan); problemCode(err) != cluster.CodeChanged {
		t.Errorf("the certificate of the plan is not in service any more: %v", err)
	}
	// A CA-signed one stays, and so do settings that somebody else has changed.
	p := pki()
	w.put(cluster.Upload{Purpose: "tomcat-trust", File: file(p.root.x, p.issuing.x)}, upload.Accepted, "")
	q, err := w.CreateRequest(ctx, w.plan(cluster.Fields{Purpose: "tomcat", Key: cluster.KeySpec{Bits: 1024}}))
	if err != nil {
		t.Fatal(err)
	}
	w.put(cluster.Upload{Purpose: "tomcat", File: file(p.issuing.sign(t, q.DER, w.clock, nil))}, upload.Accepted, "")
	stays, err := w.PlanSubject(ctx, cluster.Subject{Organization: "Other"})
	if err != nil || stays.Regenerates != nil || stays.InService == nil || stays.InService.SelfSigned || stays.Before.Organization != lab.Organization {
		t.Fatalf("%+v, %v", stays, err)
	}
	if made, err := w.SetSubject(ctx, stays); made != nil || err != nil {
		t.Errorf("%+v, %v", made, err)
	}
	if _, err := w.SetSubject(ctx, stays); problemCode(err) != cluster.CodeChanged {
		t.Errorf("settings of another command were replaced: %v", err)
	}
}

// TestSerialsInDecimal: serial numbers are found as OpenSSL and Windows write them.
func TestSerialsInDecimal(t *testing.T) {
	t.Parallel()
	w := testWorld(t)
	ctx := context.Background()
	p := pki()
	w.put(cluster.Upload{Purpose: "tomcat-trust", File: file(p.root.x)}, upload.Accepted, "")
	serial := cluster.NewRecord(p.root.x).Serial
	for _, name := range []string{p.root.x.SerialNumber.String(), "0x" + serial, "00" + serial} {
		if found, err := w.TrustNamed(ctx, "", name); err != nil || len(found) != 1 {
			t.Errorf("%q: %d %v", name, len(found), err)
		}
	}
}

// TestCopyOfAll: the copy of a multi-server certificate belongs to no node, and renewed roots do not depend on each other.
func TestCopyOfAll(t *testing.T) {
	t.Parallel()
	w := testWorld(t)
	w.Policy.SameName = upload.ByKeyID
	ctx := context.Background()
	w.regen(cluster.Fields{Purpose: multiECDSA, Multi: true})
	found, err := w.Dependents(ctx, "tomcat-trust", "cucmpub-EC-ms.lab.example.com")
	if err != nil || len(found) != 1 || found[0].CopyOf != "tomcat-ECDSA (multi-server)" || len(found[0].Issued) != 0 {
		t.Errorf("%+v, %v", found, err)
	}
	for _, root := range trustFamilies(t)["Family A"][:2] {
		w.put(cluster.Upload{Purpose: "Phone-trust", File: file(root)}, upload.Accepted, "")
	}
	all, err := w.Dependents(ctx, "", "Family A")
	if err != nil || len(all) != 2 || all[0].Used() || all[1].Used() {
		t.Errorf("%+v, %v", all, err)
	}
}

func TestCheckStore(t *testing.T) {
	t.Parallel()
	for _, s := range purpose.StoreNames() {
		if err := cluster.CheckStore(s); err != nil {
			t.Error(err)
		}
	}
	for name, fix := range map[string]string{
		"tomcat": "the trust store of tomcat is tomcat-trust", "Tomcat-trust": "write tomcat-trust: case counts",
		"tomct-trust": "did you mean tomcat-trust? Otherwise use one of tomcat-trust, ", "": "use one of tomcat-trust, ",
	} {
		err := cluster.CheckStore(name)
		if problemCode(err) != cluster.CodePurpose || !hasFix(err, fix) {
			t.Errorf("%q: %+v", name, err)
		}
	}
}

func hasFix(err error, beginning string) bool {
	p, ok := errors.AsType[*cluster.Problem](err)
	return ok && strings.HasPrefix(p.Remedy(), beginning)
}
