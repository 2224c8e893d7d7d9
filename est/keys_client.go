package est

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"

	"callsign/cmc"
)

// ServerKey is a private key that a server has made, with its certificate.
type ServerKey struct {
	Key         crypto.Signer
	Certificate *x509.Certificate // for Key
	// Encrypted tells that the key came encrypted to its recipient, and not only within TLS.
	Encrypted bool
	// Signer is whose signature around an encrypted key is right; nil when nobody has signed. Whether it is to be trusted is
	// not judged.
	Signer *x509.Certificate
}

// ServerKeygen sends a PKCS#10 that says what for, and returns a key that the server has made with its certificate (RFC 7030
// section 4.4). The request's own key and signature count for nothing. recipient opens an encrypted key; it belongs to the
// certificate in TLS, and the request names it in id-aa-asymmDecryptKeyID. With a recipient a key in clear is refused. It
// returns a *RetryError as SimpleEnroll does.
func (c *Client) ServerKeygen(ctx context.Context, csr []byte, recipient *rsa.PrivateKey) (*ServerKey, error) {
	return c.serverKeygen(ctx, call{op: opServerKeygen, body: csr}, recipient)
}

// ServerKeygenLinked is ServerKeygen for a request that build makes on its connection, as EnrollLinked does.
func (c *Client) ServerKeygenLinked(ctx context.Context, build func(Links) (csr []byte, err error), recipient *rsa.PrivateKey) (*ServerKey, error) {
	return c.serverKeygen(ctx, call{op: opServerKeygen, link: build}, recipient)
}

func (c *Client) serverKeygen(ctx context.Context, k call, recipient *rsa.PrivateKey) (*ServerKey, error) {
	a, _, err := c.post(ctx, k)
	if err != nil {
		return nil, err
	}
	defer clear(a.body)
	key, err := parseKeyAnswer(a.header.Get("Content-Type"), a.body, recipient)
	switch {
	case errors.Is(err, errKeyInClear):
		return nil, a.problem(CodeKeyNotEncrypted, LibESTEncPrivKeyCMS, err,
			"throw this key away, and have the certificate revoked; let the server encrypt keys, or ask for one without encryption")
	case err != nil:
		return nil, a.problem(CodeKeyAnswer, LibESTMultipartParse, err,
			"look at the server: serverkeygen answers with two parts, the key and its certificate (RFC 7030 section 4.4.2); the certificate that it may have issued is of no use without the key")
	}
	return key, nil
}

// errKeyInClear tells that a key was to come encrypted.
var errKeyInClear = errors.New("the server sent the private key in clear, although its encryption was asked for")

// maxKeyParts bounds the parts of an answer; two are meant.
const maxKeyParts = 8

// parseKeyAnswer reads the two parts, in any order. Errors say nothing of the contents of a key.
func parseKeyAnswer(contentType string, body []byte, recipient *rsa.PrivateKey) (*ServerKey, error) {
	media, params, err := mime.ParseMediaType(contentType)
	switch {
	case err != nil || media != "multipart/mixed":
		return nil, fmt.Errorf("the answer has Content-Type %q instead of multipart/mixed", clip(contentType, 80))
	case params["boundary"] == "":
		return nil, errors.New("the Content-Type names no boundary between the parts")
	}
	var p keyParts
	reader := multipart.NewReader(bytes.NewReader(body), params["boundary"])
	for n := 0; ; n++ {
		part, err := reader.NextRawPart()
		if errors.Is(err, io.EOF) {
			return p.join()
		}
		if err != nil {
			return nil, fmt.Errorf("the parts of the answer cannot be read: %w", err)
		}
		text, err := io.ReadAll(part)
		switch {
		case err != nil:
			return nil, fmt.Errorf("a part of the answer broke off: %w", err)
		case n == maxKeyParts:
			return nil, errors.New("the answer has more parts than the key and its certificate")
		}
		if err := p.take(part.Header.Get("Content-Type"), text, recipient); err != nil {
			return nil, err
		}
	}
}

// keyParts is what was found in the parts so far.
type keyParts struct {
	key   ServerKey
	certs []*x509.Certificate
}

// take reads one part. A part of another kind is left aside.
func (p *keyParts) take(contentType string, text []byte, recipient *rsa.PrivateKey) error {
	media, smime := mediaType(contentType)
	if media != "application/pkcs8" && !isPKCS7(media) {
		return nil
	}
	der, _, err := decodeBody(text, "PRIVATE KEY", "PKCS7", "CMS")
	if err != nil {
		return fmt.Errorf("the part of type %q is no base64 of DER", clip(contentType, 80))
	}
	if media == "application/pkcs8" {
		if recipient != nil {
			return errKeyInClear
		}
		return p.takeKey(der)
	}
	if certs, err := parseCertsOnly(der); err == nil && smime != "server-generated-key" {
		if p.certs != nil {
			return errors.New("the answer has two parts with certificates")
		}
		p.certs = certs
		return nil
	} else if smime == "certs-only" {
		return fmt.Errorf("the certificate cannot be read: %w", err)
	}
	if recipient == nil {
		return errors.New("the private key came encrypted, and no key to open it was given")
	}
	pkcs8, signer, err := cmc.OpenKey(der, recipient)
	if err != nil {
		return fmt.Errorf("the encrypted private key cannot be opened: %w", err)
	}
	defer clear(pkcs8)
	p.key.Encrypted, p.key.Signer = true, signer
	return p.takeKey(pkcs8)
}

func (p *keyParts) takeKey(pkcs8 []byte) error {
	if p.key.Key != nil {
		return errors.New("the answer has two private keys")
	}
	key, err := x509.ParsePKCS8PrivateKey(pkcs8)
	if err != nil {
		return errors.New("the private key is no PKCS#8 of a kind that is known here")
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return errors.New("the private key is not one that signs")
	}
	p.key.Key = signer
	return nil
}

// join finds the certificate for the key.
func (p *keyParts) join() (*ServerKey, error) {
	switch {
	case p.key.Key == nil:
		return nil, errors.New("the answer has no private key")
	case p.certs == nil:
		return nil, errors.New("the answer has no certificate for the private key")
	}
	public, ok := p.key.Key.Public().(interface{ Equal(crypto.PublicKey) bool })
	for _, cert := range p.certs {
		if ok && public.Equal(cert.PublicKey) {
			p.key.Certificate = cert
			return &p.key, nil
		}
	}
	return nil, errors.New("the certificate is not for the private key beside it")
}
