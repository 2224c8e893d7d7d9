package cmc

import (
	"context"
	"crypto/x509"
	"math/big"
	"time"
)

// Memory is what a Verifier asks about earlier messages. Its answers come from the journal; Verify only asks, the caller
// records nonce and transaction in the same transaction as the journal row, so that of two equal messages at the same
// moment one loses there. signer is the DER SubjectPublicKeyInfo of the voucher. An error becomes CodeInternal, HTTP 500.
type Memory interface {
	// Replayed reports whether signer used nonce in an earlier message. Byte-identical repetitions never get here: the
	// caller answers them from its journal before Verify (step 2).
	Replayed(ctx context.Context, signer, nonce []byte) (bool, error)
	// TransactionUsed reports whether id belongs to an earlier request for another csr (DER PKCS#10).
	TransactionUsed(ctx context.Context, id *big.Int, csr []byte) (bool, error)
	// TokenKnown reports whether token is the pendToken of an enrolment of this signer.
	TokenKnown(ctx context.Context, signer, token []byte) (bool, error)
}

// Verifier judges full requests for a registration authority, in the fixed order of its steps. It is safe for
// concurrent use when its functions and its Memory are.
type Verifier struct {
	// Anchors are the anchors of vouchers, and of nothing else (not those of phones). Nil trusts nobody.
	Anchors *x509.CertPool
	// Certificates are locally configured voucher certificates, for messages that come without, and intermediates.
	Certificates []*x509.Certificate
	// Allowed tells whether a certificate is on the list of vouchers. Nil allows nobody.
	Allowed func(*x509.Certificate) bool
	// Revoked returns an error when a certificate of the chain (voucher first, anchor last) is revoked or its state is
	// needed and unknown. Nil does not check.
	Revoked func(ctx context.Context, chain []*x509.Certificate) error
	// Now is the clock; it has to be set.
	Now func() time.Time
	// Window is how far signingTime may be from Now, either way; 0 means 5 minutes, negative switches the check off.
	Window time.Duration
	// Memory answers steps 17, 18 and 24.
	Memory Memory
	// Policy judges the names, the extensions and the key that voucher asks for (step 23). The Verifier completes the
	// Problem's body list. Nil refuses everything with CodeSubjectDenied.
	Policy func(csr *x509.CertificateRequest, voucher *x509.Certificate) *Problem
}

// Verified is a request that passed.
type Verified struct {
	Request
	Query       bool                     // a question after PendToken, without a request
	Form        Form                     // of the PKCS#10; 0 with Query
	Parsed      *x509.CertificateRequest // of Request.CSR; nil with Query
	BodyPartID  uint32                   // of the request, for the response; 0 with Query
	Voucher     *x509.Certificate        // who signed
	Chain       []*x509.Certificate      // voucher first, anchor last
	SigningTime time.Time                // zero when absent
}
