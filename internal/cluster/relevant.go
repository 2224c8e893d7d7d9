package cluster

import (
	"context"
	"crypto/x509"
	"fmt"
	"slices"

	"callsign/chain"
)

// How a trust store is searched for issuers. A path of the engine has at most chain.MaxPathLength certificates. How many have one of
// the names has no bound but the store: without one of them a path might be called broken that is not.
const (
	maxSteps = chain.MaxPathLength
	maxKeys  = 1000 // names in one query
)

// relevant returns the certificates of a trust store that have to do with some certificates: those with their subjects, and
// their issuers, the issuers of these, and so on, by name. So a large store need not be read as a whole. Of a store that
// is not replicated what is on the node counts.
func relevant(ctx context.Context, r Reader, store, node string, certs ...*chain.Certificate) ([]*chain.Certificate, error) {
	rows, err := relevantRows(ctx, r, store, node, certs...)
	if err != nil {
		return nil, err
	}
	return certificates(rows), nil
}

// certificates returns those that parse: all did when they were stored, but parsers grow stricter.
func certificates(rows []Trust) []*chain.Certificate {
	found := make([]*chain.Certificate, 0, len(rows))
	for i := range rows {
		if c := chain.Parse(rows[i].DER); c.X509() != nil {
			found = append(found, c)
		}
	}
	return found
}

func relevantRows(ctx context.Context, r Reader, store, node string, certs ...*chain.Certificate) ([]Trust, error) {
	if store == "" {
		return nil, nil
	}
	asked := map[string]bool{}
	var next []string
	ask := func(key string) {
		if !asked[key] {
			asked[key] = true
			next = append(next, key)
		}
	}
	for _, c := range certs {
		ask(c.SubjectKey())
		ask(c.IssuerKey())
	}
	var found []Trust
	seen := map[string]bool{}
	for step := 0; step < maxSteps && len(next) > 0; step++ {
		all := next
		next = nil
		for keys := range slices.Chunk(all, maxKeys) {
			rows, err := r.TrustBySubject(ctx, store, keys...)
			if err != nil {
				return nil, err
			}
			for _, t := range rows {
				if t.Node != AllNodes && t.Node != node || seen[t.SHA256] {
					continue
				}
				seen[t.SHA256] = true
				found = append(found, t)
				ask(t.IssuerKey)
			}
		}
	}
	return found, nil
}

// namesakeRows returns what relevantRows does, and those with the common name of one of the certificates.
func namesakeRows(ctx context.Context, r Reader, store, node string, certs ...*chain.Certificate) ([]Trust, error) {
	rows, err := relevantRows(ctx, r, store, node, certs...)
	if err != nil || store == "" {
		return rows, err
	}
	seen := map[string]bool{}
	for i := range rows {
		seen[rows[i].SHA256] = true
	}
	asked := map[string]bool{}
	for _, c := range certs {
		name := FoldName(c.X509().Subject.CommonName)
		if asked[name] {
			continue
		}
		asked[name] = true
		named, err := r.TrustByCommonName(ctx, store, name)
		if err != nil {
			return nil, err
		}
		for _, t := range named {
			if (t.Node == AllNodes || t.Node == node) && !seen[t.SHA256] {
				seen[t.SHA256] = true
				rows = append(rows, t)
			}
		}
	}
	return rows, nil
}

// parse reads the request, which this program made.
func (q *Request) parse() (*x509.CertificateRequest, error) {
	x, err := x509.ParseCertificateRequest(q.DER)
	if err != nil {
		return nil, fmt.Errorf("the request of %s in the store does not parse: %w", place(q.Purpose, q.Node), err)
	}
	return x, nil
}
