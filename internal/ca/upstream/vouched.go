package upstream

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"
	"time"

	"callsign/cmc"
	"callsign/est"
	"callsign/internal/ca"
)

// mark is what the journal keeps of a message: enough to send it again and to judge its answer.
type mark struct {
	Version     int       `json:"v"`           // 1
	Transaction string    `json:"transaction"` // hex
	Nonce       []byte    `json:"nonce"`       // senderNonce
	Message     []byte    `json:"message"`     // DER, byte for byte what was or will be sent
	Made        time.Time `json:"made"`
	Voucher     string    `json:"voucher"` // SHA-256 of the signing certificate, hex
}

func readMark(b []byte) (mark, *big.Int, bool) {
	var m mark
	if len(b) == 0 || json.Unmarshal(b, &m) != nil || m.Version != 1 || len(m.Nonce) == 0 || len(m.Message) == 0 {
		return mark{}, nil, false
	}
	id, ok := new(big.Int).SetString(m.Transaction, 16)
	return m, id, ok
}

// vouched sends a bare key in a CMC request that our voucher signs.
func (a *Authority) vouched(ctx context.Context, r ca.Request, l ca.Ledger) (ca.Outcome, error) {
	if a.c.Voucher == nil {
		return ca.Outcome{}, &ca.Error{
			ErrCode: CodeNoVoucher, Final: true, Detail: "the key is bare and no voucher certificate is configured",
			Fix: "set capf.ra_certificate_file and capf.ra_key_file to a certificate (purpose id-kp-cmcRA) that stands in the RA's ra.vouchers",
		}
	}
	if r.Vouch == "" {
		return ca.Outcome{}, &ca.Error{
			ErrCode: CodeMessage, Final: true, Detail: "the key is bare and nobody authenticated its owner",
			Fix: "this is a fault of the caller; report it with the request id",
		}
	}
	// Asked first: without the CA certificates the answer could not be believed.
	if _, err := a.issuers(ctx, false); err != nil {
		return ca.Outcome{}, err
	}
	m, id, ok := readMark(l.Progress().Mark)
	made := false
	for {
		if !ok {
			var err error
			if m, id, err = a.compose(ctx, r, l); err != nil {
				return ca.Outcome{}, err
			}
			made = true
		}
		out, err := a.exchange(ctx, r, l, m, id)
		if err == nil || made || !a.outdated(err, m) {
			return out, err
		}
		a.log.InfoContext(ctx, "stored message is out of date, a new one is made", slog.String("op", "fullcmc"),
			slog.String("request_id", r.ID), slog.String("err", err.Error()))
		ok = false
	}
}

// outdated tells whether a fresh message of the same transaction can get another answer: the RA saw the stored one for the
// first time and too late, or it was signed by a voucher certificate that has been replaced since.
func (a *Authority) outdated(err error, m mark) bool {
	var e *ca.Error
	if !errors.As(err, &e) {
		return false
	}
	return e.ErrCode == CodeClock || e.ErrCode == CodeRefused && e.Final && m.Voucher != a.voucher()
}

func (a *Authority) voucher() string {
	sum := sha256.Sum256(a.c.VoucherChain[0].Raw)
	return hex.EncodeToString(sum[:])
}

// compose makes the message and records it.
func (a *Authority) compose(ctx context.Context, r ca.Request, l ca.Ledger) (mark, *big.Int, error) {
	bad := func(err error) error {
		return &ca.Error{
			ErrCode: CodeMessage, Final: true, Detail: "the vouched request could not be made", Err: err,
			Fix: "check certificate and key in capf.ra_certificate_file and capf.ra_key_file: callsign check",
		}
	}
	id, ok := new(big.Int).SetString(r.ID, 16)
	if !ok {
		return mark{}, nil, bad(fmt.Errorf("request id %q is not hexadecimal", r.ID))
	}
	csr, err := cmc.NullSignedRaw(r.PublicKey, r.Subject, r.Extensions, cmc.RFC)
	if err != nil {
		return mark{}, nil, bad(err)
	}
	req := cmc.Request{TransactionID: id, CSR: csr, Witnessed: true, RegInfo: regInfo(r)}
	now := a.c.Now()
	der, err := req.Sign(now, a.c.Random, a.c.Voucher, a.c.VoucherChain)
	if err != nil {
		return mark{}, nil, bad(err)
	}
	m := mark{Version: 1, Transaction: id.Text(16), Nonce: req.SenderNonce, Message: der, Made: now.UTC(), Voucher: a.voucher()}
	b, err := json.Marshal(m)
	if err != nil {
		return mark{}, nil, bad(err)
	}
	p := l.Progress()
	p.Submitted, p.Mark = true, b
	if err := l.Record(ctx, p); err != nil {
		return mark{}, nil, err
	}
	return m, id, nil
}

