package cmc

import (
	"crypto/rand"
	"crypto/x509"
	"math/big"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// respond signs a response as the RA of the vectors.
func respond(t testing.TB, r *Response) []byte {
	t.Helper()
	msg, err := r.Sign(clock(), rand.Reader, loadKey(t, "ra-responder"), []*x509.Certificate{loadCert(t, "ra-responder")})
	if err != nil {
		t.Fatal(err)
	}
	return msg
}

// issued returns a successful response to req/vouched-rsa2048.der.
func issued(t testing.TB) *Response {
	t.Helper()
	r := vouched(t)
	return &Response{
		FailInfo: NoFailInfo, BodyList: []uint32{1}, TransactionID: r.TransactionID, RecipientNonce: r.SenderNonce,
		Certificates: []*x509.Certificate{loadCert(t, "phone-rsa2048")},
	}
}

func TestResponseChecks(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		r      func(*Response)
		w      func(*Wanted)
		code   string
		status Status
	}{
		{name: "issued"},
		{name: "responder of another CA", w: func(w *Wanted) { w.Anchors = pool(t, "anchor-other") }, code: CodeSignerUntrusted},
		{name: "no anchors", w: func(w *Wanted) { w.Anchors = nil }, code: CodeSignerUntrusted},
		{name: "responder expired", w: func(w *Wanted) { w.Now = clock().AddDate(10, 0, 0) }, code: CodeSignerExpired},
		{name: "certificate of another CA", w: func(w *Wanted) { w.Issuers = pool(t, "anchor-other") }, code: CodeCertificateInvalid},
		{name: "issuers left to the caller", w: func(w *Wanted) { w.Issuers = nil }},
		{name: "no nonce in success", r: func(r *Response) { r.RecipientNonce, r.TransactionID = nil, nil }, code: CodeNonceMismatch},
		{name: "no transaction in success", r: func(r *Response) { r.TransactionID = nil }, code: CodeTransactionMismatch},
		{name: "another transaction", r: func(r *Response) { r.TransactionID = big.NewInt(1) }, code: CodeTransactionMismatch},
		{name: "refusal with another nonce", r: func(r *Response) {
			r.Status, r.FailInfo, r.RecipientNonce = StatusFailed, BadRequest, make([]byte, 16)
		}, code: CodeNonceMismatch},
		{name: "refusal with a transaction and no nonce", r: func(r *Response) {
			r.Status, r.FailInfo, r.RecipientNonce = StatusFailed, BadRequest, nil
		}, code: CodeNonceMismatch},
		{name: "refusal", r: func(r *Response) { r.Status, r.FailInfo = StatusFailed, BadRequest }, status: StatusFailed},
		{name: "pending without nonces", r: func(r *Response) {
			r.Status, r.Pending = StatusPending, &PendInfo{Token: []byte("t"), Time: clock()}
			r.RecipientNonce, r.TransactionID = nil, nil
		}, code: CodeNonceMismatch},
		{name: "another key is wanted", w: func(w *Wanted) { w.PublicKey = load(t, "keys/phone-p256.pub.der") }, code: CodeNoCertificate},
		{name: "only the CA in the bag", r: func(r *Response) {
			r.Certificates = []*x509.Certificate{loadCert(t, "anchor-enterprise")}
		}, code: CodeNoCertificate},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r, w := issued(t), wanted(t)
			if c.r != nil {
				c.r(r)
			}
			if c.w != nil {
				c.w(&w)
			}
			got, err := VerifyResponse(respond(t, r), w)
			if code(err) != c.code || err == nil && got.Status != c.status {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestRequestIsNoResponse does not take a request for an answer.
func TestRequestIsNoResponse(t *testing.T) {
	t.Parallel()
	if _, err := VerifyResponse(load(t, "req/vouched-rsa2048.der"), wanted(t)); code(err) != CodeNotPKIResponse {
		t.Errorf("got %v", err)
	}
	v, _ := newVerifier(t)
	if _, p := judge(v, load(t, "resp/success.der")); p == nil || p.Code() != CodeNotPKIData {
		t.Errorf("got %v", p)
	}
}

func TestResponseContradictions(t *testing.T) {
	t.Parallel()
	key, chain := loadKey(t, "ra-responder"), []*x509.Certificate{loadCert(t, "ra-responder")}
	for name, change := range map[string]func(*Response){
		"success with a reason":       func(r *Response) { r.FailInfo = BadRequest },
		"failed without a reason":     func(r *Response) { r.Status = StatusFailed },
		"noSupport with a reason":     func(r *Response) { r.Status, r.FailInfo = StatusNoSupport, BadRequest },
		"pending without pendInfo":    func(r *Response) { r.Status = StatusPending },
		"success with pendInfo":       func(r *Response) { r.Pending = &PendInfo{} },
		"success without certificate": func(r *Response) { r.Certificates = nil },
	} {
		r := issued(t)
		change(r)
		if _, err := r.Sign(clock(), rand.Reader, key, chain); code(err) != CodeUnusable {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestStatusControls reads status controls as others may write them.
func TestStatusControls(t *testing.T) {
	t.Parallel()
	ext := &ExtendedFailInfo{Type: OIDData, Value: []byte{tagNull, 0}}
	for _, c := range []struct {
		name, der string
		want      StatusInfo
		bad       bool
	}{
		{name: "success", der: "30080201003003020101", want: StatusInfo{FailInfo: NoFailInfo, BodyList: []uint32{1}}},
		{name: "path", der: "300d020100300830060201070201" + "09", want: StatusInfo{FailInfo: NoFailInfo, BodyList: []uint32{9}}},
		{name: "text and reason", der: "300f02010230030201000c026e6f02010c", want: StatusInfo{
			Status: StatusFailed, FailInfo: TryLater, BodyList: []uint32{0}, Text: "no",
		}},
		{name: "pending", der: "301e02010330030201013014" + "0401741" + "80f32303236313132303132313030305a", want: StatusInfo{
			Status: StatusPending, FailInfo: NoFailInfo, BodyList: []uint32{1},
			Pending: &PendInfo{Token: []byte("t"), Time: clock().Add(10 * time.Minute)},
		}},
		{name: "extended as in the module", der: "30170201023003020101a10d06092a864886f70d0107010500", want: StatusInfo{
			Status: StatusFailed, FailInfo: NoFailInfo, BodyList: []uint32{1}, Extended: ext,
		}},
		{name: "extended as in the text", der: "30170201023003020101300d06092a864886f70d0107010500", want: StatusInfo{
			Status: StatusFailed, FailInfo: NoFailInfo, BodyList: []uint32{1}, Extended: ext,
		}},
		{name: "no SEQUENCE", der: "0500", bad: true},
		{name: "negative reason", der: "300b02010230030201000201ff", bad: true},
		{name: "empty path", der: "300702010030023000", bad: true},
		{name: "text that is no UTF-8", der: "300b02010030030201000c01ff", bad: true},
		{name: "something after", der: "300d020102300302010002010c0500", bad: true},
		{name: "unknown tag", der: "300a02010230030201000500", bad: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			control := Control{Type: OIDStatusInfoV2, Values: [][]byte{unhex(t, c.der)}}
			got, err := control.status()
			if (err != nil) != c.bad {
				t.Fatalf("got %+v, %v", got, err)
			}
			if diff := cmp.Diff(c.want, got); !c.bad && diff != "" {
				t.Errorf("status (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWorstStatus(t *testing.T) {
	t.Parallel()
	of := func(s ...Status) []StatusInfo {
		var all []StatusInfo
		for i, s := range s {
			all = append(all, StatusInfo{Status: s, BodyList: []uint32{uint32(i)}, FailInfo: NoFailInfo})
		}
		return all
	}
	for _, c := range []struct {
		name     string
		statuses []StatusInfo
		want     Status
		at       uint32
		code     string
	}{
		{"failed beats success", of(StatusSuccess, StatusFailed, StatusFailed), StatusFailed, 1, CodeRefused},
		{"pending beats success", of(StatusSuccess, StatusPending), StatusPending, 1, ""},
		{"unknown beats failed", of(StatusFailed, Status(9)), Status(9), 1, CodeUnsupportedStatus},
		{"popRequired", of(StatusPOPRequired), StatusPOPRequired, 0, CodeUnsupportedStatus},
		{"partial", of(StatusPartial, StatusSuccess), StatusPartial, 0, CodeUnsupportedStatus},
	} {
		r := Response{Statuses: c.statuses}
		r.summarize()
		if r.Status != c.want || r.BodyList[0] != c.at || code(r.Err()) != c.code {
			t.Errorf("%s: %v of %v, %v", c.name, r.Status, r.BodyList, r.Err())
		}
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	for got, want := range map[string]string{
		StatusNoSupport.String(): "noSupport(4)", Status(1).String(): "unknown(1)", AuthDataFail.String(): "authDataFail(13)",
		FailInfo(1000).String(): "unknown(1000)", NoFailInfo.String(): "", RFC.String(): "rfc", Microsoft.String(): "microsoft",
		Signed.String(): "signed", Form(0).String(): "unknown", Supplied.String(): "supplied", AgentOnly.String(): "agent-only",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
