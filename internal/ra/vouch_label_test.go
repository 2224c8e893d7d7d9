package ra_test

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"testing"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"callsign/cmc"
	"callsign/est"
	"callsign/internal/ca"
	"callsign/internal/enroll"
	"callsign/internal/ra"
)

// vouch sends a vouched request for a fresh key to a label.
func (w *world) vouch(label string, id int64) (est.CMCReply, *cmc.Response) {
	w.t.Helper()
	csr, err := cmc.NullSigned(newSPKI(w.t), pkix.Name{CommonName: "SEP001122334455"}, nil, cmc.RFC)
	check(w.t, err)
	return w.fullCMC(label, cmc.Request{TransactionID: big.NewInt(id), CSR: csr, Witnessed: true})
}

func (w *world) fullCMC(label string, req cmc.Request) (est.CMCReply, *cmc.Response) {
	w.t.Helper()
	der, err := req.Sign(time.Now(), rand.Reader, w.voucher.Signer, []*x509.Certificate{w.voucher.Certificate})
	check(w.t, err)
	r := w.ra.FullCMC(w.t.Context(), est.CMCRequest{Body: der, Label: label})
	resp, err := cmc.ParseResponse(r.Body)
	check(w.t, err)
	return r, resp
}

// TestVouchedUnderALabel: a label's authority, rate and approval hold for vouched requests; its rules for others do not.
func TestVouchedUnderALabel(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *ra.Config) {
		c.Labels[1].Rules = ra.Rules{Subject: "printer-.*"}
		c.Labels[1].Clients = []string{"nobody"}
		c.Labels[1].Authentication = ra.AuthPassword
		c.Labels[1].Rate = enroll.Rate{Count: 1, Per: time.Hour}
	}).ready()
	r, resp := w.vouch("floor2", 1)
	if r.Status != 200 || resp.Status != cmc.StatusSuccess {
		t.Fatalf("%d %s", r.Status, r.Code)
	}
	if seen := w.ca.seen[0]; seen.Label != "floor2" || seen.Owner != "est:floor2/voucher:CN=capf-ra" || !ca.ByEST(seen.Owner) {
		t.Errorf("request to the CA: %+v", seen)
	}
	r, resp = w.vouch("floor2", 2)
	if r.Status != 429 || r.Code != ra.CodeRate || r.RetryAfter <= 0 || resp.FailInfo != cmc.TryLater {
		t.Errorf("%d %s, %v", r.Status, r.Code, resp.FailInfo)
	}
	// Another label has a rate of its own.
	if r, _ := w.vouch("", 3); r.Status != 200 {
		t.Errorf("%d %s", r.Status, r.Code)
	}
}

// TestVouchedAndHeld: a request that an administrator has to approve is pending in CMC's words, and a query gets the certificate
// afterwards; a denial is a refusal with the note.
func TestVouchedAndHeld(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *ra.Config) { c.Labels[0].Approval = true }).ready()
	for id, approve := range map[int64]bool{1: true, 2: false} {
		r, resp := w.vouch("", id)
		if r.Status != 202 || r.RetryAfter != ra.DefaultPendingRetry || resp.Status != cmc.StatusPending || resp.Pending == nil {
			t.Fatalf("%d %s, %v", r.Status, r.Code, resp)
		}
		token := resp.Pending.Token
		before, _ := w.ca.counts()
		var err error
		if approve {
			_, err = w.engine.Approve(t.Context(), string(token), enroll.Decision{By: "root"})
		} else {
			_, err = w.engine.Deny(t.Context(), string(token), enroll.Decision{By: "root", Note: "not ours"})
		}
		check(t, err)
		r, resp = w.fullCMC("", cmc.Request{TransactionID: big.NewInt(id), PendToken: token})
		if approve && (r.Status != 200 || issuedIn(resp) == nil) {
			t.Errorf("approved: %d %s, %v", r.Status, r.Code, resp)
		}
		if !approve && (r.Status != 403 || resp.Status != cmc.StatusFailed) {
			t.Errorf("denied: %d %s, %v", r.Status, r.Code, resp)
		}
		after, _ := w.ca.counts()
		if approve != (after > before) {
			t.Errorf("approved %v, and the CA was asked %d times", approve, after-before)
		}
		if !approve {
			mustContain(t, resp.Text, "not ours")
		}
	}
}

// TestVouchedLink: a wrong link in the inner PKCS#10 is popFailed where the label compares links, and nothing where it does not; a
// voucher need not send one.
func TestVouchedLink(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *ra.Config) {
		c.Labels[1].EST.Link = est.LinkRequired
		c.Labels = append(c.Labels, c.Labels[1])
		c.Labels[2].Name, c.Labels[2].EST.Link = "optional", est.LinkOptional
	}).ready()
	linked := func(label string, id int64) (est.CMCReply, *cmc.Response) {
		k := newKey(t)
		csr := newCSRWithChallenge(t, k, "SEP001122334455", "MTIzNDU2Nzg5MDEy")
		return w.fullCMC(label, cmc.Request{TransactionID: big.NewInt(id), CSR: csr})
	}
	for id, label := range []string{"floor2", "optional"} {
		r, resp := linked(label, int64(id+1))
		if r.Status != 400 || r.Code != cmc.CodePOPFailed || resp.FailInfo != cmc.POPFailed {
			t.Errorf("%s: %d %s, %v", label, r.Status, r.Code, resp.FailInfo)
		}
		if r, _ := w.vouch(label, int64(id+10)); r.Status != 200 {
			t.Errorf("%s, no link: %d %s", label, r.Status, r.Code)
		}
	}
	mustContain(t, w.log.String(), "[label.floor2] link")
	if r, _ := linked("", 20); r.Status != 200 {
		t.Errorf("links are not compared: %d %s", r.Status, r.Code)
	}
}

// newCSRWithChallenge is a signed request with a challengePassword.
func newCSRWithChallenge(t *testing.T, k crypto.Signer, cn, challenge string) []byte {
	t.Helper()
	csr, err := x509.ParseCertificateRequest(newCSR(t, k, cn))
	check(t, err)
	var info cryptobyte.Builder
	info.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1Int64(0)
		b.AddBytes(csr.RawSubject)
		b.AddBytes(csr.RawSubjectPublicKeyInfo)
		b.AddASN1(cbasn1.Tag(0).ContextSpecific().Constructed(), func(b *cryptobyte.Builder) {
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1ObjectIdentifier(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 7})
				b.AddASN1(cbasn1.SET, func(b *cryptobyte.Builder) {
					b.AddASN1(cbasn1.PrintableString, func(b *cryptobyte.Builder) { b.AddBytes([]byte(challenge)) })
				})
			})
		})
	})
	signed := info.BytesOrPanic()
	sum := sha256.Sum256(signed)
	signature, err := k.Sign(rand.Reader, sum[:], crypto.SHA256)
	check(t, err)
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddBytes(signed)
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1ObjectIdentifier(asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2})
		})
		b.AddASN1BitString(signature)
	})
	return b.BytesOrPanic()
}
