package capf

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// install gives the phone a certificate: one that waits for it, or a new one.
func (x *exchange) install(ctx context.Context) error {
	if len(x.task.Offer) > 0 {
		r, err := x.store(ctx, x.task.Offer)
		if err != nil || r == ReasonUpdateCertificate {
			return err
		}
		// It no longer fits the phone. The Session has put it aside; go on with a new key.
	}
	if len(x.task.Keys) == 0 {
		return problemf(CodeInternalError, "install task without a key")
	}
	spki, arrived, err := x.key(ctx)
	if err != nil {
		return err
	}
	der, err := x.issue(ctx, spki, arrived)
	if err != nil {
		return err
	}
	r, err := x.store(ctx, der)
	if err != nil {
		return err
	}
	if r != ReasonUpdateCertificate {
		return &PhoneError{Command: StoreCertificateResponse, Reason: r}
	}
	return nil
}

// key asks for the keys of the task in order until the phone makes one. It returns the first as SubjectPublicKeyInfo,
// and when its message arrived.
func (x *exchange) key(ctx context.Context) (spki []byte, arrived time.Time, err error) {
	var last error = problemf(CodeNoUsableKey, "a client of version %d can make none of the keys %v", x.caller.Version, x.task.Keys)
	for _, want := range x.task.Keys {
		if !want.Valid() {
			return nil, arrived, problemf(CodeInternalError, "task with the key %v", want)
		}
		if want.Type == KeyEC && x.caller.Version < 3 {
			continue // such clients know RSA only and fail on element 17
		}
		x.event(ctx, slog.LevelDebug, "asking for a key", "capf.key_requested", slog.String("key", want.String()))
		if err := x.send(KeyGenerateRequest, want.elements(x.caller.Version)...); err != nil {
			return nil, arrived, err
		}
		m, err := x.await(ctx, KeyGenerateResponse, or(x.srv.KeyTimeout, DefaultKeyTimeout))
		if err != nil {
			return nil, arrived, err
		}
		arrived = time.Now()
		value, ok := m.Element(TagPublicKey)
		if r, given := m.Reason(); given && r != ReasonUpdateCertificate {
			last = &PhoneError{Command: m.Command, Reason: r, Info: m.info()}
			x.event(ctx, slog.LevelWarn, "phone makes no such key", "capf.key_declined", slog.String("key", want.String()),
				slog.Int("reason", int(r)))
			continue
		}
		if !ok {
			return nil, arrived, missing(m, TagPublicKey)
		}
		spki, got, err := ParsePublicKey(value)
		if err != nil {
			return nil, arrived, err
		}
		if got != want && !x.task.AcceptOtherKey {
			return nil, arrived, problemf(CodeOtherKey, "asked for the key %v, got %v", want, got)
		}
		x.event(ctx, slog.LevelDebug, "public key received", "capf.key_received", slog.Int("spki_length", len(spki)),
			slog.String("key", got.String()))
		return spki, arrived, nil
	}
	return nil, arrived, last
}

// issue gets the certificate within the time that the phone waits.
func (x *exchange) issue(ctx context.Context, spki []byte, arrived time.Time) ([]byte, error) {
	within := or(x.srv.AnswerWithin, DefaultAnswerWithin)
	if x.task.Progress {
		within = max(within, x.task.AnswerWithin)
	}
	deadline := arrived.Add(within)
	if x.expires.Before(deadline) {
		deadline = x.expires
	}
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	if x.task.Progress {
		stop := x.reassure(ctx)
		defer stop()
	}
	x.event(ctx, slog.LevelDebug, "asking for the certificate", "capf.issue")
	der, err := x.session.Issue(ctx, spki)
	switch {
	case err == nil && len(der) == 0:
		return nil, problemf(CodeInternalError, "service issued an empty certificate")
	case err == nil:
		x.event(ctx, slog.LevelDebug, "certificate issued", "capf.issued", slog.Int("bytes", len(der)))
		return der, nil
	case x.wasCut():
		return nil, fmt.Errorf("%w: %w", ErrServerClosed, err)
	case errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, ErrNotReady):
		return nil, fmt.Errorf("%w: %w", ErrNotReady, err)
	}
	return nil, err
}

// progressEvery is how often a phone is told that the server is at work: clients give up 8 s after a message.
const progressEvery = 3 * time.Second

// reassure sends REQUEST_IN_PROGRESS until stop is called. Nothing else may be sent meanwhile.
func (x *exchange) reassure(ctx context.Context) (stop func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(progressEvery)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			if err := x.send(RequestInProgress); err != nil {
				return // the next message meets the same fault, and then it is told
			}
			x.event(ctx, slog.LevelDebug, "phone told to wait", "capf.in_progress")
		}
	})
	return func() {
		close(done)
		wg.Wait()
	}
}

// store sends a certificate and tells the Session what the phone made of it. An error means that the session cannot go
// on.
func (x *exchange) store(ctx context.Context, der []byte) (Reason, error) {
	value, err := AppendCertificatePackage(nil, CertificateEntry{Type: CertificateLSC, DER: der})
	if err != nil {
		return 0, err
	}
	x.event(ctx, slog.LevelDebug, "sending the certificate", "capf.store", slog.Int("bytes", len(der)))
	if err := x.send(StoreCertificateRequest, byteElement(TagCertificateType, uint8(CertificateLSC)),
		Element{Tag: TagCertificate, Value: value}); err != nil {
		return 0, err
	}
	x.event(ctx, slog.LevelDebug, "certificate sent", "capf.store_sent", slog.Int("bytes", len(der)))
	m, err := x.await(ctx, StoreCertificateResponse, or(x.srv.IdleTimeout, DefaultIdleTimeout))
	if err != nil {
		return 0, err
	}
	r, ok := m.Reason()
	if !ok {
		return 0, missing(m, TagReason)
	}
	x.event(ctx, slog.LevelDebug, "store answered", "capf.store_answered", slog.Int("reason", int(r)))
	stored := func(ctx context.Context) error { return x.session.Stored(ctx, der, r) }
	if r == ReasonUpdateCertificate {
		err = x.last(ctx, stored)
	} else {
		err = stored(ctx)
	}
	if err != nil {
		return r, err
	}
	x.event(ctx, slog.LevelDebug, "store recorded", "capf.stored", slog.Int("reason", int(r)))
	return r, nil
}
