package ca

import (
	"crypto/x509"
	"slices"
)

// LackingUsages names the usages that a phone needs and cert does not have, in the words of X.509: digitalSignature and
// keyEncipherment (without which "device secure registration will fail", says the maker), and the extended key usages clientAuth,
// serverAuth and IPsec end system. Empty when it has them all.
func LackingUsages(cert *x509.Certificate) []string {
	var out []string
	if cert.KeyUsage&x509.KeyUsageDigitalSignature == 0 {
		out = append(out, "digitalSignature")
	}
	if cert.KeyUsage&x509.KeyUsageKeyEncipherment == 0 {
		out = append(out, "keyEncipherment")
	}
	for _, u := range []struct {
		usage x509.ExtKeyUsage
		name  string
	}{
		{x509.ExtKeyUsageClientAuth, "clientAuth"},
		{x509.ExtKeyUsageServerAuth, "serverAuth"},
		{x509.ExtKeyUsageIPSECEndSystem, "IPsec end system"},
	} {
		if !slices.Contains(cert.ExtKeyUsage, u.usage) && !slices.Contains(cert.ExtKeyUsage, x509.ExtKeyUsageAny) {
			out = append(out, u.name)
		}
	}
	return out
}
