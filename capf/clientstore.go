package capf

import (
	"context"
	"crypto"
	"crypto/x509"
)

// store takes the certificate of STORE_CERTIFICATE_REQUEST if it fits a key that the phone holds, and returns the
// reason for the answer. It also serves a request that comes without a KEY_GENERATE_REQUEST before it: a certificate
// that was made for the key of an earlier session.
func (p *call) store(ctx context.Context, m Message) Reason {
	der, err := p.fitting(ctx, m)
	if err == nil {
		err = p.Keeper.Store(ctx, der)
	}
	if err != nil {
		p.own = err
		return ReasonInvalidElement
	}
	p.own, p.out.Certificate = nil, der
	return ReasonUpdateCertificate
}

// fitting returns the certificate of the message whose key the phone holds.
func (p *call) fitting(ctx context.Context, m Message) ([]byte, error) {
	v, ok := m.Element(TagCertificate)
	if !ok {
		return nil, missing(m, TagCertificate)
	}
	entries, err := ParseCertificatePackage(v)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		cert, err := x509.ParseCertificate(e.DER)
		if err != nil {
			return nil, &ProtocolError{ErrCode: CodeBadElement, Detail: "certificate from the server does not parse", Err: err}
		}
		if p.Keeper.Holds(ctx, cert.PublicKey) {
			return e.DER, nil
		}
	}
	return nil, problemf(CodeCertificateMisfit, "the certificate from the server is for a key that %s does not hold", p.Device)
}

// marshalPublicKey returns element 9 for a key.
func marshalPublicKey(pub crypto.PublicKey) ([]byte, KeySpec, error) {
	k, err := KeySpecOf(pub)
	if err != nil {
		return nil, k, err
	}
	spki, err := x509.MarshalPKIXPublicKey(pub)
	return spki, k, err
}
