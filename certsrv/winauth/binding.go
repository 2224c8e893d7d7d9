package winauth

import (
	"crypto"
	"crypto/md5" //nolint:gosec // channel bindings are hashed by MD5 in NTLM and Kerberos (MS-NLMP 3.1.5.1.2, RFC 4121 4.1.1.2)
	_ "crypto/sha256"
	_ "crypto/sha512"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrNoChannelBinding tells that a certificate has no channel binding: RFC 5929 section 4.1 leaves it undefined for a
// signature without a hash function of its own (Ed25519), and nobody knows it for a signature that is unknown.
var ErrNoChannelBinding = errors.New("no channel binding is defined for the signature of the certificate")

// endPoint begins the data of the binding type tls-server-end-point.
const endPoint = "tls-server-end-point:"

// ChannelBinding returns the channel binding of a TLS connection to the server with this certificate, as NTLM (AV pair
// MsvAvChannelBindings) and Kerberos (field Bnd) carry it: MD5 over the GSS structure of RFC 2744 section 3.11 with no
// addresses and the data of the binding type tls-server-end-point (RFC 5929 section 4.1), also with TLS 1.3.
//
// The certificate is hashed by the hash of its own signature, by SHA-256 where that is MD5 or SHA-1, and for RSA-PSS by
// the hash of its parameters. The error is ErrNoChannelBinding.
func ChannelBinding(cert *x509.Certificate) ([16]byte, error) {
	h := endPointHash(cert.SignatureAlgorithm)
	if h == 0 {
		return [16]byte{}, fmt.Errorf("%w: %s", ErrNoChannelBinding, cert.SignatureAlgorithm)
	}
	w := h.New()
	_, _ = w.Write(cert.Raw)
	return bindingOf(w.Sum([]byte(endPoint))), nil
}

// endPointHash returns the hash for a certificate with this signature, 0 for none.
func endPointHash(a x509.SignatureAlgorithm) crypto.Hash {
	switch a {
	case x509.MD2WithRSA, x509.MD5WithRSA, x509.SHA1WithRSA, x509.DSAWithSHA1, x509.ECDSAWithSHA1,
		x509.SHA256WithRSA, x509.DSAWithSHA256, x509.ECDSAWithSHA256, x509.SHA256WithRSAPSS:
		return crypto.SHA256
	case x509.SHA384WithRSA, x509.ECDSAWithSHA384, x509.SHA384WithRSAPSS:
		return crypto.SHA384
	case x509.SHA512WithRSA, x509.ECDSAWithSHA512, x509.SHA512WithRSAPSS:
		return crypto.SHA512
	case x509.PureEd25519, x509.UnknownSignatureAlgorithm:
	}
	return 0
}

// bindingOf hashes the GSS structure: type and length of initiator and acceptor address, all zero, then the data with its
// length. The numbers are little endian, whatever the machine.
func bindingOf(data []byte) [16]byte {
	b := binary.LittleEndian.AppendUint32(make([]byte, 16), uint32(len(data)))
	return md5.Sum(append(b, data...)) //nolint:gosec // as above
}
