package ra_test

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"testing"
	"time"

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