// exchange sends a message and judges the answer. The RA's refusal is an outcome when it is final, except where a new
// message may help: then it is an error for outdated to look at.
func (a *Authority) exchange(ctx context.Context, r ca.Request, l ca.Ledger, m mark, id *big.Int) (ca.Outcome, error) {
	answer, err := a.c.Client.FullCMC(ctx, m.Message)
	if err != nil {
		return ca.Outcome{}, failure(err)
	}
	if answer.Kind == est.ContentNone {
		if answer.Status == http.StatusAccepted {
			return ca.Outcome{Status: ca.Pending, RetryAfter: answer.RetryAfter}, nil
		}
		return ca.Outcome{}, untrusted(fmt.Errorf("status %d without a CMC message", answer.Status))
	}
	resp, chain, err := a.judge(ctx, r, m, id, answer)
	if err != nil {
		return ca.Outcome{}, err
	}
	if err := resp.Err(); err != nil {
		e := refusalOf(resp, err)
		if e.After == 0 {
			e.After = answer.RetryAfter
		}
		e.Timeout = answer.Status == http.StatusGatewayTimeout
		if e.ErrCode == CodeClock {
			e.Detail = clockDetail(m.Made, a.c.Now())
		}
		if e.Final && m.Voucher == a.voucher() {
			return ca.Outcome{Status: ca.Denied, Denial: e}, nil
		}
		return ca.Outcome{}, e
	}
	if err := a.keepNumber(ctx, l, requestID(resp.Text)); err != nil {
		return ca.Outcome{}, err
	}
	if resp.Status == cmc.StatusPending {
		out := ca.Outcome{Status: ca.Pending, RetryAfter: answer.RetryAfter, RequestID: requestID(resp.Text)}
		if resp.Pending != nil {
			out.RetryAfter = max(out.RetryAfter, resp.Pending.Time.Sub(a.c.Now()))
		}
		return out, nil
	}
	out := issued(resp.Certificate, chain, ca.POPVouched)
	out.RequestID = requestID(resp.Text)
	return out, nil
}

// keepNumber records the CA's number for people who compare the two journals.
func (a *Authority) keepNumber(ctx context.Context, l ca.Ledger, number string) error {
	p := l.Progress()
	if number == "" || p.RequestID == number {
		return nil
	}
	p.RequestID = number
	return l.Record(ctx, p)
}

// judge verifies the answer, with fresh CA certificates when the known ones do not fit.
func (a *Authority) judge(ctx context.Context, r ca.Request, m mark, id *big.Int, answer *est.CMCAnswer) (*cmc.Response, []*x509.Certificate, error) {
	var last error
	for _, fresh := range []bool{false, true} {
		chain, err := a.issuers(ctx, fresh)
		if err != nil {
			return nil, nil, err
		}
		pool := x509.NewCertPool()
		for _, c := range chain {
			pool.AddCert(c)
		}
		resp, err := cmc.VerifyResponse(answer.Body, cmc.Wanted{
			TransactionID: id, SenderNonce: m.Nonce, PublicKey: r.PublicKey, Anchors: a.responders, Issuers: pool, Now: a.c.Now(),
		})
		if err == nil {
			return resp, chain, nil
		}
		var p *cmc.Problem
		if last = untrusted(err); !errors.As(err, &p) || p.ErrCode != cmc.CodeCertificateInvalid {
			break
		}
		last = badCertificate(err)
	}
	return nil, nil, last
}

func untrusted(err error) *ca.Error {
	e := &ca.Error{
		ErrCode: CodeAnswer, Detail: "the RA's answer cannot be believed", Err: err,
		Fix: "check that the RA's ra.responder_certificate_file chains to capf.ra_responder_ca_file and has the purpose id-kp-cmcRA",
	}
	var p *cmc.Problem
	if errors.As(err, &p) && p.Remedy() != "" {
		e.Fix = p.Remedy()
	}
	return e
}
