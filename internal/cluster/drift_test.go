package cluster_test

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"callsign/internal/cluster"
	"callsign/internal/cluster/purpose"
	"callsign/internal/cluster/upload"
)

// without takes a node out of the description.
func (w *world) without(node string) {
	c := *w.Cluster
	c.Nodes = slices.DeleteFunc(slices.Clone(c.Nodes), func(n cluster.Node) bool { return n.Name == node })
	w.Cluster = &c
}

// stopped takes a service away from a node.
func (w *world) stopped(node, service string) {
	c := *w.Cluster
	c.Nodes = slices.Clone(c.Nodes)
	for i := range c.Nodes {
		if n := &c.Nodes[i]; n.Name == node {
			n.Services = slices.DeleteFunc(slices.Clone(n.Services), func(s string) bool { return s == service })
		}
	}
	w.Cluster = &c
}

// TestRequestOfFormerPlace: the certificate of a request goes nowhere when its node is gone, or does not have the purpose any more.
func TestRequestOfFormerPlace(t *testing.T) {
	t.Parallel()
	p := pki()
	for name, change := range map[string]func(*world){
		"without the node":    func(w *world) { w.without("cucmsub") },
		"without the service": func(w *world) { w.stopped("cucmsub", "Cisco CallManager") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := testWorld(t)
			w.put(cluster.Upload{Purpose: "CallManager-trust", File: file(p.root.x, p.issuing.x)}, upload.Accepted, "")
			q := w.create(cluster.Fields{Purpose: "CallManager-ECDSA", Node: "cucmsub"})
			leaf := p.issuing.sign(t, q.DER, epoch, nil)
			change(w)
			w.put(cluster.Upload{Purpose: "CallManager-ECDSA", File: file(leaf)}, upload.Rejected, upload.BadPurpose)
			// It can be found and taken away.
			node, err := w.NodeOrFormer(t.Context(), "CUCMSUB")
			if err != nil {
				t.Fatal(err)
			}
			found, err := w.Request(t.Context(), "CallManager-ECDSA", node, false)
			if err != nil {
				t.Fatal(err)
			}
			if err := w.DeleteRequest(t.Context(), found); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestOnlyNode: a purpose that the publisher does not have is looked for on the only node that has it.
func TestOnlyNode(t *testing.T) {
	t.Parallel()
	p, w := pki(), testWorld(t)
	w.put(cluster.Upload{Purpose: "cup-trust", Node: "imp", File: file(p.root.x, p.issuing.x)}, upload.Accepted, "")
	q := w.create(cluster.Fields{Purpose: "cup-ECDSA"})
	leaf := p.issuing.sign(t, q.DER, epoch, nil)
	w.put(cluster.Upload{Purpose: "cup-ECDSA", File: file(leaf)}, upload.Accepted, "")
	o := w.put(cluster.Upload{Purpose: "cup-ECDSA", File: file(leaf)}, upload.Rejected, upload.CSRMissing)
	if diff := cmp.Diff([]string{"imp"}, o.Nodes); diff != "" {
		t.Error(diff)
	}
}

// TestChainStaysOnNode: what a file brings along goes to the node of its certificate only, where the store is not replicated, and takes
// nothing away from other nodes.
func TestChainStaysOnNode(t *testing.T) {
	t.Parallel()
	p, w := pki(), testWorld(t)
	f := cluster.Fields{Purpose: "ipsec", Node: "cucmsub"}
	plan := w.plan(f)
	q, err := w.CreateRequest(t.Context(), plan)
	if err != nil {
		t.Fatal(err)
	}
	w.put(cluster.Upload{Purpose: "ipsec", File: file(p.root.x, p.issuing.x, p.issuing.sign(t, q.DER, epoch, nil))}, upload.Accepted, "")
	for node, want := range map[string]int{"cucmsub": 3, "cucmpub": 1} {
		certs, err := w.Export(t.Context(), "ipsec-trust", node)
		if err != nil {
			t.Fatal(err)
		}
		if len(certs) != want {
			t.Errorf("%s has %d certificates, want %d", node, len(certs), want)
		}
	}
}

// TestSameCommonNameInChain: the rule of names counts for what a certificate brings along as well.
func TestSameCommonNameInChain(t *testing.T) {
	t.Parallel()
	p, w := pki(), testWorld(t)
	w.Policy.SameName = upload.ByCommonName
	old, err := newAuthority("Test Issuing CA", nil, epoch.AddDate(-3, 0, 0))
	if err != nil {
		t.Fatal(err)
	}
	other := *old.x
	other.Subject.Organization = []string{"Elsewhere"}
	elsewhere := selfSignedAs(t, &other, old.key)
	w.put(cluster.Upload{Purpose: "tomcat-trust", File: file(elsewhere)}, upload.Accepted, "")
	q := w.create(cluster.Fields{Purpose: "tomcat-ECDSA"})
	o := w.put(cluster.Upload{Purpose: "tomcat-ECDSA", File: file(p.root.x, p.issuing.x, p.issuing.sign(t, q.DER, epoch, nil))}, upload.Accepted, "")
	if len(o.Remove) != 1 {
		t.Errorf("removes %d, want 1", len(o.Remove))
	}
}

// TestFormerMultiServerCopy: the copy of a multi-server certificate goes with the last node that had it.
func TestFormerMultiServerCopy(t *testing.T) {
	t.Parallel()
	w := testWorld(t)
	w.regen(cluster.Fields{Purpose: "tomcat-ECDSA", Multi: true})
	for _, node := range []string{"cucmpub", "cucmsub", "imp"} {
		w.regen(cluster.Fields{Purpose: "tomcat-ECDSA", Node: node})
		want := []string{"cucmpub-EC-ms.lab.example.com", "cucmpub-EC.lab.example.com", "cucmsub-EC.lab.example.com", "imp-EC.lab.example.com"}
		switch node {
		case "cucmpub":
			want = want[:2]
		case "cucmsub":
			want = want[:3]
		default:
			want = want[1:]
		}
		if diff := cmp.Diff(want, w.trustNames("tomcat-trust")); diff != "" {
			t.Error(diff)
		}
	}
}

// TestCertificateOfFormerNode: the copy of a certificate can be deleted when its node is gone, and nobody is told to renew it.
func TestCertificateOfFormerNode(t *testing.T) {
	t.Parallel()
	w := testWorld(t)
	w.regen(cluster.Fields{Purpose: "tomcat-ECDSA", Node: "cucmsub"})
	w.regen(cluster.Fields{Purpose: "tomcat-ECDSA", Node: "cucmpub"})
	w.without("cucmsub")
	if _, err := w.DeleteTrust(t.Context(), "tomcat-trust", "", "cucmpub-EC.lab.example.com", false, false); problemCode(err) != cluster.CodeOwn {
		t.Errorf("%v, want %s", err, cluster.CodeOwn)
	}
	if _, err := w.DeleteTrust(t.Context(), "tomcat-trust", "", "cucmsub-EC.lab.example.com", false, false); err != nil {
		t.Error(err)
	}
	rows, err := w.List(t.Context(), cluster.Query{Usage: cluster.IdentityUsage})
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != 1 || rows[0].Node != "cucmpub" {
		t.Errorf("%+v", rows)
	}
}

// TestTwoResets: phones are reset twice when ITLRecovery changes, between the commands and after the restarts, and the cluster does
// neither by itself.
func TestTwoResets(t *testing.T) {
	t.Parallel()
	p, _ := purpose.Find("ITLRecovery")
	c := describe(t)
	for _, interaction := range []string{"automatic", "manual"} {
		c.PhoneInteraction = interaction
		out := c.Changed(p, purpose.SelfSigned, []string{"cucmpub"})
		resets := 0
		for _, text := range out.After {
			if strings.Contains(text, "reset") && strings.Contains(text, "phones") {
				resets++
			}
		}
		if resets != 1 || !strings.Contains(out.Steps[0].Note, "reset all phones") {
			t.Errorf("%s: %q, %q", interaction, out.Steps[0].Note, out.After)
		}
	}
}

// TestManyNamesakes: the path of a certificate is found in a store with more CAs of one name than anybody should have.
func TestManyNamesakes(t *testing.T) {
	t.Parallel()
	p, w := pki(), testWorld(t)
	w.Policy.SameName = upload.ByKeyID
	template := *p.issuing.x
	template.AuthorityKeyId = nil
	c := &cluster.Change{}
	for i := range 1100 {
		template.SubjectKeyId = []byte{1, byte(i), byte(i >> 8)}
		x := selfSignedAs(t, &template, p.issuing.key)
		c.AddTrust = append(c.AddTrust, cluster.Trust{Store: "tomcat-trust", DER: x.Raw, Record: cluster.NewRecord(x), Origin: cluster.Uploaded})
	}
	if err := w.Service.Store.Apply(t.Context(), w.Cluster.Name, c); err != nil {
		t.Fatal(err)
	}
	q := w.create(cluster.Fields{Purpose: "tomcat-ECDSA"})
	leaf := p.issuing.sign(t, q.DER, epoch, nil)
	w.put(cluster.Upload{Purpose: "tomcat-trust", File: file(p.root.x, p.issuing.x)}, upload.Accepted, "")
	w.put(cluster.Upload{Purpose: "tomcat-ECDSA", File: file(leaf)}, upload.Accepted, "")
	all, err := w.Dependents(t.Context(), "tomcat-trust", "Test Issuing CA")
	if err != nil || len(all) != 1101 {
		t.Errorf("%d, %v", len(all), err)
	}
	breaks := 0
	for i := range all {
		breaks += len(all[i].Breaks)
	}
	if breaks != 1 {
		t.Errorf("%d of them break the certificate, want 1", breaks)
	}
}

// TestPublisherOnly: a store that is changed on the publisher only cannot be changed on others.
func TestPublisherOnly(t *testing.T) {
	t.Parallel()
	p, w := pki(), testWorld(t)
	const store = "Phone-Edge-trust"
	w.put(cluster.Upload{Purpose: store, Node: "cucmsub", File: file(p.root.x)}, upload.Rejected, upload.BadPurpose)
	w.put(cluster.Upload{Purpose: store, File: file(p.root.x)}, upload.Accepted, "")
	if _, err := w.DeleteTrust(t.Context(), store, "cucmsub", "Test Root CA", false, false); problemCode(err) != cluster.CodeNotHere {
		t.Errorf("%v, want %s", err, cluster.CodeNotHere)
	}
	if _, err := w.DeleteTrust(t.Context(), store, "cucmpub", "Test Root CA", false, false); err != nil {
		t.Error(err)
	}
}

// TestUnreadableTrust: a certificate that does not parse any more, after an update of the parser say, is in nobody's way.
func TestUnreadableTrust(t *testing.T) {
	t.Parallel()
	p, w := pki(), testWorld(t)
	broken := cluster.Trust{Store: "tomcat-trust", DER: []byte("no certificate"), Record: cluster.NewRecord(p.issuing.x), Origin: cluster.Uploaded}
	sum := sha256.Sum256(broken.DER)
	broken.SHA256 = hex.EncodeToString(sum[:])
	if err := w.Service.Store.Apply(t.Context(), w.Cluster.Name, &cluster.Change{AddTrust: []cluster.Trust{broken}}); err != nil {
		t.Fatal(err)
	}
	w.put(cluster.Upload{Purpose: "tomcat-trust", File: file(p.root.x, p.issuing.x)}, upload.Accepted, "")
	q := w.create(cluster.Fields{Purpose: "tomcat-ECDSA"})
	w.put(cluster.Upload{Purpose: "tomcat-ECDSA", File: file(p.issuing.sign(t, q.DER, epoch, nil))}, upload.Accepted, "")
	if _, err := w.DeleteTrust(t.Context(), "tomcat-trust", "", broken.SHA256, false, false); err != nil {
		t.Error(err)
	}
}
